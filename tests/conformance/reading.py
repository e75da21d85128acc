"""The suite's resources, prompts and completions."""

import json
import re
from collections.abc import Sequence

import mcp_types as types

from eai_mcp.server.completions import Offer
from tests.conformance import asking
from tests.conformance.given import given, png

TEMPLATE = re.compile("test://template/([^/]+)/data")
TEXT, BINARY, WATCHED = "test://static-text", "test://static-binary", "test://watched-resource"
PLAIN = {TEXT: "This is the content of the static text resource.", WATCHED: "Watched resource content."}


class Resources:
    """A source of resources."""

    name = "fixtures"
    templates: Sequence[types.ResourceTemplate] = (
        types.ResourceTemplate(
            uri_template="test://template/{id}/data", name="template", mime_type="application/json"
        ),
    )

    def has_place(self, uri):
        return uri.startswith("test://")

    async def after(self, space, name, limit):
        mime_types = {BINARY: "image/png", TEXT: "text/plain", WATCHED: "text/plain"}
        listed = [
            types.Resource(uri=uri, name=uri.rpartition("/")[2], mime_type=mime_type)
            for uri, mime_type in mime_types.items()
        ]
        return [each for each in listed if each.name > name][:limit]

    async def read(self, space, uri):
        if uri == BINARY:
            return _read(types.BlobResourceContents(uri=uri, mime_type="image/png", blob=png()))
        if uri in PLAIN:
            return _read(types.TextResourceContents(uri=uri, mime_type="text/plain", text=PLAIN[uri]))
        if found := TEMPLATE.fullmatch(uri):
            told = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
            text = json.dumps(told)
            return _read(types.TextResourceContents(uri=uri, mime_type="application/json", text=text))
        return None


class Prompts:
    """A source of prompts."""

    def prompts(self):
        takes = {
            "test_simple_prompt": (),
            "test_prompt_with_arguments": ("arg1", "arg2"),
            "test_prompt_with_embedded_resource": ("resourceUri",),
            "test_prompt_with_image": (),
            "test_input_required_result_prompt": (),
        }
        return [
            types.Prompt(
                name=name,
                description=name,
                arguments=[types.PromptArgument(name=each, required=True) for each in arguments],
            )
            for name, arguments in takes.items()
        ]

    async def get(self, space, name, given_here):
        match name:
            case "test_simple_prompt":
                return _told("This is a simple prompt for testing.")
            case "test_prompt_with_arguments":
                return _told("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format(**given_here))
            case "test_prompt_with_embedded_resource":
                return _told(
                    _embedded(given_here["resourceUri"]), "Please process the embedded resource above."
                )
            case "test_prompt_with_image":
                image = types.ImageContent(data=png(), mime_type="image/png")
                return _told(image, "Please analyze the image above.")
            case "test_input_required_result_prompt":
                answers = given().answers
                return (
                    _told(f"With {answers}") if answers else asking.required({"user_context": asking.CONTEXT})
                )
            case _:
                return None


async def paris(typed):
    """What may be said for an argument."""
    return Offer(["paris", "park", "party"])


def _read(contents):
    return types.ReadResourceResult(contents=[contents])


def _embedded(uri):
    text = "Embedded resource content for testing."
    contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
    return types.EmbeddedResource(resource=contents)


def _told(*content):
    return types.GetPromptResult(
        messages=[
            types.PromptMessage(
                role="user", content=types.TextContent(text=each) if isinstance(each, str) else each
            )
            for each in content
        ]
    )

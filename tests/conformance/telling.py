"""The suite's tools that tell something: text, media, progress, log messages, errors, changes."""

from typing import Any

import anyio
import mcp_types as types

from eai_mcp.errors import InvalidArgument
from eai_mcp.server.arguments import Arguments
from eai_mcp.server.changes import Changed
from eai_mcp.server.registry import ToolSpec
from eai_mcp.server.subscriptions import Notices
from tests.conformance.given import answer, given, png, tool, wav

PAUSE_S = 0.05
"""What the suite asks for between two messages."""
STRING = {"type": "string"}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": STRING, "city": STRING},
        }
    },
    "properties": {
        "name": STRING,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": STRING,
        "email": STRING,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
MIRRORED = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


class Region(Arguments):
    """What is mirrored in a header."""

    region: str = ""


class Verbatim(ToolSpec[Any]):
    """A tool with a schema that no model of ours makes."""

    def published(self, others):
        schema = MIRRORED if self.arguments is Region else SCHEMA
        return types.Tool(name=self.name, description=self.description, input_schema=schema)


def tools(notices: Notices) -> list[ToolSpec[Any]]:
    """All of them."""

    async def trigger_prompt_change(_, request):
        """Tells that the list of prompts has changed."""
        notices.tell(Changed(lists=("prompts",)))
        return answer("told")

    return [
        tool("test_simple_text", simple_text),
        tool("test_image_content", image),
        tool("test_audio_content", audio),
        tool("test_embedded_resource", embedded),
        tool("test_multiple_content_types", several),
        tool("test_tool_with_logging", logging),
        tool("test_logging_tool", logging),
        tool("test_tool_with_progress", progress),
        tool("test_streaming_elicitation", progress),
        tool("test_error_handling", failing),
        tool("test_missing_capability", simple_text),
        tool("test_trigger_prompt_change", trigger_prompt_change),
        tool("test_trigger_tool_change", simple_text),
        tool("json_schema_2020_12_tool", simple_text, kind=Verbatim),
        tool("test_custom_headers", simple_text, Region, kind=Verbatim),
    ]


async def simple_text(_, request):
    """Returns a text."""
    return answer("This is a simple text response for testing.")


async def image(_, request):
    """Returns an image."""
    return answer(types.ImageContent(data=png(), mime_type="image/png"))


async def audio(_, request):
    """Returns a sound."""
    return answer(types.AudioContent(data=wav(), mime_type="audio/wav"))


async def embedded(_, request):
    """Returns a resource."""
    text = "This is an embedded resource content."
    return answer(_resource("test://embedded-resource", "text/plain", text))


async def several(_, request):
    """Returns a text, an image and a resource."""
    return answer(
        "Multiple content types test:",
        types.ImageContent(data=png(), mime_type="image/png"),
        _resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    )


async def logging(_, request):
    """Sends three log messages."""
    context = given().context
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message("info", text, related_request_id=context.request_id)
        await anyio.sleep(PAUSE_S)
    return answer("logged")


async def progress(_, request):
    """Reports progress three times."""
    for number in (0, 50, 100):
        await request.report(number, f"{number} of 100")
        await anyio.sleep(PAUSE_S)
    return answer("done")


async def failing(_, request):
    """Fails."""
    raise InvalidArgument("This tool intentionally returns an error for testing")


def _resource(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    )

"""The suite's tools that ask the client something, in the way of each protocol generation."""

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from pydantic import TypeAdapter

from eai_mcp.errors import InvalidArgument
from eai_mcp.server.arguments import Arguments
from eai_mcp.server.registry import ToolSpec
from tests.conformance.given import answer, given, tool

REQUEST: TypeAdapter[Any] = TypeAdapter(types.InputRequest)
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
TITLES = ("First Option", "Second Option", "Third Option")
TITLED = [{"const": f"value{number}", "title": title} for number, title in enumerate(TITLES, 1)]
OPTIONS = {"type": "string", "enum": ["option1", "option2", "option3"]}
ENUMS = {
    "untitledSingle": OPTIONS,
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": OPTIONS},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}


class Prompted(Arguments):
    """What to ask a model."""

    prompt: str


class Messaged(Arguments):
    """What to show a person."""

    message: str


def tools() -> list[ToolSpec[Any]]:
    """All of them."""
    return [
        tool("test_sampling", sampling, Prompted),
        tool("test_elicitation", elicitation, Messaged),
        tool("test_elicitation_sep1034_defaults", defaults),
        tool("test_elicitation_sep1330_enums", enums),
        tool("test_input_required_result_elicitation", _once({"user_name": NAME})),
        tool("test_input_required_result_sampling", _once({"capital_question": _sample(CAPITAL, 100)})),
        tool("test_input_required_result_list_roots", _once({"client_roots": ROOTS})),
        tool("test_input_required_result_request_state", _once({"confirm": CONFIRM}, state="asked")),
        tool("test_input_required_result_tampered_state", _once({"confirm": CONFIRM}, state="asked")),
        tool("test_input_required_result_multiple_inputs", _once(THREE, state="asked")),
        tool("test_input_required_result_multi_round", rounds),
        tool("test_input_required_result_capabilities", capable),
    ]


async def sampling(asked: Prompted, request):
    """Asks the client's model."""
    if not given().can("sampling"):
        raise InvalidArgument("this client has no model to ask")
    made = types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[_said(asked.prompt)], max_tokens=100)
    )
    said = await given().ask(made, types.CreateMessageResult)
    return answer(f"LLM response: {said.content.text}")


async def elicitation(asked: Messaged, request):
    """Asks the person."""
    fields = {name: {"type": "string", "description": f"the {name}"} for name in ("username", "email")}
    return await _elicited(asked.message, fields, required=[*fields])


async def defaults(_, request):
    """Asks the person with values to begin with."""
    return await _elicited("Please check", DEFAULTS)


async def enums(_, request):
    """Asks the person to choose."""
    return await _elicited("Please choose", ENUMS)


async def rounds(_, request):
    """Asks the person twice."""
    if given().state == "second":
        return answer("both said")
    if given().state == "first" and "step1" in given().answers:
        return required({"step2": _form("Step 2: What is your favorite color?", "color")}, "second")
    return required({"step1": _form("Step 1: What is your name?", "name")}, "first")


async def capable(_, request):
    """Asks for what the client can do only."""
    wanted = {"person": ("elicitation", NAME), "model": ("sampling", _sample(CAPITAL, 50))}
    asked = {key: each for key, (what, each) in wanted.items() if given().can(what)}
    return required(asked) if asked and not given().answers else answer("nothing to ask")


async def _elicited(message: str, fields: Mapping[str, Any], required: list[str] | None = None):
    if not given().can("elicitation"):
        raise InvalidArgument("nobody can be asked at this client")
    schema = {"type": "object", "properties": dict(fields), "required": required or []}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    said = await given().ask(types.ElicitRequest(params=params), types.ElicitResult)
    return answer(f"User response: action={said.action}, content={said.content}")


def _once(asked: Mapping[str, Any], *, state: str | None = None):
    """A tool that asks until all is answered; with a state, that has to come back with the answers."""

    async def run(_, request):
        """Asks the client once."""
        if asked.keys() - given().answers.keys() or (state and given().state != state):
            return required(asked, state)
        return answer(f"Hello, {given().answers}! state-ok")

    return run


def required(asked: Mapping[str, Any], state: str | None = None) -> types.InputRequiredResult:
    """The result that asks for it."""
    requests = {name: REQUEST.validate_python(each) for name, each in asked.items()}
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def _form(message: str, field: str, kind: str = "string") -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def _said(text: str) -> types.SamplingMessage:
    return types.SamplingMessage(role="user", content=types.TextContent(text=text))


def _sample(text: str, most: int) -> dict[str, Any]:
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": most}}


CAPITAL = "What is the capital of France?"
NAME = _form("What is your name?", "name")
CONFIRM = _form("Please confirm", "ok", "boolean")
ROOTS = {"method": "roots/list", "params": {}}
THREE = {"user_name": NAME, "greeting": _sample("Generate a greeting", 50), "client_roots": ROOTS}
CONTEXT = _form("What context should the prompt use?", "context")

"""The tools by name: their schemas for the client, their arguments checked, their errors told.

Every error leaves here in one shape, `{error: {code, message, retryable, retry_after_ms?, details}}`, as text
and as structured content. The SDK must never see an exception: on the older protocol it would show its text.
"""

import difflib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import mcp_types as types
import pydantic
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic_core import ErrorDetails

from eai_mcp.errors import EaiError, InvalidArgument, SessionBusy, UnknownName
from eai_mcp.observe import internal
from eai_mcp.server import asking, frames, schema
from eai_mcp.server.arguments import Arguments
from eai_mcp.server.asking import Person
from eai_mcp.server.principal import space_of

MOST_MISTAKES = 8
LONGEST_MESSAGE = 4_000
LONGEST_DETAIL = 1024 * 1024
"""Characters. An error travels twice in one message, as a reply does."""

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's answer twice: `structured` for programs, `content` for those who only show that.

    A string in `content` is a text; links and embedded resources are what belongs to it, or where there is
    more. `structured` is empty for a tool without a `result`.
    """

    structured: Mapping[str, Any]
    content: Sequence[str | types.ContentBlock]


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks. `report(seconds, text)` tells them how it goes; it costs nothing if they do not listen.

    `person` is who can be asked something in return. `begun` is when they asked, on `anyio.current_time`'s
    clock.
    """

    space: str
    report: Callable[[float, str], Awaitable[None]]
    person: Person
    begun: float = field(default_factory=anyio.current_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec(Generic[A]):
    """A tool that we publish."""

    name: str
    description: str
    arguments: type[A]
    result: type | None
    run: Callable[[A, Request], Awaitable[Answer | types.InputRequiredResult]]
    annotations: types.ToolAnnotations | None = None
    json_fields: frozenset[str] = field(default_factory=frozenset)

    def published(self) -> types.Tool:
        """The tool as a client sees it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=schema.of_arguments(self.arguments),
            output_schema=schema.of_result(self.result) if self.result else None,
            annotations=self.annotations,
        )


class ToolRegistry:
    """Answers `tools/list` and `tools/call`."""

    def __init__(self, tools: Sequence[ToolSpec[Any]]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._published: types.ListToolsResult | None = None

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """All tools, in the order of their names."""
        if self._published is None:
            self._published = types.ListToolsResult(tools=[tool.published() for tool in self._tools.values()])
        return self._published

    async def on_call(
        self, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Run one tool.

        Raises:
            MCPError: There is no such tool.
        """
        tool = self._tools.get(params.name)
        if tool is None:
            known = {"known": list(self._tools)}
            raise MCPError(types.INVALID_PARAMS, f"unknown tool {_short(params.name)!r}", known)

        async def report(seconds: float, text: str) -> None:
            await context.session.report_progress(seconds, None, text)

        try:
            request = Request(space_of(context), report, asking.person(context, params))
            answer = await tool.run(_checked(tool, params.arguments or {}), request)
        except EaiError as error:
            return _failed(error)
        except Exception as error:  # noqa: BLE001  # the last place where a bug can be told in our shape
            return _failed(internal(error))
        if isinstance(answer, types.InputRequiredResult):
            return answer
        return types.CallToolResult(
            content=[
                types.TextContent(type="text", text=one) if isinstance(one, str) else one
                for one in answer.content
            ],
            structured_content=dict(answer.structured) or None,
        )


def _failed(error: EaiError) -> types.CallToolResult:
    told: dict[str, Any] = {
        "code": error.code,
        "message": _short(error.message, LONGEST_MESSAGE),
        "retryable": error.retryable,
    }
    if isinstance(error, UnknownName):
        told["message"] += f". list_catalog(kind='{error.kind}s') shows all"
    if isinstance(error, SessionBusy):
        told["message"] += ". wait_for_reply gets the running turn's reply, interrupt stops it"
    if error.retry_after_s is not None:
        told["retry_after_ms"] = round(error.retry_after_s * 1000)
    told["details"] = {
        name: _short(value, LONGEST_DETAIL) if isinstance(value, str) else value
        for name, value in error.details.items()
    }
    text = json.dumps({"error": told}, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content={"error": told},
        is_error=True,
    )


def _checked(tool: ToolSpec[A], arguments: Mapping[str, Any]) -> A:
    """The arguments as the tool takes them.

    Some clients send lists and objects as JSON in a string; where only a list or an object fits, it is read.
    """
    given = {name: _unpacked(tool, name, value) for name, value in arguments.items()}
    try:
        return tool.arguments.model_validate(given)
    except pydantic.ValidationError as error:
        raise _mistakes(tool, error) from error


def _unpacked(tool: ToolSpec[A], name: str, value: Any) -> Any:
    if name not in tool.json_fields or not isinstance(value, str):
        return value
    try:
        unpacked = json.loads(value)
        json.dumps(unpacked, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name}: {frames.SURROGATE}", field=name, tool=tool.name) from error
    except (ValueError, RecursionError):
        return value
    return unpacked


def _mistakes(tool: ToolSpec[A], error: pydantic.ValidationError) -> InvalidArgument:
    """All mistakes in one sentence each, the first one's field in the details."""
    found: dict[str, list[ErrorDetails]] = {}
    for mistake in error.errors(include_url=False):
        found.setdefault(str(mistake["loc"][0]) if mistake["loc"] else "arguments", []).append(mistake)
    shown = [_sentence(tool, name, found[name]) for name in [*found][:MOST_MISTAKES]]
    more = [f"and {len(found) - MOST_MISTAKES} more"] if len(found) > MOST_MISTAKES else []
    return InvalidArgument("; ".join([*shown, *more]), field=_short(next(iter(found))), tool=tool.name)


def _sentence(tool: ToolSpec[A], name: str, mistakes: Sequence[ErrorDetails]) -> str:
    """Of an argument that may be several things, what it came nearest to being is told."""
    name = _short(name)
    deepest = max(len(mistake["loc"]) for mistake in mistakes)
    nearest = [mistake for mistake in mistakes if len(mistake["loc"]) == deepest]
    mistake = nearest[0]
    allowed = list(tool.arguments.model_fields)
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"unknown argument {name!r}; {hint}{tool.name} takes {', '.join(allowed)}"
    if mistake["type"] == "missing":
        return f"{name} is missing"
    where = ".".join([name, *(str(step) for step in mistake["loc"] if isinstance(step, int))])
    same = [each["msg"] for each in nearest if each["input"] is mistake["input"]]
    reasons = " or ".join(message[0].lower() + message[1:] for message in dict.fromkeys(same))
    return f"{where}: {reasons}, not {_short(json.dumps(mistake['input'], ensure_ascii=False, default=str))}"


def _short(text: str, longest: int = 80) -> str:
    """A client may send anything, and gets it back within the limits of a message."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

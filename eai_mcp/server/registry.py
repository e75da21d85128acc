"""The tools by name: their schemas for the client, their arguments checked, their errors told.

Every error leaves here in one shape, `{error: {code, message, retryable, retry_after_ms?, details}}`, as text
and as structured content. The SDK must never see an exception: on the older protocol it would show its text.
"""

import difflib
import json
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
import mcp_types as types
import pydantic
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic_core import ErrorDetails

from eai_mcp.errors import EaiError, InvalidArgument, NotFound, SessionBusy, UnknownName
from eai_mcp.messages import JsonObject
from eai_mcp.observe import internal
from eai_mcp.server import asking, cursors, frames, progress, schema
from eai_mcp.server.arguments import Arguments
from eai_mcp.server.asking import Person
from eai_mcp.server.principal import space_of
from eai_mcp.server.room import WIDE, Room, room_of
from eai_mcp.wire import exactly_parsed

MOST_MISTAKES = 8
LONGEST_MESSAGE = 4_000
UNKNOWN = "extra_forbidden"
"""What pydantic calls an argument that a tool does not take."""
EVERY: Final = frozenset(
    (
        *("talk", "wait_for_reply", "interrupt", "list_sessions", "list_catalog"),
        *("get_history", "export_chat_session_context"),
    )
)
"""The tools that answers may name, where all are published."""

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's answer twice: `structured` for programs, `content` for those who only show that.

    A string in `content` is a text; links and embedded resources are what belongs to it, or where there is
    more. `structured` is empty for a tool without a `result`.
    """

    structured: Mapping[str, Any]
    content: Sequence[str | types.ContentBlock]


Told: TypeAlias = Answer | types.InputRequiredResult | JsonObject
"""What a tool may answer; an object is a result of an extension, sent as it is."""


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks. `report(seconds, text)` tells them how it goes; it costs nothing if they do not listen.

    `person` is who can be asked something in return, and `room` what the answer may hold. Only tools that are
    `published` are named to them. `begun` is when they asked, on `anyio.current_time`'s clock.
    """

    space: str
    report: Callable[[float, str], Awaitable[None]]
    person: Person
    room: Room = WIDE
    published: Container[str] = EVERY
    begun: float = field(default_factory=anyio.current_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec(Generic[A]):
    """A tool that we publish.

    `beside` has what its description says of other tools, by their names, where these are published too.
    """

    name: str
    description: str
    arguments: type[A]
    result: type | None
    run: Callable[[A, Request], Awaitable[Told]]
    annotations: types.ToolAnnotations | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    def published(self, others: Container[str]) -> types.Tool:
        """The tool as a client sees it who sees the others."""
        said = [text for name, text in self.beside.items() if name in others]
        return types.Tool(
            name=self.name,
            description=" ".join([self.description, *said]),
            input_schema=schema.of_arguments(self.arguments),
            output_schema=schema.of_result(self.result) if self.result else None,
            annotations=self.annotations,
        )


class ToolRegistry:
    """Answers `tools/list` and `tools/call`."""

    def __init__(self, tools: Sequence[ToolSpec[Any]]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._published: types.ListToolsResult | None = None

    @property
    def names(self) -> Collection[str]:
        """What the tools are called."""
        return self._tools.keys()

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """All tools, in the order of their names.

        Raises:
            MCPError: There is a cursor, and they never go on.
        """
        cursors.none(params)
        if self._published is None:
            published = [tool.published(self._tools) for tool in self._tools.values()]
            self._published = types.ListToolsResult(tools=published)
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

        room = room_of(context)
        try:
            heard = progress.Rising(report) if _is_heard(context) else progress.unheard
            begun = anyio.current_time()
            someone = asking.person(context, params, heard, begun)
            request = Request(space_of(context), heard, someone, room, self._tools, begun)
            answer = await tool.run(_checked(tool, params.arguments or {}), request)
        except EaiError as error:
            return failed(error, room, self._tools)
        except Exception as error:  # noqa: BLE001  # the last place where a bug can be told in our shape
            return failed(internal(error), room)
        return told(answer) if isinstance(answer, Answer) else answer  # type: ignore[return-value]  # see `Told`


def _is_heard(context: ServerRequestContext[Any, Any]) -> bool:
    """Whether the caller asked for progress."""
    # The request's own metadata does not tell: in one process a listener comes without a token.
    return getattr(context.session._request_outbound, "_progress_token", "") is not None


def told(answer: Answer) -> types.CallToolResult:
    """A tool's answer as the SDK sends it."""
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text=one) if isinstance(one, str) else one
            for one in answer.content
        ],
        structured_content=dict(answer.structured) or None,
    )


def failed(error: EaiError, room: Room, published: Container[str] = EVERY) -> types.CallToolResult:
    """An error in the shape in which every tool tells it; only tools that are published are named in it."""
    told: dict[str, Any] = {
        "code": error.code,
        "message": _short(error.message, LONGEST_MESSAGE) + _hint(error, published),
        "retryable": error.retryable,
    }
    if error.retry_after_s is not None:
        told["retry_after_ms"] = round(error.retry_after_s * 1000)
    told["details"] = {
        name: _short(value, room.detail) if isinstance(value, str) else value
        for name, value in error.details.items()
    }
    text = json.dumps({"error": told}, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content={"error": told},
        is_error=True,
    )


def _hint(error: EaiError, published: Container[str]) -> str:
    if isinstance(error, UnknownName) and "list_catalog" in published:
        return f". list_catalog(kind='{error.kind}s') shows all"
    if isinstance(error, SessionBusy) and "wait_for_reply" in published and "interrupt" in published:
        return ". wait_for_reply gets the running turn's reply, interrupt stops it"
    if isinstance(error, NotFound) and "name" in error.details and "list_sessions" in published:
        return "; list_sessions shows all"
    return ""


def _checked(tool: ToolSpec[A], arguments: Mapping[str, Any]) -> A:
    """The arguments as the tool takes them.

    Some clients send lists and objects as JSON in a string; where only a list or an object fits, it is read.
    Some send null for what they do not say; where it does not fit, it counts as not said.
    """
    try:
        return tool.arguments.model_validate(arguments)
    except pydantic.ValidationError as error:
        said = {name: value for name, value in arguments.items() if not _is_absent(tool, name, value)}
        mended = {**said, **_unpacked(tool, error)}
        if mended == arguments:
            raise _mistakes(tool, error) from error
    try:
        return tool.arguments.model_validate(mended)
    except pydantic.ValidationError as error:
        raise _mistakes(tool, error) from error


def _is_absent(tool: ToolSpec[A], name: str, value: object) -> bool:
    """Whether an argument that the tool knows is not said; a null under another name is a mistake."""
    return value is None and name in tool.arguments.model_fields


def _unpacked(tool: ToolSpec[A], error: pydantic.ValidationError) -> dict[str, Any]:
    """What was wanted as a list or an object, and came as the JSON of something."""
    found: dict[str, Any] = {}
    for mistake in error.errors(include_url=False):
        text, where = mistake["input"], mistake["loc"]
        if mistake["type"] in ("list_type", "dict_type") and len(where) == 1 and isinstance(text, str):
            name = str(where[0])
            try:
                found[name] = exactly_parsed(text)
                json.dumps(found[name], ensure_ascii=False).encode()
            except UnicodeEncodeError as bad:
                raise InvalidArgument(f"{name}: {frames.SURROGATE}", field=name, tool=tool.name) from bad
            except (ValueError, RecursionError):
                found.pop(name, None)
    return found


def _mistakes(tool: ToolSpec[A], error: pydantic.ValidationError) -> InvalidArgument:
    """All mistakes in one sentence each, the first one's field in the details."""
    found: dict[str, list[ErrorDetails]] = {}
    for mistake in error.errors(include_url=False):
        found.setdefault(str(mistake["loc"][0]) if mistake["loc"] else "arguments", []).append(mistake)
    shown = [_sentence(tool, name, found[name]) for name in [*found][:MOST_MISTAKES]]
    more = [f"and {len(found) - MOST_MISTAKES} more"] if len(found) > MOST_MISTAKES else []
    message = "; ".join([*shown, *more])
    if any(mistake["type"] == UNKNOWN for mistakes in found.values() for mistake in mistakes):
        taken = f"{tool.name} takes {', '.join(tool.arguments.model_fields)}"
        message = f"{message} {taken}" if message.endswith("?") else f"{message}; {taken}"
    return InvalidArgument(message, field=_short(next(iter(found))), tool=tool.name)


def _sentence(tool: ToolSpec[A], name: str, mistakes: Sequence[ErrorDetails]) -> str:
    """Of an argument that may be several things, what it came nearest to being is told."""
    name = _short(name)
    deepest = max(len(mistake["loc"]) for mistake in mistakes)
    nearest = [mistake for mistake in mistakes if len(mistake["loc"]) == deepest]
    mistake = nearest[0]
    if mistake["type"] == UNKNOWN:
        near = difflib.get_close_matches(name, tool.arguments.model_fields, n=1)
        return f"unknown argument {name!r}" + (f"; did you mean {near[0]}?" if near else "")
    if mistake["type"] == "missing":
        return f"{name} is missing"
    where = ".".join([name, *(str(step) for step in mistake["loc"] if isinstance(step, int))])
    same = [each["msg"] for each in nearest if each["input"] is mistake["input"]]
    reasons = " or ".join(message[0].lower() + message[1:] for message in dict.fromkeys(same))
    return f"{where}: {reasons}, not {_short(json.dumps(mistake['input'], ensure_ascii=False, default=str))}"


def _short(text: str, longest: int = 80) -> str:
    """A client may send anything, and gets it back within the limits of a message."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

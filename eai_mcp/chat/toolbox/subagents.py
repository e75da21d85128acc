"""Sub-agents: other sessions that the chat model asks, waits for, and comes back to.

An id of one is its session and the request id of its turn. So the store knows what came of it, whoever asks
and however often the server was restarted since. Of one that stands in line for a busy session, only the
process knows in which it does.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.from_thread import check_cancelled
from pydantic import Field

from eai_mcp import formats, messages
from eai_mcp.calls import Samplers
from eai_mcp.chat import names
from eai_mcp.chat.heard import Followed
from eai_mcp.chat.toolbox.children import Child, Children, Turns
from eai_mcp.chat.toolbox.steps import cut
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.errors import EaiError, InvalidArgument, LimitExceeded, NotFound
from eai_mcp.messages import JsonObject
from eai_mcp.store import SessionRow

if TYPE_CHECKING:
    from eai_mcp.formats.files import Folder

MOST_DEPTH = 3
LONGEST_REPLY = 30_000
LONGEST_SO_FAR = 1000
REQUEST = "sub_"

Seconds = Annotated[float, Field(ge=0, le=600)]
Name = Annotated[str, Field(max_length=128)]


class CallArguments(Arguments):
    """For `call_subagent`."""

    message: Annotated[str, Field(min_length=1)]
    chat_session: Name | None = Field(None, description="by default a new one")
    chara_card: Name | None = None
    model: Name | None = None
    prompt: Name | None = None
    system: str | None = Field(None, description="raw system text in the prompt's place")
    pty_session_id: Name | None = Field(None, description="its terminal, by default its own; yours shares it")
    pre_context: str | None = Field(None, description="a history in the export folder for a new session")
    format: formats.Read = "auto"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    wait: bool = True
    wait_s: Seconds = 120.0


class ResultArguments(Arguments):
    """For `get_subagent_result`."""

    subagent_id: str
    wait_s: Seconds = 0.0


class Archive(Protocol):
    """What moves histories."""

    async def replace(
        self,
        space: str,
        session: str,
        source: Callable[[], AbstractContextManager[Iterator[bytes]]],
        form: formats.Read = "auto",
        *,
        tally: formats.Tally,
    ) -> object:
        """See `chat.archive`."""
        ...


class Sessions(Turns, Protocol):
    """What the registry does for sub-agents; see there."""

    @property
    def archive(self) -> Archive:
        """What moves histories."""
        ...

    async def reply(self, turn: Followed, wait_s: float) -> TurnResult:
        """How a turn stands or ended."""
        ...

    async def by_request(self, space: str, session: str, request_id: str) -> Followed | None:
        """The turn that a request id began."""
        ...

    async def session(self, space: str, session: str) -> SessionRow:
        """A session without its messages."""
        ...


def tools(
    sessions: Sessions,
    *,
    tasks: TaskGroup,
    exports: "Callable[[str], Folder] | None" = None,
    most_depth: int = MOST_DEPTH,
) -> tuple[Tool[Any], ...]:
    """Both. `tasks` outlives every turn; `exports` are the folders that spaces have their files in."""
    agents = _Subagents(sessions, Children(sessions, tasks), exports, most_depth)
    return (
        Tool(
            name="call_subagent",
            description=(
                "Ask another chat session to do something, with your tools and a history of its own. Wait for"
                " quick work; for slow work set wait to false, do something else, and look rarely with"
                " get_subagent_result. A busy session is waited for. If it asks something, answer by calling"
                " it again with its chat_session."
            ),
            arguments=CallArguments,
            run=agents.call,
        ),
        Tool(
            name="get_subagent_result",
            description=(
                "Tell how a sub-agent's work stands, or its reply. One look with a long wait_s is cheaper"
                " than many short ones."
            ),
            arguments=ResultArguments,
            run=agents.result,
        ),
    )


class _Subagents:
    def __init__(
        self,
        sessions: Sessions,
        children: Children,
        exports: "Callable[[str], Folder] | None",
        most_depth: int,
    ) -> None:
        self._sessions = sessions
        self._children = children
        self._exports = exports
        self._most_depth = most_depth

    async def call(self, given: CallArguments, use: Use) -> Told:
        name = names.checked(given.chat_session or f"subagent_{secrets.token_hex(8)}")
        self._check(name, use, wait=given.wait)
        if given.pre_context is not None:
            await self._fill(use.claim.space, name, given.pre_context, given.format)
        child = Child(space=use.claim.space, talk=_talk(given, name, use))
        self._children.start(child, use)
        if not given.wait:
            return _named("running", child.session, child.id)
        await self._until_over(child, use, given.wait_s)
        if child.refused is not None:
            raise child.refused.copy()
        return await self._of_child(child)

    async def result(self, given: ResultArguments, use: Use) -> Told:
        child = self._children.get(use.claim.space, given.subagent_id)
        if child is None:
            return await self._of_another(given, use)
        if child.talk.chain == use.kit.chain:  # this session asked for it, in a turn before
            self._children.hold(child, use)
        if given.wait_s and not child.over.is_set():
            self._children.check_circle(child.session, use)
            await self._until_over(child, use, given.wait_s)
        return await self._of_child(child)

    async def _until_over(self, child: Child, use: Use, wait_s: float) -> None:
        with self._children.waiting(child.session, use), anyio.move_on_after(wait_s):
            await child.over.wait()

    def _check(self, name: str, use: Use, *, wait: bool) -> None:
        depth = len(use.kit.chain)
        if depth > self._most_depth:
            raise LimitExceeded(
                f"sub-agents may be {self._most_depth} deep, and this one is: do the work here",
                limit=self._most_depth,
                actual=depth,
            )
        if wait or name in use.kit.chain:
            self._children.check_circle(name, use)
        self._children.check_room(use.claim.space)

    async def _fill(self, space: str, name: str, path: str, form: formats.Read) -> None:
        """Let a session begin with a history."""
        if self._exports is None:
            raise InvalidArgument(
                "there is no export folder here: leave pre_context out", field="pre_context"
            )
        if await self._message_count(space, name):
            raise InvalidArgument(
                f"session {name!r} has messages already, and pre_context is for a new one: leave it out to go"
                " on in this session, or name another",
                field="pre_context",
            )
        folder = self._exports(space)
        tally = formats.Tally(check_cancelled)
        await self._sessions.archive.replace(space, name, lambda: folder.reading(path), form, tally=tally)

    async def _message_count(self, space: str, name: str) -> int:
        try:
            return (await self._sessions.session(space, name)).message_count
        except NotFound:
            return 0

    async def _of_another(self, given: ResultArguments, use: Use) -> JsonObject:
        """How one stands that the store knows: it has ended, or runs in another process."""
        turn = await self._found(use.claim.space, given.subagent_id)
        if given.wait_s and turn.ending is None:
            self._children.check_circle(turn.session, use)
        with self._children.waiting(turn.session, use):
            return await self._of_turn(given.subagent_id, turn, given.wait_s)

    async def _found(self, space: str, known: str) -> Followed:
        name, _, request_id = known.rpartition("#")
        turn = None
        if request_id.startswith(REQUEST):
            turn = await self._sessions.by_request(space, name, request_id)
        if turn is None:
            raise NotFound(
                f"there is no sub-agent {known[:200]!r}: the id is wrong, or it had not begun when its server"
                " ended; use call_subagent again",
                name=known[:200],
            )
        return turn

    async def _of_child(self, child: Child) -> JsonObject:
        if child.turn is not None:
            return await self._of_turn(child.id, child.turn, 0)
        if child.refused is not None:
            return _failed(child.session, child.id, child.refused)
        if child.over.is_set():
            return _named("interrupted", child.session, child.id)
        return {**_named("running", child.session, child.id), "queued": True}

    async def _of_turn(self, known: str, turn: Followed, wait_s: float) -> JsonObject:
        try:
            result = await self._sessions.reply(turn, wait_s)
        except EaiError as error:
            return _failed(turn.session, known, error)
        return _told(known, result)


def _talk(given: CallArguments, name: str, use: Use) -> Talk:
    return Talk(
        content=given.message,
        session=name,
        model=given.model,
        prompt=given.prompt,
        system=given.system,
        card=given.chara_card,
        pty_session_id=given.pty_session_id,
        samplers=Samplers(temperature=given.temperature, max_tokens=given.max_tokens),
        if_busy="wait",
        request_id=f"{REQUEST}{secrets.token_hex(8)}",
        metadata={"parent": f"{use.claim.name}/{use.claim.turn_id}"},
        chain=use.kit.chain,
        tools=frozenset(use.kit.names),
    )


def _named(status: str, session: str, known: str) -> JsonObject:
    # In this order: `polls` knows a running one by its beginning.
    return {"status": status, "subagent_id": known, "chat_session": session}


def _failed(session: str, known: str, error: EaiError) -> JsonObject:
    return {**_named("failed", session, known), "code": error.code, "message": error.message}


def _told(known: str, result: TurnResult) -> JsonObject:
    told = _named(result.status, result.session, known)
    match result.status:
        case "running":
            told |= {"progress": result.progress, "reply_so_far": result.reply[-LONGEST_SO_FAR:]}
        case "awaiting_input":
            told |= {"question": result.reply}
        case "completed" | "interrupted":
            told |= {"reply": cut(result.reply, LONGEST_REPLY), "model": result.effective.model}
    if result.usage is not None:
        told["usage"] = messages.told(result.usage)
    if result.warnings:
        told["warnings"] = list(result.warnings)
    return {name: value for name, value in told.items() if value not in (None, "") or name == "reply"}

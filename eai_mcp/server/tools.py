"""The tools that we publish: what each is for, and what it does with the sessions."""

import json
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import mcp_types as types
import pydantic
from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.app import App
from eai_mcp.calls import Samplers
from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.toolbox.approval import YES
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Answers, Talk, TurnResult
from eai_mcp.errors import EaiError, InvalidArgument
from eai_mcp.messages import Block
from eai_mcp.server import answers, arguments, listing, progress, results
from eai_mcp.server.asking import Asking, Follow, Settled
from eai_mcp.server.registry import Answer, Request, ToolSpec

READ_ONLY = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
LOCAL = types.ToolAnnotations(destructive_hint=False, open_world_hint=False)
SAMPLERS = tuple(Samplers.__dataclass_fields__)
Told: TypeAlias = Answer | types.InputRequiredResult
MOST_STEPS_BACK = 100
"""Messages at the end of a history among which the place of a long reply is looked for."""


def tools(app: App) -> list[ToolSpec[Any]]:
    """Every tool, bound to the open parts."""
    face = _Face(app)
    return [*_talking(face), *_looking(face), *_keeping(face)]


def _talking(face: "_Face") -> list[ToolSpec[Any]]:
    return [
        ToolSpec(
            name="talk",
            description=(
                "Send a message to another AI model and get its reply, in a named chat session that "
                "remembers. A new name makes a new session; model, prompt and chara_card (see "
                "list_catalog) stay set. If status is running, call wait_for_reply."
            ),
            arguments=arguments.TalkArguments,
            result=results.TurnAnswer,
            run=face.talk,
            annotations=types.ToolAnnotations(destructive_hint=False),
            json_fields=frozenset({"stop_sequences", "anthropic_beta", "metadata"}),
        ),
        ToolSpec(
            name="wait_for_reply",
            description=("Get the reply of a running talk, or of any turn again (default: latest)."),
            arguments=arguments.WaitArguments,
            result=results.TurnAnswer,
            run=face.wait_for_reply,
            annotations=READ_ONLY,
        ),
        ToolSpec(
            name="interrupt",
            description="Stop the running reply of a session; its text so far is kept.",
            arguments=arguments.InterruptArguments,
            result=results.TurnAnswer,
            run=face.interrupt,
            annotations=LOCAL,
        ),
    ]


def _looking(face: "_Face") -> list[ToolSpec[Any]]:
    return [
        ToolSpec(
            name="list_sessions",
            description="List the chat sessions: size, model, whether busy.",
            arguments=arguments.ListSessionsArguments,
            result=results.SessionsAnswer,
            run=face.list_sessions,
            annotations=READ_ONLY,
        ),
        ToolSpec(
            name="get_history",
            description="Read a session's messages; next_after begins the next page.",
            arguments=arguments.GetHistoryArguments,
            result=results.HistoryAnswer,
            run=face.get_history,
            annotations=READ_ONLY,
        ),
        ToolSpec(
            name="list_catalog",
            description="List models, prompts or character cards, and which are ready.",
            arguments=arguments.ListCatalogArguments,
            result=results.CatalogAnswer,
            run=face.list_catalog,
            annotations=READ_ONLY,
        ),
    ]


def _keeping(face: "_Face") -> list[ToolSpec[Any]]:
    return [
        ToolSpec(
            name="ensure_session",
            description="Make an empty session if there is none.",
            arguments=arguments.SessionArguments,
            result=results.EnsuredAnswer,
            run=face.ensure_session,
            annotations=LOCAL,
        ),
        ToolSpec(
            name="close_session",
            description="Delete a session with its history.",
            arguments=arguments.SessionArguments,
            result=results.ClosedAnswer,
            run=face.close_session,
            annotations=types.ToolAnnotations(open_world_hint=False),
        ),
        ToolSpec(
            name="fork_session",
            description="Copy a session, whole or up to a message.",
            arguments=arguments.ForkArguments,
            result=results.ForkedAnswer,
            run=face.fork_session,
            annotations=LOCAL,
        ),
    ]


class _Face:
    """The tools' handlers."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._registry = app.registry
        self._asking = Asking(
            app.registry, is_allowed=app.settings.elicit, limit_s=app.settings.elicit_limit_s
        )

    async def talk(self, given: arguments.TalkArguments, request: Request) -> Told:
        if given.mode == "human":
            raise InvalidArgument(
                "mode human is not available over this connection; `eai-mcp chat` talks with a person",
                field="mode",
            )
        sampled = ((name, getattr(given, name)) for name in SAMPLERS)
        samplers: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in sampled
        }
        talk = Talk(
            content=_content(given.content),
            session=given.chat_session,
            model=given.model,
            prompt=given.prompt,
            system=given.system,
            card=given.chara_card,
            pty_session_id=given.pty_session_id,
            samplers=Samplers(**samplers),
            if_busy=given.if_busy,
            request_id=given.request_id,
            metadata=given.metadata or {},
            answers=Answers(turn_id=given.turn_id, asked_in=None) if given.turn_id else None,
            by_person=self._is_approval(given),
        )
        wait_s = self._wait_s(given.timeout_ms)
        until = anyio.current_time() + wait_s

        async def follow(turn: Followed) -> TurnResult:
            result = await self._attended(turn, until, request)
            if turn.done.is_set() or given.on_timeout == "detach":
                return result
            return await self._registry.stop(request.space, turn, f"stopped after {wait_s:g} s, as asked")

        if request.person.state is not None:
            return await self._resumed(request, follow, until)
        turn = await self._registry.begin(request.space, talk, wait_s=wait_s)
        return await self._settled(await follow(turn), request, follow, until)

    def _is_approval(self, given: arguments.TalkArguments) -> bool:
        """Whether it says what the operator takes for a person's word.

        Only once: a call that is repeated would else approve the turn's next command, too.
        """
        named = bool(given.turn_id and given.request_id)
        return self._app.settings.approve_by_talk and named and given.content == YES

    async def wait_for_reply(self, given: arguments.WaitArguments, request: Request) -> Told:
        until = anyio.current_time() + self._wait_s(given.timeout_ms)

        async def follow(turn: Followed) -> TurnResult:
            return await self._followed(turn, until, request)

        if request.person.state is not None:
            return await self._resumed(request, follow, until)
        found = await self._registry.find(request.space, given.chat_session, given.turn_id)
        return await self._settled(await follow(found), request, follow, until)

    async def interrupt(self, given: arguments.InterruptArguments, request: Request) -> Answer:
        stopped = await self._registry.interrupt(request.space, given.chat_session, given.turn_id)
        return await self._told(request.space, stopped)

    async def list_sessions(self, given: arguments.ListSessionsArguments, request: Request) -> Answer:
        rows = await self._registry.sessions(
            request.space, prefix=given.prefix, after=given.cursor, limit=given.limit + 1
        )
        shown = rows[: given.limit]
        told: results.SessionsAnswer = {
            "sessions": [answers.session(row, self._registry.model_of(row)) for row in shown]
        }
        if len(rows) > len(shown):
            told["next_cursor"] = shown[-1].name
        return answers.whole(told)

    async def get_history(self, given: arguments.GetHistoryArguments, request: Request) -> Answer:
        entries = await self._registry.history(
            request.space,
            given.chat_session,
            after=given.after,
            limit=given.limit,
            most_bytes=answers.LONGEST_PAGE_BYTES,
        )
        # Behind the page, so that it counts all that is on it.
        row = await self._registry.session(request.space, given.chat_session)
        shown = answers.page(entries, given.offset)
        told: results.HistoryAnswer = {
            "chat_session": given.chat_session,
            "message_count": row.message_count,
            "messages": shown,
        }
        if shown and shown[-1]["seq"] < row.message_count:
            told["next_after"] = shown[-1]["seq"]
        if row.question and not row.running:
            told["question"] = answers.question(row.question)
        return answers.whole(told)

    async def ensure_session(self, given: arguments.SessionArguments, request: Request) -> Answer:
        created = await self._registry.ensure(request.space, given.chat_session)
        told: results.EnsuredAnswer = {"chat_session": given.chat_session, "created": created}
        return answers.whole(told)

    async def close_session(self, given: arguments.SessionArguments, request: Request) -> Answer:
        await self._registry.close(request.space, given.chat_session)
        told: results.ClosedAnswer = {"chat_session": given.chat_session, "closed": True}
        return answers.whole(told)

    async def fork_session(self, given: arguments.ForkArguments, request: Request) -> Answer:
        row = await self._registry.fork(
            request.space, given.chat_session, given.new_session, upto=given.after
        )
        told: results.ForkedAnswer = {
            "chat_session": row.name,
            "message_count": row.message_count,
            "forked_from": given.chat_session,
        }
        return answers.whole(told)

    async def list_catalog(self, given: arguments.ListCatalogArguments, request: Request) -> Answer:
        return answers.whole(listing.catalog(self._app, given.kind, given.filter))

    def _wait_s(self, timeout_ms: int | None) -> float:
        return self._app.settings.inline_wait_s if timeout_ms is None else timeout_ms / 1000

    async def _followed(self, turn: Followed, until: float, request: Request) -> TurnResult:
        with waited_for(turn), anyio.CancelScope(deadline=until):
            await progress.follow(turn, request.report, begun=request.begun)
        return await self._registry.reply(turn, 0)

    async def _attended(self, turn: Followed, until: float, request: Request) -> TurnResult:
        """As `_followed`; the turn may end with its caller."""
        try:
            return await self._followed(turn, until, request)
        except anyio.get_cancelled_exc_class():
            ends = self._app.settings.on_disconnect == "interrupt" and not turn.waiters
            if ends and isinstance(turn, Turn):
                turn.interrupt("stopped: its caller left")
            raise

    async def _settled(self, result: TurnResult, request: Request, follow: Follow, until: float) -> Told:
        settled = await self._asking.settled(request.space, result, request.person, follow, until=until)
        return await self._answer(request.space, settled)

    async def _resumed(self, request: Request, follow: Follow, until: float) -> Told:
        settled = await self._asking.resumed(request.space, request.person, follow, until=until)
        return await self._answer(request.space, settled)

    async def _answer(self, space: str, settled: Settled) -> Told:
        return await self._told(space, settled) if isinstance(settled, TurnResult) else settled

    async def _told(self, space: str, result: TurnResult) -> Answer:
        after = await self._place(space, result) if answers.is_cut(result) else None
        return answers.of_turn(result, after=after)

    async def _place(self, space: str, result: TurnResult) -> int | None:
        """The position before the message that holds a turn's reply; None if it is not among the last."""
        with suppress(EaiError):  # the session may have been closed meanwhile; the reply is told all the same
            last = (await self._registry.session(space, result.session)).message_count
            for after in range(last - 1, max(-1, last - 1 - MOST_STEPS_BACK), -1):
                for entry in await self._registry.history(space, result.session, after=after, limit=1):
                    if entry.turn_id == result.turn_id and entry.message.text == result.reply:
                        return after
        return None


def _content(given: str | list[dict[str, JsonValue]]) -> str | tuple[Block, ...]:
    """Text, or blocks. Text that is JSON is read as blocks only if it is a list of blocks of known types."""
    if isinstance(given, str):
        return given if not given.lstrip().startswith("[{") else _blocks_in(given) or given
    try:
        return messages.decode_blocks(list(given))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "union_tag_invalid":
            first["msg"] = "type must be text, image or document"
        where = ".".join(str(step) for step in first["loc"])
        raise InvalidArgument(f"content.{where}: {first['msg']}", field="content") from error


def _blocks_in(text: str) -> tuple[Block, ...] | None:
    try:
        return messages.decode_blocks(json.loads(text))
    except (ValueError, RecursionError):
        return None

"""The tools that we publish: what each is for, and what it does with the sessions."""

import math
import re
from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as types
import pydantic
from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.app import App
from eai_mcp.calls import Samplers
from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.toolbox.approval import YES
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Answers, OnTimeout, Talk, TurnResult
from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import Block
from eai_mcp.server import (
    answers,
    arguments,
    asking,
    jobs,
    listing,
    progress,
    results,
    sessions,
    telling,
    transcript,
)
from eai_mcp.server.asking import Asking, Follow, Settled
from eai_mcp.server.registry import Answer, Request, Told, ToolSpec
from eai_mcp.server.room import PAGE
from eai_mcp.wire import exactly_parsed, items

READ_ONLY = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
LOCAL = types.ToolAnnotations(destructive_hint=False, open_world_hint=False)
REPEATABLE = types.ToolAnnotations(destructive_hint=False, idempotent_hint=True, open_world_hint=False)
SAMPLERS = frozenset(Samplers.__dataclass_fields__)
BLOCKS = re.compile(r"\s*\[\s*\{")


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
                "remembers. A new name makes a new session; model, prompt, system and chara_card stay set, "
                '"" drops one.'
            ),
            arguments=arguments.TalkArguments,
            result=results.TurnAnswer,
            run=face.talk,
            annotations=types.ToolAnnotations(destructive_hint=False),
            beside={
                "list_catalog": "list_catalog has their names.",
                "wait_for_reply": "If status is running, call wait_for_reply.",
            },
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
            annotations=REPEATABLE,
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
            annotations=REPEATABLE,
        ),
        ToolSpec(
            name="close_session",
            description="Delete a session with its history.",
            arguments=arguments.SessionArguments,
            result=results.ClosedAnswer,
            run=face.close_session,
            annotations=types.ToolAnnotations(idempotent_hint=True, open_world_hint=False),
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
        limit_s = app.settings.elicit_limit_s
        self._asking = Asking(app.registry, is_allowed=app.settings.elicit, limit_s=limit_s)

    async def talk(self, given: arguments.TalkArguments, request: Request) -> Told:
        talk = self._asked_for(given)
        if given.mode == "human":
            return await self._with_person(given, talk, request)
        if given.content is None:
            raise InvalidArgument("content is missing; only mode human goes without", field="content")
        is_job = request.person.takes_tasks and given.timeout_ms is None and given.on_timeout == "detach"
        wait_s = self._wait_s(given.timeout_ms)
        until = anyio.current_time() + wait_s
        turn = None
        if request.person.state is None:  # a task is made once the turn has begun, and no earlier
            turn = await asking.begun(self._registry, request.space, talk, request.person, wait_s=wait_s)
        if is_job:
            until = min(until, anyio.current_time() + jobs.AFTER_S)
        follow = self._following(given.on_timeout, wait_s, until, request)
        if turn is None:
            return await self._resumed(request, follow, until, is_job=is_job)
        return await self._settled(await follow(turn), request, follow, until, is_job=is_job)

    async def _with_person(self, given: arguments.TalkArguments, talk: Talk, request: Request) -> Told:
        """Mode human. A call that stays open for the person ends by `timeout_ms` alone, if it is given."""
        wait_s = math.inf
        if given.timeout_ms is not None or request.person.is_modern:
            wait_s = self._wait_s(given.timeout_ms)
        until = anyio.current_time() + wait_s
        follow = self._following(given.on_timeout, wait_s, until, request)
        resumes = request.person.state is not None
        from eai_mcp.server.human import Human  # few servers ever let a person talk

        settings = self._app.settings
        human = Human(self._registry, approves=settings.elicit, limit_s=settings.elicit_limit_s)
        go_on = human.resumed if resumes else human.begun
        told = await go_on(request.space, talk, request.person, follow, until=until)
        if isinstance(told, TurnResult):
            return await telling.of_turn(self._registry, told, request)
        return told

    def _asked_for(self, given: arguments.TalkArguments) -> Talk:
        sampled = ((name, getattr(given, name)) for name in SAMPLERS & given.model_fields_set)
        samplers: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in sampled
        }
        return Talk(
            content="" if given.content is None else _content(given.content),
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

    def _following(self, on_timeout: OnTimeout, wait_s: float, until: float, request: Request) -> Follow:
        """What waits for a turn of a call that has `wait_s` seconds in all, on the clock `until` then."""

        async def follow(turn: Followed) -> TurnResult:
            result = await self._attended(turn, until, request)
            if turn.done.is_set() or on_timeout == "detach":
                return result
            return await self._registry.stop(request.space, turn, f"stopped after {wait_s:g} s, as asked")

        return follow

    def _is_approval(self, given: arguments.TalkArguments) -> bool:
        """Whether it says what the operator takes for a person's word.

        Only once: a call that is repeated would else approve the turn's next command, too.
        """
        named = bool(given.turn_id and given.request_id)
        return self._app.settings.approve_by_talk and named and given.content == YES

    async def wait_for_reply(self, given: arguments.WaitArguments, request: Request) -> Told:
        is_job = request.person.takes_tasks and given.timeout_ms is None
        wait_s = self._wait_s(given.timeout_ms)
        until = anyio.current_time() + (min(jobs.AFTER_S, wait_s) if is_job else wait_s)

        async def follow(turn: Followed) -> TurnResult:
            return await self._followed(turn, until, request)

        if request.person.state is not None:
            return await self._resumed(request, follow, until, is_job=is_job)
        found = await self._registry.find(request.space, given.chat_session, given.turn_id)
        return await self._settled(await follow(found), request, follow, until, is_job=is_job)

    async def interrupt(self, given: arguments.InterruptArguments, request: Request) -> Answer:
        stopped = await self._registry.interrupt(request.space, given.chat_session, given.turn_id)
        return await telling.of_turn(self._registry, stopped, request)

    async def list_sessions(self, given: arguments.ListSessionsArguments, request: Request) -> Answer:
        told = await sessions.listed(
            self._registry, request.space, prefix=given.prefix, after=given.cursor, limit=given.limit
        )
        return answers.whole(told)

    async def get_history(self, given: arguments.GetHistoryArguments, request: Request) -> Answer:
        entries = await self._registry.history(
            request.space,
            given.chat_session,
            after=given.after,
            limit=given.limit,
            most_bytes=PAGE,
        )
        # Behind the page, so that it counts all that is on it.
        row = await self._registry.session(request.space, given.chat_session)
        told: results.HistoryAnswer = {
            "chat_session": given.chat_session,
            "message_count": row.message_count,
        }
        if row.question and not row.running:
            told["question"] = answers.question(row.question)
        if given.format == "markdown":
            page = transcript.page(entries, after=given.after, offset=given.offset)
            return transcript.answer(told, page)
        shown = answers.page(entries, given.offset)
        told["messages"] = shown
        if shown and shown[-1]["seq"] < row.message_count:
            told["next_after"] = shown[-1]["seq"]
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
        if not turn.done.is_set():
            await anyio.lowlevel.checkpoint()  # a turn that has to wait for nothing takes no longer
        if not turn.done.is_set():
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

    async def _settled(
        self, result: TurnResult, request: Request, follow: Follow, until: float, *, is_job: bool
    ) -> Told:
        settled = await self._asking.settled(request.space, result, request.person, follow, until=until)
        return await self._told(request, settled, is_job=is_job)

    async def _resumed(self, request: Request, follow: Follow, until: float, *, is_job: bool) -> Told:
        settled = await self._asking.resumed(request.space, request.person, follow, until=until)
        return await self._told(request, settled, is_job=is_job)

    async def _told(self, request: Request, settled: Settled, *, is_job: bool) -> Told:
        if not isinstance(settled, TurnResult):
            return settled
        if is_job and settled.status == "running":
            return jobs.made(settled)
        return await telling.of_turn(self._registry, settled, request)


def _content(given: str | list[dict[str, JsonValue]]) -> str | tuple[Block, ...]:
    """Text, or blocks. Text that is JSON is read as blocks only if it is a list of blocks of known types."""
    if isinstance(given, str):
        return (_blocks_in(given) if BLOCKS.match(given) else None) or given
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
        return messages.decode_blocks(items(exactly_parsed(text)))
    except ValueError:
        return None

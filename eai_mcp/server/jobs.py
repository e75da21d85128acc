"""Turns as tasks, for clients that declare the extension `io.modelcontextprotocol/tasks` with their requests.

A task is a turn by another name. Its id says session and turn, so nothing is kept of it, and it is found
again after a restart, in another process, and only in the space of whoever asks. Whoever looks at it counts
as one who waits for the turn.

A question of the turn is the client's to put to the person, where the operator allows that (`--elicit`).
Unless they answer in time the task is complete, with a result that says what is asked: `talk` answers it.
That goes on with the turn, but not with the task: what was told to be complete stays so, in every process.
Source: SEP-2663, and the extension's specification of 2026-07-28.
"""

import base64
import hashlib
import json
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from eai_mcp.chat.distant import DistantTurn
from eai_mcp.chat.ending import Ending
from eai_mcp.chat.heard import Followed
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import Answers, Talk, TurnResult
from eai_mcp.errors import Conflict, EaiError, InvalidArgument, LimitExceeded, NotFound, SessionBusy
from eai_mcp.messages import JsonObject
from eai_mcp.server import answers, asking, forms, progress, registry, telling
from eai_mcp.server.asking import Person
from eai_mcp.server.principal import space_of
from eai_mcp.server.registry import EVERY, Request
from eai_mcp.server.room import room_of
from eai_mcp.store import SessionRow

AFTER_S = 2.0
"""How long a call waits for its reply before it is answered with a task."""

POLL_MS = 1000
LONGEST_MESSAGE = 200
LOOK_S = 0.25
"""How long a look at another process's turn waits, so that its owner hears that somebody does."""

MISSING_CAPABILITY: Final = -32021
STOPPED = "the turn was interrupted; the history has what was said"


class TaskParams(types.RequestParams):
    """What `tasks/get` and `tasks/cancel` come with."""

    task_id: str = ""


class UpdateParams(TaskParams):
    """What `tasks/update` comes with."""

    input_responses: types.InputResponses = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a task's id says; `made_at` is in seconds since 1970."""

    session: str
    turn_id: str
    made_at: float

    @property
    def id(self) -> str:
        told = json.dumps([self.session, self.turn_id, self.made_at], ensure_ascii=False)
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")

    @property
    def over(self) -> str:
        """The request id that stands for its turn once it was complete with a question."""
        return f"task-over-{hashlib.sha256(self.id.encode()).hexdigest()[:32]}"

    def told(self, status: str, at: float, message: str | None = None, **more: Any) -> JsonObject:
        """The task as the wire has it, last changed `at` a time in seconds since 1970."""
        about: JsonObject = {
            "taskId": self.id,
            "status": status,
            "createdAt": answers.moment(self.made_at),
            "lastUpdatedAt": answers.moment(max(at, self.made_at)),
            "ttlMs": None,
            "pollIntervalMs": POLL_MS,
            **more,
        }
        return {**about, "statusMessage": message} if message else about


def made(result: TurnResult) -> JsonObject:
    """The answer to a call whose turn goes on: the task by which its reply can be had."""
    now = round(time.time(), 3)
    task = _Task(result.session, result.turn_id, now)
    return {"resultType": "task", **task.told("working", now, _doing(result))}


class Jobs:
    """Answers `tasks/get`, `tasks/update` and `tasks/cancel`; people may think for `limit_s` seconds."""

    def __init__(
        self, registry: Registry, *, is_asking: bool, limit_s: float, published: Container[str] = EVERY
    ) -> None:
        self._registry = registry
        self._published = published
        self._is_asking = is_asking
        self._limit_s = limit_s

    def offer(self, server: Server[Any]) -> None:
        """Let clients know of tasks, and use them."""
        server.extensions[asking.TASKS] = {}
        server.add_request_handler("tasks/get", TaskParams, self.on_get)
        server.add_request_handler("tasks/update", UpdateParams, self.on_update)
        server.add_request_handler("tasks/cancel", TaskParams, self.on_cancel)

    async def on_get(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> JsonObject:
        """How a task stands, with its result once it has one.

        Raises:
            MCPError: There is no such task, or the client does not declare the extension.
        """
        task, space, room = _task(context, params), space_of(context), room_of(context)
        turn = await self._turn(space, task)
        try:
            result: Ending = await self._registry.reply(turn, LOOK_S if isinstance(turn, DistantTurn) else 0)
        except EaiError as error:
            result = error
        request = Request(space, progress.unheard, Person(context.session), room, self._published)
        with _as_protocol(task):
            return await self._told(task, result, request)

    async def on_update(self, context: ServerRequestContext[Any, Any], params: UpdateParams) -> JsonObject:
        """Answer a task's question in the person's words; whatever answers none is passed over.

        Raises:
            MCPError: There is no such task, the answer cannot be sent, or see `on_get`.
        """
        task, space = _task(context, params), space_of(context)
        turn = await self._turn(space, task)
        result = turn.ending
        if not isinstance(result, TurnResult) or not self._asks(result, Person(context.session)):
            return {}
        said = params.input_responses.get(_key(result))
        if not isinstance(said, types.ElicitResult):
            return {}
        words = forms.words(said)
        asked = Answers(turn_id=result.turn_id, asked_in=result.asked_in)
        with _as_protocol(task), suppress(Conflict, SessionBusy):  # others were faster
            if await self._is_over(space, task) or self._is_late(await self._row(space, task)):
                return {}
            if words is None:
                await self._end(space, task, result, forms.why_not(said))
            else:
                talk = Talk(content=words, session=result.session, answers=asked, by_person=True)
                await self._registry.begin(space, talk)
        return {}

    async def on_cancel(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> JsonObject:
        """Interrupt a task's turn, or drop its question; nothing becomes of one that is complete.

        Raises:
            MCPError: See `on_get`.
        """
        task, space = _task(context, params), space_of(context)
        await self._turn(space, task)
        with suppress(EaiError):  # it has ended meanwhile, in whatever way
            if not await self._is_over(space, task):
                await self._registry.interrupt(space, task.session, task.turn_id)
        return {}

    async def _told(self, task: _Task, ending: Ending, request: Request) -> JsonObject:
        row = await self._row(request.space, task)
        if not await self._is_over(request.space, task):
            if isinstance(ending, TurnResult) and (
                going_on := self._going_on(task, ending, row, request.person)
            ):
                return going_on
            try:
                ending = await self._ended(request, task, ending, row)
            except (Conflict, SessionBusy):  # somebody has just answered it
                return task.told("working", time.time())
            row = await self._row(request.space, task)
        if isinstance(ending, EaiError):
            told = registry.failed(ending, request.room, self._published)
        else:
            told = registry.told(await telling.of_turn(self._registry, ending, request))
        return task.told("completed", row.updated_at, result=_wire(told))

    def _going_on(
        self, task: _Task, result: TurnResult, row: SessionRow, someone: Person
    ) -> JsonObject | None:
        """The task unless it is complete."""
        if result.status == "running":
            return task.told("working", time.time(), _doing(result))
        if result.status == "interrupted":
            return task.told("cancelled", row.updated_at, "; ".join(result.warnings) or STOPPED)
        if not self._asks(result, someone) or self._is_late(row):
            return None
        asked = _wire(types.ElicitRequest(params=asking.question(result)))
        return task.told("input_required", row.updated_at, inputRequests={_key(result): asked})

    async def _ended(self, request: Request, task: _Task, ending: Ending, row: SessionRow) -> Ending:
        """How the turn stands, now that the task is complete, whatever becomes of the question.

        Raises:
            Conflict, SessionBusy: The turn goes on.
        """
        if row.question is None or row.question.turn_id != task.turn_id:
            return ending
        was_asked = isinstance(ending, TurnResult) and self._asks(ending, request.person)
        why = asking.too_late(self._limit_s) if was_asked else ""
        return await self._end(request.space, task, ending, why)

    async def _end(self, space: str, task: _Task, ending: Ending, why: str) -> Ending:
        if isinstance(ending, TurnResult) and why:
            ending = asking.left_open(ending, why)
            why = ending.warnings[-1]
        await self._registry.leave_open(space, task.session, task.turn_id, request_id=task.over, why=why)
        return ending

    async def _is_over(self, space: str, task: _Task) -> bool:
        """Whether the task was complete with a question, whatever became of that."""
        return await self._registry.by_request(space, task.session, task.over) is not None

    def _asks(self, result: TurnResult, someone: Person) -> bool:
        is_whole = len(result.reply) <= asking.LONGEST_QUESTION
        return result.status == "awaiting_input" and self._is_asking and someone.fills_forms and is_whole

    def _is_late(self, row: SessionRow) -> bool:
        return time.time() > row.updated_at + self._limit_s

    async def _row(self, space: str, task: _Task) -> SessionRow:
        return await self._registry.session(space, task.session)

    async def _turn(self, space: str, task: _Task) -> Followed:
        with _as_protocol(task):
            return await self._registry.find(space, task.session, task.turn_id)


def _task(context: ServerRequestContext[Any, Any], params: TaskParams) -> _Task:
    """The task that a request names, if its client may name any."""
    someone = Person(context.session)
    if not someone.is_modern:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)
    if not someone.takes_tasks:
        needed: JsonObject = {"requiredCapabilities": {"extensions": {asking.TASKS: {}}}}
        raise MCPError(MISSING_CAPABILITY, f"the request must declare the extension {asking.TASKS}", needed)
    padded = params.task_id + "=" * (-len(params.task_id) % 4)
    try:
        session, turn_id, made_at = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        answers.moment(made_at)
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise _unknown(params.task_id) from error
    if not isinstance(session, str) or not isinstance(turn_id, str):
        raise _unknown(params.task_id)
    return _Task(session, turn_id, made_at)


def _unknown(task_id: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"unknown task {task_id[:80]!r}")


@contextmanager
def _as_protocol(task: _Task) -> Iterator[None]:
    """Turn what no result can tell into an error of the protocol."""
    try:
        yield
    except NotFound as error:
        raise _unknown(task.id) from error
    except EaiError as error:
        is_theirs = isinstance(error, InvalidArgument | LimitExceeded)
        code = types.INVALID_PARAMS if is_theirs else types.INTERNAL_ERROR
        wait: JsonObject = {}
        if error.retry_after_s is not None:
            wait["retry_after_ms"] = round(error.retry_after_s * 1000)
        raise MCPError(code, error.message, {"code": error.code, **wait}) from error


def _wire(value: BaseModel) -> JsonObject:
    told: JsonObject = value.model_dump(by_alias=True, mode="json", exclude_none=True)
    return told


def _key(result: TurnResult) -> str:
    """The name of a question, which no other of the same task may have."""
    return f"{forms.FIELD}-{result.asked_in}"


def _doing(result: TurnResult) -> str:
    """The end of what was said so far, or else what is being done."""
    return " ".join(result.reply[-LONGEST_MESSAGE:].split()) or result.progress or ""

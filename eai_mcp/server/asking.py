"""A turn's question, put to the person at the client, in the way of each protocol generation.

The older protocol has a request for it, so the tool call waits for the person. On the newer one the call is
answered with what is wanted, and comes again with the person's words: what it was first made with is not said
a second time. Whatever comes of it, the question waits in its session until it is answered there.
"""

import json
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anyio
import mcp_types as types
import pydantic
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from eai_mcp import messages
from eai_mcp.chat import addressed
from eai_mcp.chat.heard import Followed
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import Answers, Talk, TurnResult
from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import Usage
from eai_mcp.server import forms, progress
from eai_mcp.server.forms import FIELD
from eai_mcp.server.progress import Report

MOST_ROUNDS = 10
"""Questions in one call of a tool. Clients of the newer protocol give up after as many."""
LONGEST_QUESTION = 16 * 1024
TOO_LONG = "the question is too long for a form, and nobody may answer what they cannot see whole"
TASKS = "io.modelcontextprotocol/tasks"

Follow: TypeAlias = Callable[[Followed], Awaitable[TurnResult]]
Settled: TypeAlias = TurnResult | types.InputRequiredResult


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever sits at the client, as far as this call reaches them.

    `state` and `said` came with the call: what a question was asked with, and the answer to it. `report`
    tells their client how it goes, and `begun` is when it called, on `anyio.current_time`'s clock.
    """

    session: ServerSession
    request_id: types.RequestId | None = None
    state: str | None = None
    said: types.ElicitResult | None = None
    report: Report = progress.unheard
    begun: float = 0.0

    @property
    def is_modern(self) -> bool:
        """Whether the client speaks the newer protocol."""
        return self.session.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def fills_forms(self) -> bool:
        """Whether the client can ask them. One that names no kind of question means forms."""
        offered = self.session.client_capabilities and self.session.client_capabilities.elicitation
        if not offered or (offered.form is None and offered.url is not None):
            return False
        return self.is_modern or self.session.can_send_request

    @property
    def takes_tasks(self) -> bool:
        """Whether the client declared with this very request that it asks again for what takes long."""
        offered = self.session.client_capabilities and self.session.client_capabilities.extensions
        return self.is_modern and TASKS in (offered or {})

    async def asked(self, form: types.ElicitRequestFormParams) -> types.ElicitResult | None:
        """What they do with a form; None where the client makes nothing of it."""
        try:
            async with self.waiting("waiting for the person at the client"):
                return await self.session.elicit_form(form.message, form.requested_schema, self.request_id)
        except (MCPError, pydantic.ValidationError):
            return None

    def waiting(self, doing: str) -> AbstractAsyncContextManager[None]:
        """Let the client hear during the block that it waits for what `doing` says."""
        return progress.alive(self.report, doing, begun=self.begun)


def person(
    context: ServerRequestContext[Any, Any],
    params: types.CallToolRequestParams,
    report: Report,
    begun: float,
) -> Person:
    """The person behind a call of a tool."""
    responses = params.input_responses or {}
    said = responses.get(FIELD)
    if responses and params.request_state is None:
        raise InvalidArgument(
            "inputResponses came without the requestState that they answer; send both", field="requestState"
        )
    answer = said if isinstance(said, types.ElicitResult) else None
    return Person(context.session, context.request_id, params.request_state, answer, report, begun)


async def begun(
    registry: Registry, space: str, talk: Talk, someone: Person, *, wait_s: float | None
) -> Followed:
    """Begin a turn as the registry does; who waits in line for that hears so."""
    if talk.if_busy == "error":
        return await registry.begin(space, talk, wait_s=wait_s)
    async with someone.waiting(f"waiting for session {talk.session!r}"):
        return await registry.begin(space, talk, wait_s=wait_s)


class Asking:
    """Asks people, where the operator allows it and the client can.

    An answer counts within `limit_s` seconds, and on the older protocol also within the call's own wait.
    """

    def __init__(self, registry: Registry, *, is_allowed: bool, limit_s: float) -> None:
        self._registry = registry
        self._is_allowed = is_allowed
        self._limit_s = limit_s

    async def settled(
        self, space: str, result: TurnResult, someone: Person, follow: Follow, *, until: float, first: int = 1
    ) -> Settled:
        """The result once no question is left in it, or as it is where nobody answers.

        `follow` waits for a turn that goes on, and `until` is when the call has to be answered, on
        `anyio.current_time`'s clock. The first question is the call's `first`.
        """
        for number in range(first, MOST_ROUNDS + 1):
            if result.status != "awaiting_input" or not self._is_allowed or not someone.fills_forms:
                return result
            if len(result.reply) > LONGEST_QUESTION:
                return left_open(result, TOO_LONG)
            if someone.is_modern:
                return self._required(result, number)
            left_s = until - anyio.current_time()
            if min(self._limit_s, left_s) <= 0:  # a form that is taken back at once would only flicker
                return result
            said, is_late = None, True
            with anyio.move_on_after(min(self._limit_s, left_s)):
                said, is_late = await someone.asked(question(result)), False
            if is_late:
                return await self._left_open(space, result, too_late(self._limit_s, left_s))
            answer = forms.words(said)
            if answer is None:
                return await self._left_open(space, result, forms.why_not(said))
            asked, spent = Answers(turn_id=result.turn_id, asked_in=result.asked_in), result.usage
            result = behind(spent, await self._answered(space, result.session, asked, answer, follow))
        return result

    async def resumed(self, space: str, someone: Person, follow: Follow, *, until: float) -> Settled:
        """Go on with a call that comes again, from the question that it was answered with.

        Raises:
            Conflict: The question is not open any more.
            InvalidArgument: This server does not ask.
        """
        state = self._state(someone)
        session, turn_id, number = str(state["session"]), str(state["turn_id"]), int(state["number"])
        asked = Answers(turn_id=turn_id, asked_in=state["asked_in"])
        addressed.check(session, (await self._registry.session(space, session)).question, asked)
        late, answer = time.time() > float(state["until"]), forms.words(someone.said)
        if answer is not None and not late:
            spent = Usage(**state["spent"]) if state["spent"] else None
            result = behind(spent, await self._answered(space, session, asked, answer, follow))
            return await self.settled(space, result, someone, follow, until=until, first=number + 1)
        result = await self._registry.reply(await self._registry.find(space, session, turn_id), 0)
        if late:
            why = f"the person's answer came later than {self._limit_s:g} s, and was not used"
            return await self._left_open(space, result, why)
        if someone.said is None:
            return self._required(result, number)
        return await self._left_open(space, result, forms.why_not(someone.said))

    async def _answered(
        self, space: str, session: str, asked: Answers, answer: str, follow: Follow
    ) -> TurnResult:
        talk = Talk(content=answer, session=session, answers=asked, by_person=True)
        return await follow(await self._registry.begin(space, talk))

    async def _left_open(self, space: str, result: TurnResult, why: str) -> TurnResult:
        """The result with why nobody answered, or how the turn stands where somebody else did meanwhile."""
        row = await self._registry.session(space, result.session)
        asked = Answers(turn_id=result.turn_id, asked_in=result.asked_in)
        if row.running is None and addressed.is_open(row.question, asked):
            return left_open(result, why)
        return await self._registry.reply(await self._registry.find(space, result.session, result.turn_id), 0)

    def _required(self, result: TurnResult, number: int) -> types.InputRequiredResult:
        state = {
            "session": result.session,
            "turn_id": result.turn_id,
            "asked_in": result.asked_in,
            "spent": result.usage and messages.told(result.usage),
            "number": number,
            "until": time.time() + self._limit_s,
        }
        request = types.ElicitRequest(params=question(result))
        return types.InputRequiredResult(input_requests={FIELD: request}, request_state=json.dumps(state))

    def _state(self, someone: Person) -> dict[str, Any]:
        if not self._is_allowed:
            raise InvalidArgument(
                "this server asks no questions through the client, so there is no requestState of its making;"
                " call again without it",
                field="requestState",
            )
        state: dict[str, Any] = json.loads(someone.state or "")
        return state


def question(result: TurnResult) -> types.ElicitRequestFormParams:
    """The form for a turn's question."""
    return forms.form(result.reply, label="Answer", hint=f"for the chat session {result.session!r}")


def too_late(limit_s: float, left_s: float = math.inf) -> str:
    """Why nobody answered a form that had its own limit, and what was left of its call's."""
    within = f"{limit_s:g} s" if limit_s <= left_s else "the time of this call"
    return f"the person at the client did not answer within {within}"


def behind(spent: Usage | None, result: TurnResult) -> TurnResult:
    """The result with what the same call had spent before its question too."""
    return result if spent is None else replace(result, usage=spent + (result.usage or Usage()))


def left_open(result: TurnResult, why: str) -> TurnResult:
    """The result of a turn whose question nobody answered."""
    return replace(result, warnings=(*result.warnings, f"{why}; the question is still open"))

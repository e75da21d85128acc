"""A person at the client talks with a model: `talk` with mode human, a turn for each message of theirs.

Each form shows what was said last: the model's reply or question, why a message failed, and at first what
the session ended with, or the greeting of its card. `content`, if there is any, is said before that, as in
any other talk. The person ends it: they decline, close the form, or send nothing.

On the older protocol the call stays open from the first form to the last. On the newer one each form answers
the call, which comes again with a state. That names the call and counts its forms, and so makes the request
id of the turn: a state that comes twice finds the turn that it made.
"""

import json
import math
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

import anyio
import mcp_types as types

from eai_mcp.chat import addressed
from eai_mcp.chat.heard import Followed
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import Answers, Talk, TurnResult
from eai_mcp.errors import Conflict, EaiError, InvalidArgument, NotFound, Throttled
from eai_mcp.messages import TextBlock, ToolResultBlock
from eai_mcp.server import answers, asking, dialogue, forms
from eai_mcp.server.asking import Follow, Person
from eai_mcp.server.dialogue import Dialogue
from eai_mcp.server.registry import Answer
from eai_mcp.server.results import TurnAnswer
from eai_mcp.store import Choices, SessionRow

MOST_FAILURES = 3
LONGEST_HOLD_S = 5.0
"""How long words are held back that came too soon for the space's share."""

MOST_STEPS_BACK = 20
"""Messages at the end of a history among which earlier words are looked for."""

LONGEST_SHOWN = 16 * 1024
"""Bytes of a reply that a form shows."""

Outcome: TypeAlias = TurnResult | types.InputRequiredResult | Answer
GO_ON = "talk(mode='human') goes on"
OTHER_WORDS = "this form was answered before, and what came now was not sent"
UNREACHABLE = (
    "mode human asks the person at the client, and this client offers no forms for that (elicitation) over"
    " this connection; leave mode out, or have the person use `eai-mcp chat`"
)
WHY = {
    "accept": "the person at the client sent an empty message",
    "decline": "the person at the client declined to go on",
    "cancel": "the person at the client closed the form",
}


class Human:
    """Lets a person talk, who has `limit_s` seconds for each form where the call stays open meanwhile.

    Their words allow what has to be allowed only where `approves`: the operator takes forms for a person's.
    """

    def __init__(self, registry: Registry, *, approves: bool, limit_s: float) -> None:
        self._registry = registry
        self._approves = approves
        self._limit_s = limit_s

    async def begun(
        self, space: str, talk: Talk, someone: Person, follow: Follow, *, until: float = math.inf
    ) -> Outcome:
        """Say the content of `talk`, if it has any, and let the person go on; all turns are as it says.

        `until` is when the call has to be answered, on `anyio.current_time`'s clock.

        Raises:
            InvalidArgument: Nobody can be asked; or an argument cannot work.
            SessionBusy: Another turn is running, and `talk.if_busy` does not say what to do about it.
            Conflict: It answers a question that is not open.
            EaiError: The content failed, or messages did, again and again.
        """
        if not someone.fills_forms:
            raise InvalidArgument(UNREACHABLE, field="mode")
        row = await self._row(space, talk)
        if row and row.running and talk.if_busy == "error":
            raise await self._registry.beginning.following.busy(
                space, talk.session, f"a turn is running in session {talk.session!r}; nobody was asked"
            )
        addressed.check(talk.session, row.question if row else None, talk.answers)
        at = Dialogue(call=secrets.token_hex(8), is_there=row is not None)
        if talk.content:
            turn = await asking.begun(self._registry, space, talk, someone, wait_s=_left(until))
            at = at.with_turn(await follow(turn))
        else:  # what cannot work is told before the person is asked
            self._registry.beginning.choosing(talk, row.choices if row else Choices())
        return await self._going_on(space, talk, at, someone, follow, until=until)

    async def resumed(
        self, space: str, talk: Talk, someone: Person, follow: Follow, *, until: float = math.inf
    ) -> Outcome:
        """Go on with a call that comes again, from the form that it was answered with.

        Raises:
            InvalidArgument: Nobody can be asked any more.
            EaiError: Messages failed again and again.
        """
        if not someone.fills_forms:
            raise InvalidArgument(UNREACHABLE, field="mode")
        at = await self._opened(space, talk, json.loads(someone.state or ""))
        if someone.said is None:
            return await self._required(space, talk, at)
        words = forms.words(someone.said)
        if words is None:
            return _ended(talk, at, WHY[someone.said.action])
        at = await self._said(space, talk, words, at, someone, follow, until=until)
        return await self._going_on(space, talk, at, someone, follow, until=until)

    async def _going_on(
        self, space: str, talk: Talk, at: Dialogue, someone: Person, follow: Follow, *, until: float
    ) -> Outcome:
        while (over := _over(at)) is None:
            at = await self._seen(space, talk, at)
            if at.asked and at.last and len(at.last.reply) > asking.LONGEST_QUESTION:
                return _ended(talk, at, asking.TOO_LONG)
            if someone.is_modern and at.forms >= asking.MOST_ROUNDS:
                return _ended(talk, at, f"clients show no more than {at.forms} forms in a call; {GO_ON}")
            if someone.is_modern:
                return await self._required(space, talk, at)
            said, why = await self._asked(someone, await self._form(space, talk, at), until)
            if said is None:
                return _ended(talk, at, why)
            at = await self._said(space, talk, said, at, someone, follow, until=until)
        return _ended(talk, at, over)

    async def _asked(
        self, someone: Person, form: types.ElicitRequestFormParams, until: float
    ) -> tuple[str | None, str]:
        """The person's words, or why there are none."""
        left_s = until - anyio.current_time()
        if min(self._limit_s, left_s) <= 0:  # a form that is taken back at once would only flicker
            return None, f"the time of this call was over; {GO_ON}"
        with anyio.move_on_after(min(self._limit_s, left_s)):
            said = await someone.asked(form)
            return forms.words(said), WHY[said.action] if said else forms.why_not(said)
        return None, f"{asking.too_late(self._limit_s, left_s)}; {GO_ON}"

    async def _said(
        self,
        space: str,
        talk: Talk,
        words: str,
        at: Dialogue,
        someone: Person,
        follow: Follow,
        *,
        until: float,
    ) -> Dialogue:
        """The dialogue once the person's words were said, or have failed."""
        # Only who has seen a question answers it, and nothing else that they say allows anything.
        said = replace(
            talk,
            content=words,
            request_id=f"human-{at.call}-{at.forms}",
            answers=at.asked,
            by_person=self._approves and at.asked is not None,
        )
        at = replace(at, forms=at.forms + 1)
        try:
            turn = await self._registry.by_request(space, said.session, said.request_id or "")
            if turn is not None:
                result = await follow(turn)
                are_other = await self._are_other(space, words, result)
                return at.with_turn(result, OTHER_WORDS if are_other else "")
            await self._check_unseen(space, said, at)
            return at.with_turn(await follow(await self._begun(space, said, someone, until)))
        except EaiError as error:
            return at.with_error(error)

    async def _begun(self, space: str, said: Talk, someone: Person, until: float) -> Followed:
        """The turn of what was said; a person need not know that they were too fast for a moment."""
        try:
            return await asking.begun(self._registry, space, said, someone, wait_s=_left(until))
        except Throttled as error:
            hold_s = math.inf if error.retry_after_s is None else error.retry_after_s
            if hold_s > min(LONGEST_HOLD_S, until - anyio.current_time()):
                raise
        await anyio.sleep(hold_s)
        return await asking.begun(self._registry, space, said, someone, wait_s=_left(until))

    async def _are_other(self, space: str, words: str, result: TurnResult) -> bool:
        """Whether a turn heard other words than these; of one that waits for an answer it is not known."""
        count = (await self._registry.session(space, result.session)).message_count
        latest = await self._registry.history(space, result.session, after=max(0, count - MOST_STEPS_BACK))
        heard: list[str] = []
        for entry in latest:
            if entry.turn_id == result.turn_id and entry.message.role == "user":
                for block in entry.message.content:
                    within = block.content if isinstance(block, ToolResultBlock) else (block,)
                    heard += [part.text for part in within if isinstance(part, TextBlock)]
        return bool(heard) and words not in heard

    async def _check_unseen(self, space: str, said: Talk, at: Dialogue) -> None:
        """See that no question came up that the person was not shown, and that the session is there still.

        Raises:
            Conflict: It is not so.
        """
        row = await self._row(space, said)
        if row is None and at.is_there:
            raise Conflict(dialogue.CLOSED, chat_session=said.session)
        if said.answers is None and row and row.question and not row.running:
            raise Conflict("a question came up meanwhile, so this was not sent", turn_id=row.question.turn_id)

    async def _seen(self, space: str, talk: Talk, at: Dialogue) -> Dialogue:
        """The dialogue with the question that is open now, whoever asked it, or else with none."""
        row = await self._row(space, talk)
        question = row.question if row and not row.running else None
        last = at.last
        if question is None and (last is None or last.status != "awaiting_input"):
            return replace(at, asked=None)
        turn_id = question.turn_id if question else last.turn_id if last else None
        with suppress(EaiError):  # it was closed, or failed, meanwhile
            last = await self._registry.reply(await self._registry.find(space, talk.session, turn_id), 0)
        if last is None or question is None or last.status != "awaiting_input":
            return replace(at, last=last, asked=None)
        asked = Answers(turn_id=last.turn_id, asked_in=last.asked_in)
        return replace(at, last=replace(last, usage=at.spent or last.usage), asked=asked)

    async def _form(self, space: str, talk: Talk, at: Dialogue) -> types.ElicitRequestFormParams:
        failed = f"That did not work: {at.error.message}" if at.error else at.note
        shown = at.last.reply if at.last else "" if failed else await self._opening(space, talk)
        if at.asked or at.note:
            shown = f"{failed}\n\n{shown}".strip()
        elif failed:
            shown = failed
        return forms.form(
            shown if at.asked else _fitted(shown) or "(The reply was empty.)",  # a question is shown whole
            label="Message",
            hint=f"for the chat session {talk.session!r}; decline, or send nothing, to end",
            required=False,
        )

    async def _opening(self, space: str, talk: Talk) -> str:
        """What the person sees before anything was said in this call."""
        row = await self._row(space, talk)
        if row and row.message_count:
            for entry in await self._registry.history(space, talk.session, after=row.message_count - 1):
                if entry.message.role == "assistant" and entry.message.text:
                    return entry.message.text
        chosen = self._registry.beginning.choosing(talk, row.choices if row else Choices())
        if chosen.card and chosen.card.first_message and not (row and row.message_count):
            # Many servers never play a card.
            from eai_mcp.chat import playing
            from eai_mcp.chat.macros import Macros

            return playing.greeting(Macros(card=chosen.card, session=talk.session))
        return f"What do you want to say to {chosen.model.name}?"

    async def _required(self, space: str, talk: Talk, at: Dialogue) -> types.InputRequiredResult:
        request = types.ElicitRequest(params=await self._form(space, talk, at))
        return types.InputRequiredResult(input_requests={forms.FIELD: request}, request_state=at.state)

    async def _opened(self, space: str, talk: Talk, state: dict[str, Any]) -> Dialogue:
        at = dialogue.opened(state)
        last = None
        if state["last"]:
            with suppress(EaiError):  # the session was closed, or others went on with the turn
                last = await self._registry.reply(
                    await self._registry.find(space, talk.session, state["last"]), 0
                )
        last = last and replace(last, usage=at.spent or last.usage)
        return replace(at, last=last)

    async def _row(self, space: str, talk: Talk) -> SessionRow | None:
        with suppress(NotFound):
            return await self._registry.session(space, talk.session)
        return None


def _over(at: Dialogue) -> str | None:
    """Why nobody is asked again, None if somebody is.

    Raises:
        EaiError: One message after the other failed, and nothing else came of the call.
    """
    if at.error and at.failures >= MOST_FAILURES:
        if not at.turns:
            raise at.error
        return f"{at.failures} messages failed, one after the other"
    status = at.last.status if at.last and not at.error else None
    if status == "running":
        return f"the reply did not come within the time of this call; once it is there, {GO_ON}"
    return "the turn was interrupted" if status == "interrupted" else None


def _ended(talk: Talk, at: Dialogue, why: str) -> TurnResult | Answer:
    """The answer of the call: the last turn's, with what happened before.

    Raises:
        EaiError: Nothing came of it but this.
    """
    if at.error and not at.turns and at.last is None:
        raise at.error
    told = [f"{at.turns} turn{'' if at.turns == 1 else 's'}; {why}"]
    if at.error:
        told.append(f"the last message failed: {at.error.message}")
    elif at.note:
        told.append(at.note)
    if at.last is None:
        nothing: TurnAnswer = {
            "status": "completed",
            "reply": "",
            "chat_session": talk.session,
            "warnings": told,
        }
        return answers.whole(nothing)
    result = replace(at.last, warnings=(*at.last.warnings, *told))
    return asking.left_open(result, "nobody answered it") if at.asked else result


def _fitted(text: str) -> str:
    """As much of the end of a text as a form shows."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= LONGEST_SHOWN:
        return text.strip()
    end = whole[-LONGEST_SHOWN:].decode(errors="ignore")
    return f"[The first {len(text) - len(end):,} characters are left out.]\n…{end}"


def _left(until: float) -> float | None:
    """Seconds to wait for others, None for as long as that takes."""
    return None if until == math.inf else max(0.0, until - anyio.current_time())

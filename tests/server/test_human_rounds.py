"""A dialogue on the newer protocol, whose call comes again for each form with the state of the last one."""

from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client import Client

from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Talk
from eai_mcp.errors import InvalidArgument, Rejected
from eai_mcp.server.human import Human
from tests.chat.taking import opened
from tests.fakes import Held, said
from tests.server.calling import call
from tests.server.sitting import asks
from tests.server.test_human import NEWER, dialogue, talking


async def by_hand(client: Client, state=None, text=None, **arguments):
    responses: Any = None
    if text is not None:
        responses = {"answer": types.ElicitResult(action="accept", content={"answer": text})}
    return await client.session.call_tool(
        "talk",
        {"mode": "human", **arguments},
        input_responses=responses,
        request_state=state,
        allow_input_required=True,
    )


def form(result):
    assert isinstance(result, types.InputRequiredResult), result
    asked: Any = result.input_requests
    return asked["answer"].params.message


@NEWER
async def test_a_state_that_comes_twice_makes_one_turn(connected):
    """Issue 8: a sealed state that is used again joins the turn that it made."""
    _, options = talking()
    async with connected(said("Hi."), said("There."), said("never"), **options) as (client, model):
        first = await by_hand(client)
        second = await by_hand(client, first.request_state, "hello")
        again = await by_hand(client, first.request_state, "something else")
        assert form(second) == form(await by_hand(client, first.request_state, "hello")) == "Hi."
        other = "this form was answered before, and what came now was not sent"
        assert form(again) == f"{other}\n\nHi."
        ended = await by_hand(client, again.request_state, " ")
        assert ended.structured_content["warnings"][-1] == other
        third = await by_hand(client, second.request_state, "more")
        assert form(third) == form(await by_hand(client, again.request_state, "more")) == "There."
        late = await by_hand(client, first.request_state, "hello")
        assert form(late) == "Hi."
        assert len(await dialogue(client)) == 4
    assert len(model.requests) == 2


@NEWER
async def test_states_that_come_at_once_make_one_turn(connected):
    """Issue 8: the same while the turn is running."""
    held, shown = Held("", "Hi."), []
    _, options = talking()
    async with connected(held, **options) as (client, model):
        first = await by_hand(client)

        async def send():
            shown.append(form(await by_hand(client, first.request_state, "hello")))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(send)
            await held.reached.wait()
            tasks.start_soon(send)
            held.let_go.set()
        assert (shown, len(await dialogue(client))) == (["Hi."] * 6, 2)
    assert len(model.requests) == 1


@NEWER
async def test_the_turn_of_a_question_is_answered_once_however_often_states_come(connected):
    """Issue 8: the same for a question's form."""
    _, options = talking()
    steps = (asks("Which colour?"), said("Painted."), said("never"))
    async with connected(*steps, **options) as (client, model):
        first = await by_hand(client)
        second = await by_hand(client, first.request_state, "paint")
        assert form(second) == "Which colour?"
        for _ in range(2):
            assert form(await by_hand(client, second.request_state, "blue")) == "Painted."
        assert form(await by_hand(client, first.request_state, "paint")) == "Painted."
    assert len(model.requests) == 2


@NEWER
async def test_a_state_without_an_answer_shows_its_form_again(connected):
    _, options = talking()
    async with connected(Rejected("not like this"), said("Hi."), **options) as (client, model):
        first = await by_hand(client, content="")
        assert form(await by_hand(client, first.request_state, content="")) == form(first)
        second = await by_hand(client, first.request_state, "hello", content="")
        again = await by_hand(client, second.request_state, content="")
        assert form(second) == form(again) == "That did not work: not like this"
        assert form(await by_hand(client, again.request_state, "hello", content="")) == "Hi."
    assert len(model.requests) == 2


@NEWER
async def test_a_dialogue_outlives_its_session(connected):
    _, options = talking()
    async with connected(said("Hi."), said("Again."), **options) as (client, _):
        first = await by_hand(client, chat_session="art")
        second = await by_hand(client, first.request_state, "hello", chat_session="art")
        await call(client, "close_session", chat_session="art")
        third = await by_hand(client, second.request_state, "unsent", chat_session="art")
        assert "the session was closed meanwhile" in form(third)
        assert form(await by_hand(client, third.request_state, "more", chat_session="art")) == "Again."
        assert await dialogue(client, "art") == [("user", "more"), ("assistant", "Again.")]


@dataclass
class Someone:
    """A person whose client comes again with each form."""

    state: str | None = None
    said: types.ElicitResult | None = None
    fills_forms: bool = True
    is_modern: bool = True
    words: list[str] = field(default_factory=list)

    async def asked(self, wanted):
        words = self.words.pop(0) if self.words else ""
        return types.ElicitResult(action="accept", content={"answer": words})


async def test_each_round_needs_a_client_that_shows_forms(catalog):
    """Issue 8: nobody is sent a form who does not declare with their request that they show it."""
    async with opened(catalog, said("never")) as (registry, model):
        follow: Any = registry.reply
        human = Human(registry, approves=False, limit_s=5)
        someone: Any = Someone()
        asked: Any = await human.begun("", Talk(content=""), someone, follow)
        hello = types.ElicitResult(action="accept", content={"answer": "hello"})
        someone = Someone(asked.request_state, hello, fills_forms=False)
        with pytest.raises(InvalidArgument, match="eai-mcp chat"):
            await human.resumed("", Talk(content=""), someone, follow)
    assert model.requests == []


async def test_who_is_too_fast_for_a_moment_does_not_notice(catalog):
    """Issue 8: limits and rate of each principal; a short wait is no failure of what was said."""
    limits = Limits(principal_rate=50, principal_burst=1)
    async with opened(catalog, said("One."), said("Two."), limits=limits) as (registry, _):

        async def follow(turn):
            return await registry.reply(turn, 5)

        someone: Any = Someone(is_modern=False, words=["a", "b"])
        human = Human(registry, approves=False, limit_s=5)
        done: Any = await human.begun("", Talk(content=""), someone, follow)
    assert (done.reply, done.warnings) == (
        "Two.",
        ("2 turns; the person at the client sent an empty message",),
    )

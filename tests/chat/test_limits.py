"""What a session may take, and what it remembers."""

import pytest

from eai_mcp.calls import Samplers
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Effective
from eai_mcp.errors import LimitExceeded, UnknownName
from eai_mcp.messages import Usage
from eai_mcp.observe import Fact
from eai_mcp.store import Choices
from tests.chat.taking import ask, opened, outcome, process, texts
from tests.fakes import said


@pytest.mark.parametrize(
    ("limits", "why", "details"),
    [
        (Limits(session_turns=2), "has used 2 turns of the 2", {"limit": 2, "actual": 2}),
        (Limits(session_tokens=20), "has used 24 tokens of the 20", {"limit": 20, "actual": 24}),
        (Limits(session_usd=0.5), r"has used 0\.5 US dollars of the 0\.5", {"limit": 0.5, "actual": 0.5}),
    ],
    ids=["turns", "tokens", "cost"],
)
async def test_a_session_that_is_used_up_is_refused_before_the_call(catalog, limits, why, details):
    """Issue 4: per-session limits (turns, tokens, cost) that stop before the call."""
    reply = said("ok", usage=Usage(5, 7, cost_usd=0.25))
    async with opened(catalog, *[reply] * 3, limits=limits) as (registry, call):
        await ask(registry, "a", session="work")
        await ask(registry, "b", session="work")
        with pytest.raises(LimitExceeded, match=why) as caught:
            await ask(registry, "c", session="work")
        assert caught.value.details == {"chat_session": "work", **details}
        assert len(call.requests) == 2
        assert len(await texts(registry, "work")) == 4
        assert (await ask(registry, "c", session="other")).reply == "ok"


SPENT = {"input": 2, "output": 3, "cost_usd": None}


async def test_a_cost_that_nobody_knows_is_no_cost(catalog):
    limits = Limits(session_usd=0.01)
    async with opened(catalog, said("1"), said("2"), limits=limits) as (registry, _):
        await ask(registry, "a")
        assert (await ask(registry, "b")).reply == "2"


async def test_metadata_has_a_limit(catalog):
    async with opened(catalog, said("ok")) as (registry, call):
        with pytest.raises(LimitExceeded, match="metadata has") as caught:
            await ask(registry, "a", metadata={"note": "x" * 17_000})
        assert caught.value.details["field"] == "metadata"
        assert call.requests == []


async def test_metadata_is_told_in_the_result_and_in_the_facts(catalog):
    """DESIGN section 5: metadata (object, stored with the turn and its facts)."""
    facts: list[Fact] = []
    async with opened(catalog, said("1"), said("2"), observe=facts.append) as (registry, _):
        done = await ask(registry, "a", metadata={"ticket": [1, {"x": None}]})
        assert done.metadata == {"ticket": [1, {"x": None}]}
        assert await outcome(registry) == done
        (started,) = [fact for fact in facts if fact.name == "turn.started"]
        assert started.fields == {"model": "plain", "metadata": '{"ticket": [1, {"x": null}]}'}
        await ask(registry, "b", metadata={"long": "x" * 5000})
        told = [fact for fact in facts if fact.name == "turn.started"][1].fields["metadata"]
        assert isinstance(told, str)
        assert len(told) == 1000


async def test_facts_tell_of_a_turn_by_sizes_and_ids(catalog):
    facts: list[Fact] = []
    async with opened(catalog, said("x"), observe=facts.append) as (registry, _):
        result = await ask(registry, "a", session="work", request_id="r1")
        await registry.close("", "work")
    seconds = facts[3].fields["seconds"]
    ids = ("work", result.turn_id, "r1")
    assert [(fact.name, fact.session, fact.turn_id, fact.request_id, fact.fields) for fact in facts] == [
        ("session.opened", "work", "", "", {}),
        ("turn.received", *ids, {"model": "plain", "characters": 1}),
        ("turn.started", *ids, {"model": "plain"}),
        ("turn.completed", *ids, {"seconds": seconds, "model": "plain", "stop": "end"} | SPENT),
        ("session.closed", "work", "", "", {}),
    ]


async def test_pieces_of_text_are_told_only_to_those_who_debug(catalog, caplog):
    """Issue 6: "Facts: the vocabulary of chit.md section 2"; "sizes not texts"."""
    facts: list[Fact] = []
    async with opened(catalog, said("abc"), said("de"), observe=facts.append) as (registry, _):
        await ask(registry, "a")
        assert not [fact for fact in facts if fact.name == "output.delta"]
        with caplog.at_level("DEBUG", logger="eai_mcp"):
            await ask(registry, "b")
    assert [fact.fields for fact in facts if fact.name == "output.delta"] == [{"characters": 2}]


async def test_the_terminal_is_remembered_until_it_is_dropped(catalog):
    """DESIGN section 4: it remembers its model, prompt, card and pty_session_id."""
    async with opened(catalog, *[said("ok")] * 3) as (registry, _):
        for given, held in (("t9", "t9"), (None, "t9"), ("", None)):
            done = await ask(registry, "a", pty_session_id=given)
            assert done.effective == Effective(model="plain", pty_session_id=held)
            assert (await registry.session("", "default")).choices.pty_session_id == held


async def test_a_session_remembers_its_model_prompt_and_card(catalog, tmp_path):
    """Issue 4: what a session remembers; precedence."""
    path = tmp_path / "sessions.db"
    expected = Effective(model="other", prompt="coder", card="pirate")
    async with process(catalog, path, said("1")) as (here, call):
        await ask(here, "a", session="work", model="other", prompt="coder", card="pirate")
        system = call.requests[0].system
    async with process(catalog, path, *[said("ok")] * 3) as (there, call):
        assert (await ask(there, "b", session="work")).effective == expected
        assert call.requests[0].system == system is not None
        # One choice leaves the others as they are.
        one = await ask(there, "c", session="work", model="hasty")
        assert one.effective == Effective(model="hasty", prompt="coder", card="pirate")
        two = await ask(there, "d", session="work", card="")
        assert two.effective == Effective(model="hasty", prompt="coder")
        row = await there.session("", "work")
        assert row.choices == Choices(model="hasty", prompt="coder")


async def test_arguments_that_a_card_replaced_are_named_again(catalog):
    """Issue 4: card overrides with `overridden` in the result."""
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        done = await ask(registry, "a", card="clerk", model="hasty")
        assert (done.effective.model, done.overridden) == ("other", ("model",))
        assert await outcome(registry) == done
        # What the card replaced was remembered, and holds once the card is dropped.
        assert (await ask(registry, "b", card="")).effective == Effective(model="hasty")


async def test_a_failed_turn_changes_no_choice(catalog):
    async with opened(catalog, ValueError("a bug"), said("ok")) as (registry, _):
        with pytest.raises(Exception, match="internal error"):
            await ask(registry, "a", model="other")
        assert (await ask(registry, "b")).effective.model == "plain"


async def test_samplers_hold_for_one_turn_and_zero_is_given(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, call):
        await ask(registry, "a", samplers=Samplers(temperature=0.0, stop_sequences=()))
        await ask(registry, "b")
    assert call.requests[0].samplers.given() == ("temperature", "stop_sequences")
    assert call.requests[1].samplers.given() == ()


async def test_a_name_that_is_not_in_the_catalog_makes_no_session(catalog):
    async with opened(catalog) as (registry, _):
        with pytest.raises(UnknownName):
            await ask(registry, "hi", session="a", model="none")
        assert [row.name for row in await registry.sessions("")] == ["default"]

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.entries import Book, Card, Keys, Lore, Place
from eai_mcp.chat import playing
from eai_mcp.chat.fitting import places
from eai_mcp.chat.macros import Macros
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from tests.chat.test_fitting import histories

WHOLE = Card(
    name="sailor",
    title="Sailor",
    description="{{char}} sails with {{user}}.",
    personality="salty",
    scenario="a ship",
    first_message="Ahoy, {{user}}.",
    example_messages="<START>\n{{user}}: hi\n{{char}}: arr",
    system_prompt="{{original}} Speak as {{char}}.",
    post_history_instructions="{{original}}Stay {{char}}.",
    creator_notes="for people",
    tags=("sea",),
)
TALK = (user("a"), assistant("b"), user("c"), assistant("d"), user("e"))


def played(card, *messages, prompt=""):
    return playing.played(Macros(card=card), prompt, messages or TALK)


def with_lore(*lore, card=WHOLE):
    return replace(card, book=Book(entries=lore))


def said(*texts):
    return user(tuple(map(TextBlock, texts)))


def test_each_text_of_a_card_has_its_place():
    """Issue 7: greetings, example messages, lorebook (…), `post_history_instructions` in its place."""
    places: tuple[Place, ...] = ("before_char", "after_desc", "personality", "scenario", "after_char")
    lore = [Lore(content=f"{place} {{{{user}}}}", always=True, place=place) for place in places]
    system, messages = played(with_lore(*reversed(lore)), prompt="Be {{char}}.")
    assert system == (
        "Be Sailor. Speak as Sailor.\n\nbefore_char User\n\nSailor sails with User.\n\nafter_desc User\n\n"
        "Personality: salty\n\npersonality User\n\nScenario: a ship\n\nscenario User\n\nafter_char User\n\n"
        "Examples: <START>\nUser: hi\nSailor: arr\n\nGreeting: Ahoy, User."
    )
    assert messages == (*TALK[:-1], said("e", "Stay Sailor."))


def test_a_card_that_says_nothing_adds_nothing():
    empty = Card(name="x", title="X")
    assert played(empty) == (None, TALK)
    system, messages = played(replace(empty, book=Book(entries=(Lore(content="x", keys=Keys(("z",))),))))
    assert system is None
    assert [id(one) for one in messages] == [id(one) for one in TALK]


def test_a_section_that_only_lore_fills_has_its_label():
    lore = Lore(content="shy", always=True, place="personality")
    assert played(with_lore(lore, card=Card(name="x", title="X")))[0] == "Personality: shy"


def test_what_is_shown_of_older_messages_stays_as_it_is():
    """What a provider keeps in its cache begins with them."""
    _, first = played(WHOLE, *TALK)
    _, second = played(WHOLE, *TALK, assistant("f"), user("g"))
    assert second[: len(TALK)] == TALK
    assert first[:-1] == TALK[:-1]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, (*TALK[:4], said("e", "x"))),
        (1, (*TALK[:4], said("x", "e"))),
        (2, (*TALK[:2], said("c", "x"), *TALK[3:])),
        (3, (*TALK[:2], said("x", "c"), *TALK[3:])),
        (4, (said("a", "x"), *TALK[1:])),
        (5, (said("x", "a"), *TALK[1:])),
        (99, (said("x", "a"), *TALK[1:])),
    ],
)
def test_lore_may_stand_among_the_messages(depth, expected):
    lore = Lore(content="x", always=True, depth=depth)
    assert played(with_lore(lore, card=Card(name="x", title="X"))) == (None, expected)


def test_instructions_come_after_all_lore():
    lore = [Lore(content=text, always=True, depth=0) for text in ("x", "y")]
    assert played(with_lore(*lore))[1][-1] == said("e", "x", "y", "Stay Sailor.")


def test_results_of_tools_keep_their_place_behind_their_uses():
    use = Message("assistant", (ToolUseBlock("1", "t", {}),))
    result = Message("user", (ToolResultBlock("1", (TextBlock("done"),)),))
    lore = Lore(content="x", always=True, depth=2)
    _, messages = played(with_lore(lore), user("a"), use, result, assistant("b"), user("c"))
    assert messages == (said("a", "x"), use, result, assistant("b"), said("c", "Stay Sailor."))
    _, messages = played(with_lore(lore), user("a"), use, result)
    assert messages == (
        said("a", "x"),
        use,
        replace(result, content=(*result.content, TextBlock("Stay Sailor."))),
    )


@given(histories, st.lists(st.integers(0, 20), max_size=4))
def test_no_message_comes_or_goes_and_none_of_a_model_is_touched(history, depths):
    lore = [Lore(content=f"x{at}", always=True, depth=depth) for at, depth in enumerate(depths)]
    _, messages = playing.played(Macros(card=with_lore(*lore)), "", history)
    assert len(messages) == len(history)
    for before, now in zip(history, messages, strict=True):
        assert now is before or (now.role == before.role and len(now.content) > len(before.content))
    changed = {at for at, one in enumerate(messages) if one is not history[at]}
    assert changed <= {*places(history), len(history) - 1}
    assert {history[at].role for at in changed} <= {"user"}

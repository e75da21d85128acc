import pytest

from eai_mcp.chat.choose import choose
from eai_mcp.chat.values import Effective, Talk
from eai_mcp.errors import InvalidArgument, UnknownName
from eai_mcp.store import Choices

CLERK = {"model": "other", "prompt": "analyst", "card": "clerk"}
HASTY = {"model": "hasty"}


def effective(catalog, before=Choices(), **talk):
    return choose(Talk(content="hi", **talk), before, catalog, "plain")


@pytest.mark.parametrize(
    ("talk", "before", "expected"),
    [
        ({}, {}, {"model": "plain"}),
        ({}, {"model": "other", "prompt": "coder"}, {"model": "other", "prompt": "coder"}),
        ({"model": "hasty"}, {"model": "other"}, {"model": "hasty"}),
        ({"prompt": "coder"}, {"system": "raw"}, {"model": "plain", "prompt": "coder"}),
        ({"system": "raw"}, {"prompt": "coder"}, {"model": "plain", "system": "raw"}),
        ({"prompt": ""}, {"prompt": "coder"}, {"model": "plain"}),
        ({"system": ""}, {"system": "raw"}, {"model": "plain"}),
        # a card given in this call comes before an argument
        ({"card": "clerk", "model": "hasty", "prompt": "coder"}, {}, CLERK),
        # an argument before a remembered card
        ({**HASTY, "prompt": "coder"}, {"card": "clerk"}, {**HASTY, "prompt": "coder", "card": "clerk"}),
        # a remembered card before the session
        ({}, {"card": "clerk", "model": "hasty", "prompt": "coder"}, CLERK),
        # a card that names neither leaves both alone
        ({"card": "pirate"}, {**HASTY, "system": "raw"}, {**HASTY, "system": "raw", "card": "pirate"}),
        ({"card": ""}, {"card": "clerk"}, {"model": "plain"}),
    ],
)  # fmt: skip
def test_the_first_that_says_something_is_taken(catalog, talk, before, expected):
    """DESIGN section 4: card given in this call > argument > remembered card > session > default."""
    assert effective(catalog, Choices(**before), **talk).effective == Effective(**expected)


def test_the_session_remembers_arguments_and_not_what_a_card_made_of_them(catalog):
    chosen = effective(catalog, Choices(model="hasty"), card="clerk", prompt="coder")
    assert chosen.remembered == Choices(model="hasty", prompt="coder", card="clerk")
    assert effective(catalog, chosen.remembered, card="").effective == Effective(
        model="hasty", prompt="coder"
    )


def test_arguments_that_a_card_replaced_are_named(catalog):
    assert effective(catalog, card="clerk", model="hasty", system="raw").overridden == ("model", "system")
    assert effective(catalog, card="clerk", model="other").overridden == ()
    assert effective(catalog, Choices(card="clerk"), model="hasty").overridden == ()
    assert effective(catalog, card="pirate", model="hasty").overridden == ()


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        ({"model": "plan"}, "unknown_model"),
        ({"prompt": "code"}, "unknown_prompt"),
        ({"card": "x"}, "unknown_card"),
    ],
)
def test_an_unknown_name_is_refused(catalog, talk, code):
    """Issue 2, bad input: unknown model, prompt or card (nearest names given)."""
    with pytest.raises(UnknownName) as caught:
        effective(catalog, **talk)
    assert caught.value.code == code


def test_of_a_long_system_text_the_result_shows_the_start(catalog):
    chosen = effective(catalog, system="x" * 500)
    assert chosen.system == "x" * 500
    assert chosen.effective.system == "x" * 79 + "…"


def test_a_prompt_and_raw_system_text_exclude_each_other(catalog):
    with pytest.raises(InvalidArgument, match="either prompt or system"):
        effective(catalog, prompt="coder", system="raw")

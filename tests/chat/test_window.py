from eai_mcp.chat import window
from eai_mcp.chat.choose import choose
from eai_mcp.chat.values import Talk
from eai_mcp.messages import Message, assistant, user
from eai_mcp.store import Choices


def system(catalog, **talk):
    return window.system_text(choose(Talk(content="hi", **talk), Choices(), catalog, "plain"))


def test_nothing_is_added_to_what_the_user_says(catalog):
    """DESIGN section 13: bytes added to the user's message or system prompt: 0."""
    assert system(catalog) is None
    assert window.shown([], user("hi")) == (user("hi"),)


def test_a_prompt_and_raw_text_are_sent_as_they_are(catalog):
    assert system(catalog, prompt="coder") == "You write code."
    assert system(catalog, system=" as it is\n") == " as it is\n"


def test_a_cards_own_prompt_stands_in_the_prompts_place_and_may_hold_it(catalog):
    assert system(catalog, card="pirate", prompt="coder") == (
        "You write code. Speak like a pirate.\n\nPirate sails with User.\n\nPersonality: gruff\n\nSay arr."
    )


def test_a_card_without_a_prompt_of_its_own_follows_the_prompt(catalog):
    assert system(catalog, card="clerk") == "You count things.\n\nA clerk."


def test_a_message_with_nothing_in_it_is_not_sent():
    empty = Message("assistant", ())
    assert window.shown([user("a"), empty, assistant("b")], user("c")) == (
        user("a"),
        assistant("b"),
        user("c"),
    )

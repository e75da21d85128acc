from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import AttemptFailed, ModelRequest, TextDelta
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import window
from eai_mcp.chat.choose import choose
from eai_mcp.chat.fitting import places
from eai_mcp.chat.values import Talk
from eai_mcp.errors import ContextOverflow
from eai_mcp.messages import Message, TextBlock, assistant, user
from eai_mcp.store import Choices
from tests.chat.test_fitting import histories
from tests.fakes import Scripted, said


def system(catalog, **talk):
    return prepared(catalog, [], user("hi"), **talk)[0]


def test_nothing_is_added_to_what_the_user_says(catalog):
    """DESIGN section 13: bytes added to the user's message or system prompt: 0."""
    assert system(catalog) is None


def test_a_prompt_and_raw_text_are_sent_as_they_are(catalog):
    assert system(catalog, prompt="coder") == "You write code."
    assert system(catalog, system=" as it is\n") == " as it is\n"


def prepared(catalog, history, message, **talk):
    chosen = choose(Talk(content="hi", **talk), Choices(), catalog, "plain")
    return window.prepared(chosen, history, message)


def test_without_a_card_the_very_messages_of_the_history_are_shown(catalog):
    """DESIGN section 13: bytes added to the user's message or system prompt: 0."""
    history, message = [user("a"), assistant("b")], user("hi")
    system, messages = prepared(catalog, history, message)
    assert system is None
    assert [id(one) for one in messages] == [id(one) for one in (*history, message)]
    assert prepared(catalog, [], message, prompt="coder") == ("You write code.", (message,))


def test_a_cards_own_prompt_stands_in_the_prompts_place_and_may_hold_it(catalog):
    """Issue 7: `post_history_instructions` in its place."""
    history, message = [user("a"), assistant("b")], user("hi")
    system, messages = prepared(catalog, history, message, card="pirate", prompt="coder")
    assert system == "You write code. Speak like a pirate.\n\nPirate sails with User.\n\nPersonality: gruff"
    assert messages == (*history, user((TextBlock("hi"), TextBlock("Say arr."))))
    assert [id(one) for one in messages[:2]] == [id(one) for one in history]


def test_who_speaks_can_be_named(catalog):
    chosen = choose(Talk(content="hi", card="pirate"), Choices(), catalog, "plain")
    system, _ = window.prepared(chosen, [], user("hi"), user="Ann")
    assert "Pirate sails with Ann." in str(system)


def test_a_card_without_a_prompt_of_its_own_follows_the_prompt(catalog):
    assert system(catalog, card="clerk") == "You count things.\n\nA clerk."


def test_a_message_with_nothing_in_it_is_not_sent(catalog):
    empty = Message("assistant", ())
    assert prepared(catalog, [user("a"), empty, assistant("b")], user("c"))[1] == (
        user("a"),
        assistant("b"),
        user("c"),
    )


def model(window=600, policy="drop_oldest", **fields):
    return Model(
        name="small", provider="p", model="w", context_window=window, context_policy=policy, **fields
    )


def turns(count):
    """Turns of two messages, each of 100 tokens by the careful count and 18 by the hopeful one."""
    return tuple(one for _ in range(count) for one in (user("x" * 288), assistant("y" * 288)))


async def ask(model, messages, *steps):
    """Ask `model`, whose steps these are: what came back, what it was shown, and what was heard."""
    call, heard = Scripted([*steps]), []

    async def emit(event):
        heard.append(event)

    request = ModelRequest(messages=messages)
    response = await window.Fitted(call, model)(request, emit)
    return response, [one.messages for one in call.requests], heard


HELLO = said("hello", warnings=("top_k was not sent",))
WARNING = (
    "the oldest 4 of 11 messages had to be left out to fit into what the model reads (about 1,000 tokens)"
)
TOO_LONG = ContextOverflow("it cannot read this much")


@pytest.mark.parametrize(
    "model",
    [model(None), model(None, "error"), model(4000), model(4000, "error"), model(800, "error")],
    ids=["unknown", "unknown, error", "large", "large, error", "on the border, error"],
)
async def test_what_may_fit_goes_through_untouched(model):
    messages = (*turns(5), user("hi"))
    response, shown, heard = await ask(model, messages, HELLO)
    assert response is HELLO
    assert shown[0] is messages
    assert heard == [TextDelta("hello")]


async def test_what_cannot_fit_by_any_count_is_refused_before_the_call():
    """Issue 4: history that fits by the model's `context_window` with the policy `error`."""
    with pytest.raises(ContextOverflow) as caught:
        await ask(model(policy="error"), (*turns(20), user("hi")))
    assert caught.value.message == (
        "the messages come to about 4,004 tokens, and model 'small' reads 600; start a new session, "
        "fork_session at an earlier message, take a model with a larger window, or set policy = "
        '"drop_oldest" under [context] in the model\'s file'
    )
    assert caught.value.details == {"model": "small", "tokens": 4004, "context_window": 600}


@pytest.mark.parametrize("policy", ["error", "drop_oldest"])
async def test_an_input_that_cannot_fit_alone_is_refused_whatever_the_policy(policy):
    with pytest.raises(ContextOverflow) as caught:
        await ask(model(policy=policy), (*turns(2), user("x" * 12_000)))
    assert caught.value.message == (
        "this input alone comes to about 4,004 tokens, and model 'small' reads 600; send less at once, "
        "or take a model with a larger window"
    )


async def test_the_providers_own_overflow_is_told_as_it_is_under_the_policy_error():
    with pytest.raises(ContextOverflow) as caught:
        await ask(model(policy="error"), (*turns(5), user("hi")), TOO_LONG)
    assert caught.value is TOO_LONG


async def test_the_oldest_messages_are_left_out_and_a_warning_says_so():
    """Issue 4: the policy `drop_oldest`, never silently: a warning says what was left out."""
    messages = (*turns(5), user("hi"))
    response, shown, heard = await ask(model(1000), messages, HELLO)
    assert shown == [messages[4:]]
    assert heard == [TextDelta("hello")]
    assert response == replace(
        HELLO,
        warnings=(
            "top_k was not sent",
            WARNING,
        ),
    )


async def test_an_input_that_may_fit_is_asked_alone():
    messages = (*turns(2), user("x" * 3000))
    _, shown, _ = await ask(model(), messages, HELLO)
    assert shown == [messages[4:]]


async def test_more_is_left_out_when_the_provider_finds_it_too_long():
    messages = (*turns(5), user("hi"))
    response, shown, heard = await ask(model(4000), messages, TOO_LONG, TOO_LONG, replace(HELLO, attempts=2))
    assert shown == [messages, messages[2:], messages[6:]]
    assert heard == [AttemptFailed(TOO_LONG.message), AttemptFailed(TOO_LONG.message), TextDelta("hello")]
    assert response.attempts == 4
    assert response.warnings[1].startswith("the oldest 6 of 11 messages had to be left out")


async def test_after_three_shorter_attempts_the_providers_error_stands():
    messages = (*turns(30), user("hi"))
    errors = [ContextOverflow(f"too long {n}") for n in range(5)]
    with pytest.raises(ContextOverflow, match="too long 3"):
        await ask(model(100_000), messages, *errors)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ((*turns(5), user("hi")), ContextOverflow("too long", partial="half a")),
        ((user("hi"),), TOO_LONG),
        ((assistant("Ahoy"),), TOO_LONG),
    ],
    ids=["text was heard", "nothing is left to leave out", "there is no place to cut"],
)
async def test_what_a_shorter_history_cannot_mend_is_not_asked_again(messages, error):
    with pytest.raises(ContextOverflow) as caught:
        await ask(model(4000), messages, error)
    assert caught.value is error


@given(histories, st.integers(1, 3000), st.booleans())
def test_what_is_shown_is_the_end_of_the_history_from_a_users_message_on(history, limit, drops):
    """Issue 4: never silently: a warning says what was left out."""
    policy = "drop_oldest" if drops else "error"
    try:
        response, [shown], _ = anyio.run(ask, model(limit, policy), history, said("hello"))
    except ContextOverflow:
        return
    cut = len(history) - len(shown)
    assert shown == history[cut:]
    assert bool(cut) == bool(response.warnings)
    assert shown is history or (drops and cut in places(history))

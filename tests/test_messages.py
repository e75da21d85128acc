import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp import messages
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
    user,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
shown = (
    st.builds(TextBlock, text)
    | st.builds(ImageBlock, text, text)
    | st.builds(DocumentBlock, text, text, text)
)
blocks = (
    shown
    | st.builds(ThinkingBlock, text, st.none() | text)
    | st.builds(ToolUseBlock, text, text, st.dictionaries(text, json_values, max_size=3))
    | st.builds(ToolResultBlock, text, st.lists(shown, max_size=2).map(tuple), st.booleans())
)
states = st.none() | st.builds(ProviderState, text, text, json_values)
whole_messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant"]),
    st.lists(blocks, max_size=4).map(tuple),
    st.booleans(),
    states,
)


@given(whole_messages)
def test_a_message_comes_back_from_its_json(message):
    assert messages.decode(messages.encode(message)) == message


plain_messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant"]),
    st.lists(st.builds(TextBlock, st.text()), max_size=3).map(tuple),
    st.booleans(),
)


@given(plain_messages)
def test_plain_words_are_written_as_the_adapter_writes_them(message):
    """What is taken for plain comes back from its JSON as the very same."""
    adapter = pydantic.TypeAdapter(Message)
    written = adapter.dump_python(message, mode="json", exclude_none=True)
    assert list(messages.encode(message).items()) == list(written.items())
    assert messages.dump(message) == messages.compact(written)
    assert not message.is_plain or messages.load(messages.dump(message)) == message


def test_halves_of_characters_and_other_blocks_are_not_plain():
    halves, thought = user("\ud83d\ude00"), Message("assistant", (ThinkingBlock("hm"),))
    sealed = Message("assistant", (TextBlock("hi"),), state=ProviderState("a", "b"))
    assert not any(one.is_plain for one in (halves, thought, sealed))
    assert user("\U0001f600").is_plain


def test_json_names_the_type_of_each_block():
    assert messages.encode(user("hi")) == {
        "role": "user",
        "content": [{"type": "text", "text": "hi"}],
        "partial": False,
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"type": "text"}], "Field required"),
        ([{"type": "zap", "text": "x"}], "does not match any of the expected tags"),
        ([{"type": "text", "text": "x", "color": "red"}], "Unexpected keyword argument"),
        ([{"text": "x"}], "Unable to extract tag"),
        ({"type": "text", "text": "x"}, "valid tuple"),
    ],
)
def test_blocks_of_another_shape_are_refused(value, reason):
    with pytest.raises(pydantic.ValidationError, match=reason):
        messages.decode_blocks(value)


def test_the_text_of_a_message_leaves_thinking_out():
    message = Message("assistant", (ThinkingBlock("hm"), TextBlock("one"), TextBlock("two")))
    assert message.text == "one\n\ntwo"


def test_usage_adds_up_and_an_unknown_cost_stays_unknown():
    total = Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50)
    assert total == Usage(11, 22, 33, 44, 55)
    assert (Usage(cost_usd=0.5) + Usage()).cost_usd == 0.5
    assert (Usage(cost_usd=0.5) + Usage(cost_usd=0.25)).cost_usd == 0.75

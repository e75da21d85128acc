import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import fitting
from eai_mcp.chat.fitting import CAREFUL, HOPEFUL, Sized
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)

USE = Message("assistant", (ToolUseBlock("u1", "look", {"at": "the sea"}),))
RESULT = user((ToolResultBlock("u1", (TextBlock("it is blue"),)),))


def asking(*messages, **fields):
    return ModelRequest(messages=messages, **fields)


def size(*blocks, rates=CAREFUL):
    """What blocks come to without the frame of their message."""
    return fitting.tokens(asking(user(blocks)), rates) - rates.frame


@pytest.mark.parametrize(
    ("text", "careful", "hopeful"),
    [
        ("", 0, 0),
        ("The sea is calm, and nobody is out there today.", 15, 2),
        ("今天海很平静 外面没有人。", 16, 0),
        ("Сегодня море спокойно.", 16, 1),
        ("\ud800", 1, 0),
    ],
)
def test_text_is_counted_by_its_characters_and_their_bytes(text, careful, hopeful):
    assert size(TextBlock(text)) == careful
    assert size(TextBlock(text), rates=HOPEFUL) == hopeful


def test_a_picture_has_a_flat_size_and_a_document_one_by_its_bytes():
    assert size(ImageBlock("image/png", "A" * 90_000)) == CAREFUL.image
    assert size(DocumentBlock("application/pdf", "A" * 32_000)) == 1000
    assert size(DocumentBlock("text/plain", "A" * 32_000)) == 8000


def test_tools_count_with_their_names_and_their_json():
    assert size(ToolUseBlock("u1", "look", {"at": "x" * 300})) == CAREFUL.frame + 1 + 103
    assert size(ToolResultBlock("u1", (TextBlock("x" * 300), ImageBlock("image/png", "")))) == (
        CAREFUL.frame + 100 + CAREFUL.image
    )


def test_thoughts_count_where_their_own_model_may_get_them_back():
    thought = ThinkingBlock("x" * 300, "seal")
    kept = Message("assistant", (thought,), state=ProviderState("someone", "one", []))
    assert size(thought) == 0
    assert fitting.tokens(asking(kept), CAREFUL) == CAREFUL.frame + 100
    assert fitting.tokens(asking(kept), HOPEFUL) == 0


def test_the_system_text_and_the_tools_count_too():
    tool = ToolSpec("look", "Looks at it.", {"type": "object"})
    assert fitting.tokens(asking(system="x" * 300), CAREFUL) == 100
    assert fitting.tokens(asking(tools=(tool,)), CAREFUL) == CAREFUL.frame + 5 + 6


@pytest.mark.parametrize(
    ("asked", "own", "window", "sent"),
    [
        (256, 512, 8192, 7936),
        (None, 512, 8192, 7680),
        (None, None, 8192, 6144),
        (None, None, 1_000_000, 991_808),
        (8192, None, 8192, 2048),
        (0, 512, 8192, 8192),
    ],
    ids=["the caller's", "the model's", "a quarter", "bounded above", "never all", "none"],
)
def test_room_is_kept_for_the_reply(asked, own, window, sent):
    model = Model(name="m", provider="p", model="w", samplers=Samplers(max_tokens=own))
    assert fitting.budget(asking(samplers=Samplers(max_tokens=asked)), model, window) == sent


def test_a_place_to_cut_is_in_front_of_what_a_user_said():
    mixed = user((*RESULT.content, TextBlock("and now?")))
    history = (assistant("Ahoy"), user("a"), USE, RESULT, assistant("b"), user("c"), USE, mixed)
    assert fitting.places(history) == [1, 5]


def turns(count, characters=288):
    """Turns of two messages, each of 100 tokens by the careful count."""
    return [one for _ in range(count) for one in (user("x" * characters), assistant("y" * characters))]


def test_nothing_is_cut_from_what_fits():
    sized = Sized(asking(*turns(3), system="x" * 300))
    assert sized.tokens() == 700
    assert sized.cut(700) == 0
    assert sized.cut(699) > 0


def test_a_cut_leaves_out_whole_fifths_of_what_may_be_sent():
    assert [Sized(asking(*turns(count))).cut(3000) for count in (15, 16, 17, 18, 19)] == [0, 6, 6, 6, 12]


def test_a_long_input_keeps_as_much_behind_the_cut_as_it_can():
    messages = [*turns(4), user("z" * 12_000)]
    sized = Sized(asking(*messages))
    assert sized.cut(4604) == 2
    assert sized.cut(100) == 8


def test_a_history_without_a_place_is_not_cut():
    assert Sized(asking(assistant("Ahoy"), USE, RESULT)).cut(0) == 0


def test_a_growing_history_is_cut_at_the_same_place_for_many_turns():
    history = turns(200)
    cuts = [Sized(asking(*history[: at + 1])).cut(4500) for at in range(0, len(history), 2)]
    assert cuts == sorted(cuts)
    moves = sum(before != after for before, after in itertools.pairwise(cuts))
    assert moves == 40  # in 178 turns that were too long
    assert all(100 * (2 * at + 1 - cut) <= 4500 for at, cut in enumerate(cuts))


words = st.text(st.sampled_from("ab c\n语я🌊"), max_size=200).map(TextBlock)
files = st.builds(ImageBlock, st.just("image/png"), st.text("A", max_size=400)) | st.builds(
    DocumentBlock, st.sampled_from(["text/csv", "application/pdf"]), st.text("A", max_size=400)
)
said = st.lists(words | files, min_size=1, max_size=3).map(tuple)
thoughts = st.builds(ThinkingBlock, st.text("ab", max_size=50))


@st.composite
def turn(draw):
    """What a user says, steps with tools, and mostly a reply."""
    messages = [user(draw(said))]
    for step in range(draw(st.integers(0, 3))):
        ids = [f"u{step}.{n}" for n in range(draw(st.integers(1, 2)))]
        uses = tuple(ToolUseBlock(one, "look", {"at": draw(st.text("ab", max_size=40))}) for one in ids)
        messages.append(Message("assistant", (*draw(st.tuples(thoughts)), *uses)))
        messages.append(user(tuple(ToolResultBlock(one, draw(said)) for one in ids)))
    return [*messages, *draw(st.lists(st.just(assistant("so it is")), max_size=1))]


histories = st.builds(
    lambda greeting, turns: (*greeting, *itertools.chain(*turns)),
    st.lists(st.just(assistant("Ahoy")), max_size=1),
    st.lists(turn(), min_size=1, max_size=12),
)


@given(histories, st.integers(0, 9000))
def test_a_cut_parts_no_pair_and_keeps_the_current_input(history, most):
    """Issue 4: history that fits, never splitting a tool pair."""
    sized = Sized(asking(*history))
    cut = sized.cut(most)
    shown = history[cut:]
    allowed = fitting.places(history)
    assert cut == 0 or cut in allowed
    assert cut <= allowed[-1]
    assert sized.tokens(cut) <= most or cut == allowed[-1]
    uses = [block.id for one in shown for block in one.content if isinstance(block, ToolUseBlock)]
    results = [
        block.tool_use_id for one in shown for block in one.content if isinstance(block, ToolResultBlock)
    ]
    assert uses == results


@given(histories)
def test_the_hopeful_count_is_never_above_the_careful_one(history):
    request = asking(*history, system="Be brief.")
    sized = Sized(request)
    for start in range(len(history) + 1):
        assert sized.tokens(start) == fitting.tokens(request, CAREFUL, start=start)
        assert fitting.tokens(request, HOPEFUL, start=start) <= sized.tokens(start)

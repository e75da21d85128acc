"""Tool uses and results brought together, whatever order they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.formats import Repairs
from eai_mcp.formats.pairs import MISSING, Pairing, Placed
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from tests.formats.histories import histories
from tests.store.taking import unpaired


def uses(*ids):
    return Message("assistant", tuple(ToolUseBlock(use, "look", {}) for use in ids))


def results(*ids, text=""):
    said = (TextBlock(text),) if text else ()
    return Message("user", (*(ToolResultBlock(use, (TextBlock("sea"),)) for use in ids), *said))


def missing(*ids):
    return tuple(ToolResultBlock(use, (TextBlock(MISSING),), failed=True) for use in ids)


def paired(messages):
    repairs = Repairs()
    pairing = Pairing(repairs)
    came: list[Placed] = []
    for place, message in enumerate(messages, 1):
        came += pairing.take(Placed(message, place))
    came += pairing.close()
    return [each.message for each in came], repairs.told()


@given(histories())
def test_what_is_in_order_stays_as_it_is(messages):
    assert paired(messages) == (messages, ())


@pytest.mark.parametrize(
    ("messages", "expected", "repairs"),
    [
        (
            [uses("a", "b"), results("a"), results("b"), user("x")],
            [uses("a", "b"), results("a", "b"), user("x")],
            (),
        ),
        (
            [uses("a", "b"), results("b"), results("a", text="and")],
            [uses("a", "b"), results("b", "a", text="and")],
            (),
        ),
        (
            [uses("a", "b"), results("a"), user("x")],
            [uses("a", "b"), Message("user", (*results("a").content, *missing("b"))), user("x")],
            ("a tool use without a result was given a failed one (message 1)",),
        ),
        (
            [uses("a"), user("x")],
            [uses("a"), Message("user", missing("a")), user("x")],
            ("a tool use without a result was given a failed one (message 1)",),
        ),
        (
            [user("x"), uses("a", "b")],
            [user("x"), uses("a", "b"), Message("user", missing("a", "b"))],
            ("a tool use without a result was given a failed one (2 times, first in message 2)",),
        ),
        (
            [uses("a"), assistant("y"), results("a")],
            [uses("a"), Message("user", missing("a")), assistant("y")],
            (
                "a tool use without a result was given a failed one (message 1)",
                "a tool result without its tool use was left out (message 3)",
            ),
        ),
        (
            [results("a"), results("b", text="x")],
            [user("x")],
            ("a tool result without its tool use was left out (2 times, first in message 1)",),
        ),
        (
            [uses("a"), results("a", "a")],
            [uses("a"), results("a")],
            ("a tool result without its tool use was left out (message 2)",),
        ),
        (
            [uses("a"), results("other", text="x")],
            [uses("a"), Message("user", (*missing("a"), TextBlock("x")))],
            (
                "a tool result without its tool use was left out (message 2)",
                "a tool use without a result was given a failed one (message 1)",
            ),
        ),
        ([uses("a", "a"), results("a", "a")], [uses("a", "a"), results("a", "a")], ()),
        (
            [uses("a"), results("a"), results("a")],
            [uses("a"), results("a")],
            ("a tool result without its tool use was left out (message 3)",),
        ),
    ],
)
def test_what_is_not_is_mended_and_told(messages, expected, repairs):
    """Issue 5: unpaired tool uses: repaired or refused, and the result reports which (`repairs`)."""
    assert paired(messages) == (expected, repairs)


@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from("abc"), max_size=3).map(lambda ids: uses(*ids)),
            st.lists(st.sampled_from("abc"), max_size=3).map(lambda ids: results(*ids, text="x")),
            st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda ids: results(*ids)),
            st.just(user("x")),
        ),
        max_size=8,
    )
)
def test_whatever_comes_is_in_pairs_behind_and_mended_only_once(messages):
    """Issue 5: pairing of tool use and tool result holds after every import."""
    came, _ = paired(messages)
    assert unpaired(came) == []
    assert paired(came) == (came, ())

"""Polls of what is still running: the model is shown the newest one only."""

import hypothesis.strategies as st
from hypothesis import given

from eai_mcp.chat.toolbox.polls import collapsed
from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolUseBlock, assistant, user
from tests.chat.taking import ask, history, opened, result, uses
from tests.chat.toolbox.boxes import box, tool
from tests.fakes import said
from tests.store.taking import unpaired

RUNNING = '{"status": "running", "elapsed_s": %d}'


def poll(number, *, name="get_task_result", task="t1", text=None, before=()):
    """A poll and its answer."""
    use = ToolUseBlock(f"u{number}", name, {"task_id": task})
    answer = RUNNING % number if text is None else text
    return [
        Message("assistant", (*before, use)),
        Message("user", (result(f"u{number}", answer),)),
    ]


def test_repeated_polls_are_shown_once_and_in_pairs():
    """Issue 7: "repeated "still running" polls are collapsed in what the model is shown, with pairing
    intact"."""
    shown = [user("go"), *poll(1), *poll(2), *poll(3), *poll(4, text='{"status": "exited"}'), assistant("ok")]
    assert collapsed(shown) == (user("go"), *poll(4, text='{"status": "exited"}'), assistant("ok"))
    assert collapsed(shown[:7]) == (user("go"), *poll(3))


def test_polls_of_different_things_are_different():
    both = [
        *poll(1),
        *poll(2, task="t2"),
        *poll(3),
        *poll(4, task="t2"),
        *poll(5, name="get_subagent_result"),
    ]
    assert collapsed(both) == (*poll(3), *poll(4, task="t2"), *poll(5, name="get_subagent_result"))


def test_what_says_more_than_still_running_stays():
    kept = [
        [*poll(1, before=(TextBlock("I look."),)), *poll(2)],
        [*poll(1, text="failed"), *poll(2)],
        [*poll(1), *poll(2, task="t2")],
    ]
    for messages in kept:
        assert collapsed(messages) == tuple(messages)


def test_nothing_before_a_thought_is_left_out():
    """A provider may seal a thought together with all that stood before it."""
    thought = Message("assistant", (ThinkingBlock("hm", "seal"), TextBlock("so")))
    messages = [*poll(1), *poll(2), thought, user("on"), *poll(3), *poll(4)]
    assert collapsed(messages) == (*poll(1), *poll(2), thought, user("on"), *poll(4))


@given(st.lists(st.sampled_from(["t1", "t2", "done", "user", "thought"]), max_size=12))
def test_pairs_stay_pairs(kinds):
    messages = []
    for number, kind in enumerate(kinds):
        match kind:
            case "user":
                messages += [user("a"), assistant("b")]
            case "thought":
                messages += poll(number, before=(ThinkingBlock("hm"),))
            case "done":
                messages += poll(number, text="over")
            case _:
                messages += poll(number, task=kind)
    shown = collapsed(messages)
    assert unpaired(shown) == []
    assert collapsed(shown) == shown
    assert [one for one in messages if one in shown] == [*shown]


async def test_the_history_keeps_what_the_model_is_not_shown(catalog):
    async def polled(given, use):
        return {"status": "running", "of": given.word}

    steps = [uses(ToolUseBlock(f"u{n}", "get_task_result", {"word": "a"})) for n in range(3)]
    toolbox = box(tool("get_task_result", polled))
    async with opened(catalog, *steps, said("ok"), said("more"), toolbox=toolbox) as (registry, call):
        await ask(registry, "go")
        assert [len(request.messages) for request in call.requests] == [1, 3, 3, 3]
        assert len(await history(registry)) == 8
        await ask(registry, "and?")
        assert len(call.requests[4].messages) == 5

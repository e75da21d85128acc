"""What clients may send in the place of an answer, and what middleware may push, over real pipes."""

from typing import Any

import pytest

from tests.e2e.silent_provider import told
from tests.e2e.test_yields import BLUE, ERAS, PAINT, asking, talked
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ODD: tuple[Any, ...] = (
    {"answer": 5},
    {"answer": {"action": "perhaps"}},
    {"answer": {"action": "accept", "content": "blue"}},
    {"answer": {"action": "accept", "content": {"answer": {"deep": []}}}},
    {"answer": [BLUE]},
    [],
    "blue",
)
FORGED: tuple[Any, ...] = ("", "x", 5, None, {})
PUSHER = '''
"""Pushes what is hard to say."""

from eai_mcp.calls import ResourcePushed


class Odd:
    async def turn(self, given, go_on):
        for uri in ("javascript:alert(1)", "file:///etc/passwd", "eai://sessions/other", "data:,x"):
            await given.emit(ResourcePushed(kind="note", uri=uri))
        half = "half a character: \\ud83d"
        await given.emit(ResourcePushed(kind="note", uri="x:half", payload=half, metadata={"said": "ok"}))
        for number in range(1000):
            await given.emit(ResourcePushed(kind="note", uri="x:often", payload=str(number)))
        return await go_on(given)
'''


async def test_what_is_no_answer_is_refused_and_leaves_the_question_open(house):
    """Issue 6: the answer goes to the paused step, not to a fresh turn."""
    call = {"name": "talk", "arguments": PAINT}
    async with asking(house, lambda form: BLUE, "--elicit", era=MODERN) as wire:
        state = (await wire.ask("tools/call", **call))["requestState"]
        for odd in ODD:
            again = {"inputResponses": odd, "requestState": state}
            answer = await wire.answer(await wire.begin("tools/call", **call, **again))
            assert "error" in answer or answer["result"].get("structuredContent", {}).get("warnings"), odd
        for forged in (*FORGED, state[:-1], state[1:], state * 2):
            again = {"inputResponses": {"answer": BLUE}, "requestState": forged}
            answer = await wire.answer(await wire.begin("tools/call", **call, **again))
            assert "error" in answer or answer["result"]["isError"], forged
        elsewhere = {"name": "wait_for_reply", "arguments": {}, "inputResponses": {"answer": BLUE}}
        answer = await wire.answer(await wire.begin("tools/call", **elsewhere, requestState=state))
        assert "error" in answer
        (row,) = (await told(wire, "list_sessions"))["sessions"]
        assert (row["status"], row["question"]) == ("awaiting_input", "Which colour?")
        done = await wire.ask("tools/call", **call, inputResponses={"answer": BLUE}, requestState=state)
        assert done["structuredContent"]["reply"] == "You said: blue"
    assert len(house.provider.asked) == 2
    assert "Traceback" not in wire.errors


async def test_what_an_older_client_sends_for_an_answer_may_be_anything(house):
    """Issue 6: with `awaiting_input` as the fallback."""
    odd = [{"action": "perhaps"}, {}, {"action": "accept", "content": {"answer": ["a", "b"]}}]
    async with asking(house, lambda form: odd.pop(0), "--elicit", era=LEGACY) as wire:
        asked = await talked(wire, **PAINT)
        assert asked["status"] == "awaiting_input"
        for _ in range(2):
            assert (await told(wire, "wait_for_reply"))["status"] == "awaiting_input"
        assert odd == []
        wire.person = None
        assert (await told(wire, "talk", content="green", model="asks"))["reply"] == "You said: green"
    assert "Traceback" not in wire.errors


async def test_who_leaves_while_being_asked_finds_the_question_open(house):
    """Issue 6: `awaiting_input` survives the connection."""
    shown: list[dict[str, Any]] = []
    async with asking(house, shown.append, "--elicit", era=LEGACY) as wire:
        await wire.begin("tools/call", name="talk", arguments=PAINT)
        while not shown:
            await wire._hear()
        assert await wire.leave() < 5
    assert "Traceback" not in wire.errors
    async with asking(house, None, era=MODERN) as wire:
        assert (await told(wire, "talk", content="green", model="asks"))["reply"] == "You said: green"


@ERAS
async def test_whatever_is_pushed_reaches_the_client_as_json(house, era):
    """Issue 6: resources pushed during a turn; nothing is emitted twice."""
    (house.folder / "odd.py").write_text(PUSHER, encoding="utf-8")
    environment = {"PYTHONPATH": str(house.folder), "EAI_MCP_MIDDLEWARE": "odd:Odd"}
    async with asking(house, None, era=era, **environment) as wire:
        done = await told(wire, "talk", content="go")
        assert [one["uri"] for one in done["resources"]] == [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "eai://sessions/other",
            "data:,x",
            "x:half",
            "x:often",
        ]
        read = await wire.ask("resources/read", uri=done["resources"][-1]["read_at"])
        assert read["contents"][0]["text"] == "999"
        read = await wire.ask("resources/read", uri=done["resources"][-2]["read_at"])
        assert read["contents"][0]["text"].startswith("half a character: ")
    assert "Traceback" not in wire.errors

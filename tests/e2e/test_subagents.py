"""Sub-agents through a server process: asked, waited for, interrupted, and found again after a restart."""

import json

import anyio
import pytest

from tests.e2e.silent_provider import told
from tests.e2e.test_machine import scripts

pytestmark = pytest.mark.timeout(90)
OPTIONS = ("--toolbox", "call_subagent,get_subagent_result,get_local_time")


def write(house, name, *replies):
    (house.folder / "models" / f"{name}.toml").write_text(scripts(*replies), encoding="utf-8")


async def outcomes(wire, session="default"):
    page = await told(wire, "get_history", chat_session=session)
    blocks = [block for each in page["messages"] for block in each["content"]]
    return [json.loads(b["content"][0]["text"]) for b in blocks if b["type"] == "tool_result"]


async def test_two_sub_agents_are_asked_side_by_side(house):
    """Issue 7: "call_subagent, get_subagent_result (own session or a named one ...)"."""
    both = [
        ("call_subagent", {"message": "hello", "model": "echo", "chat_session": "one"}),
        ("call_subagent", {"message": "there", "model": "echo"}),
    ]
    write(house, "boss", both, "Both answered.")
    async with house.server(*OPTIONS) as wire:
        done = await told(wire, "talk", content="go", model="boss")
        assert done["reply"] == "Both answered."
        first, second = await outcomes(wire)
        assert (first["status"], first["chat_session"]) == ("completed", "one")
        assert first["reply"] == "messages=1 last=hello"
        assert second["reply"] == "messages=1 last=there"
        names = [row["name"] for row in (await told(wire, "list_sessions"))["sessions"]]
        assert sorted(names) == sorted(["default", "one", second["chat_session"]])


@pytest.mark.parametrize("how", ["waited for", "left alone"])
async def test_an_interrupt_reaches_the_sub_agent(house, how):
    """Issue 7: interrupt "while a sub-agent runs"; "a parent's interrupt reaches its children"."""
    call = {"message": "wait", "model": "silent", "chat_session": "child", "wait": how == "waited for"}
    other = {**call, "chat_session": "other", "wait": True}
    write(house, "boss", [("call_subagent", call)], [("call_subagent", other)], "x")
    async with house.server(*OPTIONS) as wire:
        await wire.begin("tools/call", name="talk", arguments={"content": "go", "model": "boss"})
        asked = [await house.provider.request(1)]
        if how == "left alone":
            asked.append(await house.provider.request(2))
        stopped = await told(wire, "interrupt")
        assert stopped["status"] == "interrupted"
        with anyio.fail_after(5):
            for one in asked:
                await one.left.wait()
        child = await told(wire, "wait_for_reply", chat_session="child")
        assert child["status"] == "interrupted"
        assert (await told(wire, "talk", content="hi", model="echo"))["status"] == "completed"


async def test_a_result_is_found_after_a_restart(house):
    """DESIGN section 4: "Sub-agent results live in the store"."""
    call = {"message": "hello", "model": "echo", "chat_session": "child", "wait": False}
    write(house, "boss", [("call_subagent", call)], "Begun.")
    async with house.server(*OPTIONS) as wire:
        await told(wire, "talk", content="go", model="boss")
        (begun,) = await outcomes(wire)
        assert begun["status"] == "running"
        await told(wire, "wait_for_reply", chat_session="child", timeout_ms=10_000)
    look = {"subagent_id": begun["subagent_id"]}
    write(house, "boss2", [("get_subagent_result", look)], "Seen.")
    async with house.server(*OPTIONS) as wire:
        await told(wire, "talk", content="look", model="boss2", chat_session="next")
        (found,) = await outcomes(wire, "next")
        assert (found["status"], found["reply"]) == ("completed", "messages=1 last=hello")

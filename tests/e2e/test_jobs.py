"""Tasks on the wire: looked at from other processes, over HTTP, and behind the death of their server."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from tests.e2e import nodes
from tests.e2e.test_asking_over_http import BLUE
from tests.e2e.test_emitting import messages, modern
from tests.e2e.wire import MODERN

pytestmark = pytest.mark.timeout(60)
TASKS = "io.modelcontextprotocol/tasks"
CAN: dict[str, Any] = {"extensions": {TASKS: {}}, "elicitation": {"form": {}}}
META = {"io.modelcontextprotocol/clientCapabilities": CAN}
SOON = ("--inline-wait", "0.1")


async def asked(wire, method, **params):
    return await wire.ask(method, **params, _meta=META)


async def begun(wire, **arguments):
    """The task that `talk` is answered with."""
    task = await asked(wire, "tools/call", name="talk", arguments={"content": "paint", **arguments})
    assert task["resultType"] == "task", task
    return task


async def until(wire, task, *statuses):
    with anyio.fail_after(20):
        while (told := await asked(wire, "tasks/get", taskId=task["taskId"]))["status"] not in statuses:
            await anyio.lowlevel.checkpoint()
    return told


async def test_a_task_is_followed_answered_and_cancelled_from_another_process(house):
    """Issue 8: "Tasks extension on the turn object": the outcome is the store's, so any process tells it."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    async with house.server(*SOON, era=MODERN) as one, house.server(*SOON, era=MODERN) as two:
        assert TASKS in (await one.start())["capabilities"]["extensions"]
        task = await begun(one, model="held", chat_session="held")
        assert (await until(two, task, "working"))["createdAt"] == task["createdAt"]
        (await house.provider.request(1)).go_on.set()
        done = await until(two, task, "completed")
        assert done["result"]["structuredContent"]["reply"] == "So far. The rest."
        again = await until(one, task, "completed")
        assert again["result"] == done["result"]

        task = await begun(one, model="slow", chat_session="slow")
        told = await asked(two, "tasks/cancel", taskId=task["taskId"])
        assert told["resultType"] == "complete"
        assert (await until(one, task, "cancelled"))["status"] == "cancelled"
        assert (await until(two, task, "cancelled"))["status"] == "cancelled"


async def test_a_question_of_a_task_is_answered_in_another_process(house):
    """Issue 8: `tasks/update` answers the question."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    (house.folder / "models" / "slowly.toml").write_text(SLOWLY, encoding="utf-8")
    async with house.server(*SOON, era=MODERN) as one, house.server(*SOON, era=MODERN) as two:
        task = await begun(one, model="slowly", chara_card="asker")
        told = await until(two, task, "input_required")
        ((key, wanted),) = told["inputRequests"].items()
        assert wanted["params"]["message"] == "Which colour?"
        assert (await until(one, task, "input_required"))["inputRequests"] == told["inputRequests"]
        for wire in (two, one):  # the second comes too late
            await asked(wire, "tasks/update", taskId=task["taskId"], inputResponses={key: BLUE})
        done = await until(one, task, "completed")
        assert done["result"]["structuredContent"]["reply"] == "Painted."


async def test_a_task_whose_server_was_killed_says_so_in_the_next_one(house):
    """Issue 8: a task outlives its process, and what was saved of its turn is kept."""
    async with house.server(*SOON, era=MODERN) as wire:
        done = await begun(wire, model="held", chat_session="done")
        (await house.provider.request(1)).go_on.set()
        await until(wire, done, "completed")
        cut_off = await begun(wire, model="held")
        wire.process.kill()
        await wire.process.wait()
    async with house.server(*SOON, era=MODERN) as wire:
        result = (await until(wire, done, "completed"))["result"]
        assert result["structuredContent"]["reply"] == "So far. The rest."
        assert "cut off: its server ended" in (await until(wire, cut_off, "cancelled"))["statusMessage"]
        with pytest.raises(AssertionError, match="-32602"):
            await asked(wire, "tasks/get", taskId="none")


async def test_tasks_over_http_come_to_whoever_declares_them_with_the_request(house):
    """Issue 8: "nobody else sees it"; the header for routing names the task."""
    house.command += SOON
    async with house.carried("http") as url, httpx2.AsyncClient(timeout=30) as client:
        call: dict[str, Any] = {"name": "talk", "arguments": {"content": "paint", "model": "held"}}
        plain = await posted(client, url, "tools/call", **call, declares=False)
        assert plain["result"]["structuredContent"]["status"] == "running"
        call["arguments"]["chat_session"] = "art"
        task = (await posted(client, url, "tools/call", **call))["result"]
        assert (task["resultType"], task["ttlMs"]) == ("task", None)
        named = {"taskId": task["taskId"]}
        refused = await posted(client, url, "tasks/get", **named, declares=False)
        assert refused["error"]["code"] == -32021
        assert (await posted(client, url, "tasks/get", **named))["result"]["status"] == "working"
        assert (await posted(client, url, "tasks/cancel", **named))["result"]["resultType"] == "complete"
        assert (await posted(client, url, "tasks/get", **named))["result"]["status"] == "cancelled"


async def test_the_extensions_own_requester_gets_replies_asks_the_person_and_cancels(house, cache):
    """Issue 8: "Tasks extension on the turn object for clients that declare it", and its client."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    house.command += SOON
    (house.folder / "models" / "slowly.toml").write_text(SLOWLY, encoding="utf-8")
    script = nodes.packages(cache) / "tasks.mjs"
    paint = {"content": "paint", "model": "slowly", "chara_card": "asker"}
    calls = [
        paint,
        {"content": "hello", "model": "echo", "chat_session": "b"},
        {"content": "x", "model": "slow", "chat_session": "c", "cancels": True},
        {"model": "echo"},
    ]
    async with house.carried("http") as url:
        command = [str(nodes.NODE), str(script), url, *map(json.dumps, calls)]
        with anyio.fail_after(50):
            said = json.loads((await anyio.run_process(command, cwd=script.parent)).stdout)
    painted, hello, cancelled, refused = said["outcomes"]
    assert painted["structuredContent"]["reply"] == "Painted."
    assert hello["structuredContent"]["status"] == "completed"
    assert cancelled == "cancelled"
    assert refused["structuredContent"]["error"]["code"] == "invalid_argument"
    assert said["asked"] == ["Which colour?"]
    assert {"tasks/get", "tasks/update", "tasks/cancel"} <= {*said["methods"]}


async def posted(client, url, method, *, declares=True, **params):
    """What a request over HTTP is answered."""
    body: Any = modern(method, meta=META if declares else {}, **params)
    if "taskId" in params:
        body["headers"] |= {"mcp-name": params["taskId"]}
    async with client.stream("POST", url, **body) as stream:
        return [message async for message in messages(stream)][-1]


SLOWLY = """provider = "scripted"
model = "slowly"

[[quirks.replies]]
delay_s = 0.5
tools = [{ name = "ask_user", input = { question = "Which colour?" } }]

[[quirks.replies]]
text = "Painted."
"""

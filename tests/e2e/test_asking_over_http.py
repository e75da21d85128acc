"""People who are asked over SSE and streamable HTTP, while others answer, interrupt or hang up."""

import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp_types import ElicitResult

from eai_mcp import app, settings
from eai_mcp.server import face
from eai_mcp.server.address import authority, listening
from eai_mcp.server.carrier import serve_app
from eai_mcp.server.http import build_app
from eai_mcp.server.shutdown import Ending
from tests.e2e.silent_provider import dialogue, told
from tests.e2e.test_emitting import messages, modern
from tests.e2e.wire import LEGACY, Wire

pytestmark = pytest.mark.timeout(60)
PAINT = {"content": "paint it", "model": "asks", "chara_card": "asker"}
BLUE = {"action": "accept", "content": {"answer": "blue"}}
SESSION = "eai://sessions/default"
UPDATED = "notifications/resources/updated"
JSON = {"content-type": "application/json"}
FORMS: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


class Sse:
    """An event stream and the address to write to, in the place of a process's pipes."""

    def __init__(self, client, lines, address):
        self.stdin = self.stdout = self
        self.forms = []
        self._client, self._lines, self._address = client, lines, address

    async def send(self, data):
        reply = await self._client.post(self._address, content=data, headers=JSON)
        assert reply.status_code == 202

    async def receive(self, most=65536):
        line = await anext(self._lines)
        if '"elicitation/create"' in line:
            self.forms.append(json.loads(line))
        return line.encode() + b"\n"


async def carried_in(reply):
    """What the events of a stream carry."""
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield line[6:]


@asynccontextmanager
async def connected(url, person=None):
    """A client that has shaken hands over SSE. At the end it hangs up."""
    async with httpx2.AsyncClient(timeout=30) as client, client.stream("GET", url) as reply:
        lines = carried_in(reply)
        pipes: Any = Sse(client, lines, urljoin(url, await anext(lines)))
        wire = Wire(pipes, LEGACY, person)
        with anyio.fail_after(30):
            await wire.start()
            yield wire


def silent(form):
    return None


def blue(form):
    assert form["message"] == "Which colour?"
    return BLUE


@pytest.fixture
def asks(house):
    """A house whose servers ask people."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    return house


async def asked(wire):
    """Call `talk`, and wait until the person has the form; the number of the call."""
    number = await wire.begin("tools/call", name="talk", arguments=PAINT)
    with anyio.fail_after(10):
        while not wire.process.forms:
            await wire._hear()
    return number


async def answered_late(wire, number, said=BLUE):
    """What becomes of the call when the person answers after all."""
    (form,) = wire.process.forms
    await wire.send({"jsonrpc": "2.0", "id": form["id"], "result": said})
    with anyio.fail_after(10):
        return (await wire.answer(number))["result"]["structuredContent"]


async def test_a_person_behind_sse_answers_and_who_watches_hears_of_it(asks):
    """Issue 6: "Elicitation is used when the client has it and the operator allows it"."""
    async with asks.carried("sse") as url, connected(url, blue) as wire, connected(url) as other:
        await other.ask("resources/subscribe", uri=SESSION)
        done = await told(wire, "talk", **PAINT)
        assert (done["status"], done["reply"]) == ("completed", "You said: blue")
        assert (await other.notified(UPDATED))["uri"] == SESSION
    assert len(asks.provider.asked) == 2


async def test_who_answers_too_late_is_told_and_nothing_is_said_twice(asks):
    """Issue 6: "the answer goes to the paused step, not to a fresh turn"."""
    async with asks.carried("sse") as url, connected(url, silent) as wire, connected(url) as other:
        number = await asked(wire)
        done = await told(other, "talk", content="green", model="asks")
        assert done["reply"] == "You said: green"
        error = (await answered_late(wire, number))["error"]
        assert (error["code"], error["details"]["turn_id"]) == ("conflict", done["turn_id"])
        assert len(await dialogue(other)) == 4
    assert len(asks.provider.asked) == 2


async def test_who_declines_a_question_that_is_answered_is_not_told_that_it_is_open(asks):
    """Issue 6: "`awaiting_input` as the fallback" is only for what is still asked."""
    async with asks.carried("sse") as url, connected(url, silent) as wire, connected(url) as other:
        number = await asked(wire)
        done = await told(other, "talk", content="green", model="asks")
        assert await answered_late(wire, number, {"action": "decline"}) == done


async def test_an_answer_to_a_question_that_was_dropped_meanwhile_is_no_new_message(asks):
    """Issue 6: "`interrupt` drops it"."""
    async with asks.carried("sse") as url, connected(url, silent) as wire, connected(url) as other:
        number = await asked(wire)
        assert (await told(other, "interrupt", chat_session="default"))["status"] == "interrupted"
        assert (await answered_late(wire, number))["error"]["code"] == "conflict"
        (row,) = (await told(other, "list_sessions"))["sessions"]
        assert row["status"] == "idle"
    assert len(asks.provider.asked) == 1


async def test_who_hangs_up_while_the_person_is_asked_leaves_the_question_to_others(asks):
    """Issue 6: "with a limit and `awaiting_input` as the fallback"."""
    async with asks.carried("sse") as url, connected(url) as other:
        async with connected(url, silent) as wire:
            await asked(wire)
        (row,) = (await told(other, "list_sessions"))["sessions"]
        assert (row["status"], row["question"]) == ("awaiting_input", "Which colour?")
        done = await told(other, "talk", content="green", model="asks")
        assert (done["status"], done["reply"]) == ("completed", "You said: green")


async def test_an_answer_over_http_that_another_came_before_is_refused(asks):
    """Issue 6: elicitation "in both protocol eras": on the newer one the state comes back with the answer."""
    async with asks.carried("http") as url, httpx2.AsyncClient(timeout=30) as client:
        first = await posted(client, url, **PAINT)
        assert first["resultType"] == "input_required"
        again = {"inputResponses": {"answer": BLUE}, "requestState": first["requestState"]}
        async with anyio.create_task_group() as tasks:
            ends: list[dict[str, Any]] = []
            for _ in range(2):
                tasks.start_soon(collected, ends, client, url, PAINT, again)
        told = [end["structuredContent"] for end in ends]
        (done,) = [one for one in told if "reply" in one]
        (refused,) = [one["error"]["code"] for one in told if "error" in one]
        assert (done["reply"], refused in ("conflict", "busy")) == ("You said: blue", True)
        late = (await posted(client, url, resumed=again, **PAINT))["structuredContent"]
        assert late["error"]["code"] == "conflict"
    assert len(asks.provider.asked) == 2


async def collected(ends, client, url, arguments, again):
    ends.append(await posted(client, url, resumed=again, **arguments))


async def posted(client, url, *, resumed=None, **arguments):
    """The result of `talk`, on the newer protocol, for a client that can ask."""
    body = modern("tools/call", name="talk", arguments=arguments, meta=FORMS, **(resumed or {}))
    async with client.stream("POST", url, **body) as stream:
        return [message async for message in messages(stream)][-1]["result"]


async def test_where_each_request_stands_alone_nothing_is_offered_that_needs_a_way_back(asks):
    """Issue 6: "`awaiting_input` as the fallback"; the older protocol over HTTP has no way back."""
    async with asks.carried("http") as url, Client(url, mode="legacy", elicitation_callback=accept) as client:
        assert not tells_of_changes(client)
        assert (await alone(url, "resources/subscribe", uri=SESSION))["error"]["code"] == -32601
        done = (await client.call_tool("talk", PAINT)).structured_content
        assert (done["status"], done["reply"]) == ("awaiting_input", "Which colour?")
        done = (await client.call_tool("talk", {"content": "green", "model": "asks"})).structured_content
        assert done["reply"] == "You said: green"


async def alone(url, method, **params):
    """The answer to a request of the older protocol that nothing comes before."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"accept": "application/json, text/event-stream"}
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", url, json=body, headers=headers) as reply,
    ):
        return [message async for message in messages(reply)][-1]


def tells_of_changes(client):
    """Whether the server offers to tell of changes."""
    resources = client.server_capabilities.resources
    assert resources is not None
    return resources.subscribe


async def accept(context, params):
    return ElicitResult(action="accept", content={"answer": "blue"})


async def test_where_http_connections_last_the_person_is_asked_over_them(asks):
    """Issue 6: "Elicitation is used when the client has it and the operator allows it"."""
    chosen = settings.from_environ(asks.environment)
    chosen = replace(chosen, models=(asks.folder / "models",), cards=(asks.folder / "cards",))
    ending, ready = Ending(limit_s=None), anyio.Event()
    with anyio.fail_after(20), listening("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        async with app.opened(chosen) as opened, anyio.create_task_group() as tasks:
            served = build_app(face.build(opened), address, ending, stateful=True)
            tasks.start_soon(serve_app, served, listener, ending, ready.set)
            await ready.wait()
            url = f"http://{authority(address)}/mcp"
            async with Client(url, mode="legacy", elicitation_callback=accept) as client:
                assert tells_of_changes(client)
                done = (await client.call_tool("talk", PAINT)).structured_content
                assert (done["status"], done["reply"]) == ("completed", "You said: blue")
            tasks.cancel_scope.cancel()


async def test_a_server_ends_soon_though_a_person_is_asked_and_the_question_is_kept(asks):
    """Issue 6: a pending question survives; `carried` sees to it that the process ends cleanly, and soon."""
    async with AsyncExitStack() as stack, asks.carried("sse") as url:
        await asked(await stack.enter_async_context(connected(url, silent)))
    async with asks.server() as wire:
        (row,) = (await told(wire, "list_sessions"))["sessions"]
        assert (row["status"], row["question"]) == ("awaiting_input", "Which colour?")

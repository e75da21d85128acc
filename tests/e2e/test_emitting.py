"""What a client hears of a turn beside its result: text as progress, resources, and notices of both."""

import json
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest

from tests.e2e.silent_provider import asking, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
UPDATED, PROGRESS = "notifications/resources/updated", "notifications/progress"
LISTED = "notifications/resources/list_changed"
NOTE, LOG, PAGE, DRAFT = "house://note", "house://log", "https://example.org/page", "house://draft"
SESSION = "eai://sessions/default"
WORDS = "".join(f"{number:03} " for number in range(150))
EMITTER = '''
"""Pushes a little of everything when it is told to, one of it twice."""

from eai_mcp.calls import ResourcePushed


class Emitter:
    async def turn(self, given, go_on):
        if given.message.text == "push":
            for resource in (
                ResourcePushed(kind="note", uri="house://note", payload="first", metadata={"n": 1}),
                ResourcePushed(kind="page", uri="https://example.org/page", mime_type="text/html"),
                ResourcePushed(kind="log", uri="house://log", payload=b"x" * 70_000),
                ResourcePushed(kind="draft", uri="house://draft", payload="one"),
                ResourcePushed(kind="draft", uri="house://draft", payload="two", mime_type="text/plain"),
            ):
                await given.emit(resource)
        return await go_on(given)
'''


@pytest.fixture
def emitting(house):
    """A house whose servers push."""
    (house.folder / "emitter.py").write_text(EMITTER, encoding="utf-8")
    reply = f'[[quirks.replies]]\ntext = "{WORDS}"\nchunk = 4\npause_s = 0.008\n'
    model = f'provider = "scripted"\nmodel = "paced"\n[quirks]\nthen = "last"\n{reply}'
    (house.folder / "models" / "paced.toml").write_text(model, encoding="utf-8")
    house.environment |= {"PYTHONPATH": str(house.folder), "EAI_MCP_MIDDLEWARE": "emitter:Emitter"}
    return house


def embedded(result):
    """The resources of a result that are in it, by their uri."""
    found = [block["resource"] for block in result["content"] if block["type"] == "resource"]
    return {one["uri"]: one for one in found}


def links(result):
    return [block["uri"] for block in result["content"] if block["type"] == "resource_link"]


async def read(wire, uri):
    (contents,) = (await wire.ask("resources/read", uri=uri))["contents"]
    return contents


def check(result):
    """Everything that was pushed has come once, in its last form, and in the order of the last pushes."""
    shown = result["structuredContent"]["resources"]
    assert [one["uri"] for one in shown] == [NOTE, PAGE, LOG, DRAFT]
    note, page, log, draft = shown
    assert (note["kind"], note["metadata"], note["size_bytes"]) == ("note", {"n": 1}, 5)
    assert (page["kind"], "read_at" in page, page["mime_type"]) == ("page", False, "text/html")
    assert {uri: one["text"] for uri, one in embedded(result).items()} == {NOTE: "first", DRAFT: "two"}
    assert links(result) == [PAGE, log["read_at"]]
    assert draft["size_bytes"] == 3
    return shown


@ERAS
async def test_progress_is_told_together_and_says_no_word_twice(emitting, era):
    """Issue 6: "text to progress (coalesced)"; "nothing is emitted twice"."""
    call = {"name": "talk", "arguments": {"content": "hi", "model": "paced"}}
    async with emitting.server(era=era) as wire:
        result = await wire.ask("tools/call", **call, _meta={"progressToken": "p"})
        heard = [each["params"] for each in wire.notifications if each["method"] == PROGRESS]
        assert {each["method"] for each in wire.notifications} <= {PROGRESS, LISTED}
        quiet = await wire.ask("tools/call", **call)
        again = [each["params"] for each in wire.notifications if each["method"] == PROGRESS]
        assert again == heard, "nobody asked for it"
    assert result["structuredContent"]["reply"] == quiet["structuredContent"]["reply"] == WORDS
    assert {each["progressToken"] for each in heard} == {"p"}
    values = [each["progress"] for each in heard]
    assert values == sorted(set(values))
    assert WORDS.startswith("".join(each["message"] for each in heard))
    assert 1 < len(heard) < 150 / 3
    assert result["content"][0]["text"] == WORDS


@ERAS
async def test_what_is_pushed_comes_once_and_another_process_is_told_the_same(emitting, era):
    """Issue 6: "resources pushed during a turn (type, uri, payload, metadata) arrive as resource links or
    embedded resources in the result"; "nothing is emitted twice"."""
    async with emitting.server(era=era) as here, emitting.server(era=era) as there:
        result = await here.call("talk", content="push", request_id="r1")
        shown = check(result)
        turn_id = result["structuredContent"]["turn_id"]
        waited = await there.call("wait_for_reply", chat_session="default", turn_id=turn_id)
        assert check(waited) == shown
        again = await there.call("talk", content="push", request_id="r1")
        assert check(again) == shown
        for wire in (here, there):
            assert len((await read(wire, shown[2]["read_at"]))["blob"]) > 90_000
            assert (await read(wire, shown[3]["read_at"]))["text"] == "two"
        assert "resources" not in await told(here, "talk", content="hello")
    assert len(emitting.provider.asked) == 2


@asynccontextmanager
async def watching(wire, *uris):
    """Hear of changes from now on, in the way of the protocol; gives what each notice must carry."""
    if wire.era == LEGACY:
        for uri in uris:
            await wire.ask("resources/subscribe", uri=uri)
        yield None
        for uri in uris:
            await wire.ask("resources/unsubscribe", uri=uri)
        return
    number = await wire.begin("subscriptions/listen", notifications={"resourceSubscriptions": [*uris]})
    await wire.notified("notifications/subscriptions/acknowledged")
    yield number
    await wire.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})


@ERAS
async def test_word_of_what_is_pushed_comes_while_the_turn_is_running(emitting, era):
    """Issue 6: "resources pushed during a turn ... arrive ... as resource-updated notices"; what is pushed
    twice before anybody was told is told once."""
    async with emitting.server(era=era) as wire:
        async with watching(wire, NOTE, DRAFT, SESSION) as listening:
            number, asked = await asking(emitting, wire, content="push", model="held")
            with anyio.fail_after(10):
                heard = [await wire.notified(UPDATED)]
                while {each["uri"] for each in heard} != {NOTE, DRAFT, SESSION}:
                    heard.append(await wire.notified(UPDATED))
            assert [each["uri"] for each in heard].count(NOTE) == 1
            key = "io.modelcontextprotocol/subscriptionId"
            assert {each.get("_meta", {}).get(key) for each in heard} == {listening}
            standing = await wire.call("wait_for_reply", chat_session="default", timeout_ms=0)
            assert standing["structuredContent"]["status"] == "running"
            turn_id = standing["structuredContent"]["turn_id"]
            assert (await read(wire, f"{SESSION}/pushed/{turn_id}/1"))["text"] == "first"
            asked.go_on.set()
            check((await wire.answer(number))["result"])
            assert (await wire.notified(UPDATED))["uri"] == SESSION
        await told(wire, "talk", content="push", chat_session="elsewhere")
        await told(wire, "list_sessions")
        assert {each["method"] for each in wire.notifications} <= {LISTED}


async def test_over_http_who_listens_hears_it_on_a_stream_of_its_own(emitting):
    """Issue 6: "resource-updated notices", for the newer protocol over HTTP, where nothing hangs on a
    connection: the turn is another request's."""
    async with emitting.carried("http") as url, httpx2.AsyncClient(timeout=30) as client:
        body = modern("subscriptions/listen", notifications={"resourceSubscriptions": [NOTE, SESSION]})
        async with client.stream("POST", url, **body) as stream:
            events = messages(stream)
            honored = await anext(events)
            assert honored["method"] == "notifications/subscriptions/acknowledged"
            number = honored["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(talk, client, url)
                with anyio.fail_after(10):
                    asked = await emitting.provider.request(1)
                    heard = [await anext(events) for _ in range(2)]
                asked.go_on.set()
            with anyio.fail_after(10):
                heard.append(await anext(events))
        assert [each["method"] for each in heard] == [UPDATED] * 3
        assert {each["params"]["uri"] for each in heard[:2]} == {NOTE, SESSION}
        assert heard[2]["params"]["uri"] == SESSION
        meta = [each["params"]["_meta"] for each in heard]
        assert meta == [{"io.modelcontextprotocol/subscriptionId": number}] * 3


async def talk(client, url):
    """A turn that pushes; its result, and progress before it if there is any, come in the reply."""
    arguments = {"content": "push", "model": "held"}
    body = modern("tools/call", name="talk", arguments=arguments, meta={"progressToken": "p"})
    async with client.stream("POST", url, **body) as stream:
        heard = [message async for message in messages(stream)]
    *progress, last = heard
    check(last["result"])
    assert {each["method"] for each in progress} <= {PROGRESS}
    texts = [each["params"]["message"] for each in progress]
    said = "".join(text for text in texts if not text.startswith("held: "))  # a sign of life
    assert "So far. The rest.".startswith(said)


def modern(method, /, *, meta=None, **params):
    """A request of the newer protocol, as the arguments of an HTTP client."""
    about = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        **(meta or {}),
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {}),
    }
    params["_meta"] = about
    return {"headers": headers, "json": {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}}


async def messages(stream):
    """The messages in a reply, as they come."""
    if stream.headers["content-type"] == "application/json":
        yield json.loads(await stream.aread())
        return
    async for line in stream.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])

"""Questions put to a person, pushed resources and word of both, through server processes and raw clients."""

import json

import httpx2
import pytest

from tests.e2e.silent_provider import dialogue, told
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PAINT = {"content": "paint it", "model": "asks", "chara_card": "asker"}
PUSHER = '''
"""Pushes two resources in each turn."""

from eai_mcp.calls import ResourcePushed


class Pusher:
    async def turn(self, given, go_on):
        small = ResourcePushed(kind="note", uri="file:///out/note", payload="hello", mime_type="text/plain")
        large = ResourcePushed(kind="log", uri="file:///out/log", payload=b"x" * 70_000)
        await given.emit(small)
        await given.emit(large)
        return await go_on(given)
'''


BLUE = {"action": "accept", "content": {"answer": "blue"}}


def blue(form):
    assert form["message"] == "Which colour?"
    assert form["requestedSchema"]["required"] == ["answer"]
    return BLUE


def no(form):
    return {"action": "decline"}


def silent(form):
    return None


def asking(house, person, *options, era=LEGACY, **environment):
    """A server that may ask, and a client at which somebody sits."""
    command = [*house.command, *options]
    return served(command, {**house.environment, **environment}, era=era, person=person)


async def talked(wire, **arguments):
    """Call `talk`, and on the newer protocol call it again with what the person says, as a client does."""
    result = await wire.ask("tools/call", name="talk", arguments=arguments)
    while result.get("resultType") == "input_required":
        said = {key: wire.person(each["params"]) for key, each in result["inputRequests"].items()}
        result = await wire.ask(
            "tools/call",
            name="talk",
            arguments=arguments,
            inputResponses=said,
            requestState=result["requestState"],
        )
    return result["structuredContent"]


@ERAS
@pytest.mark.parametrize(("options", "environment"), [(["--elicit"], {}), ([], {"EAI_MCP_ELICIT": "1"})])
async def test_a_person_at_a_raw_client_answers_the_models_question(house, era, options, environment):
    """Issue 6: elicitation is used when the client has it and the operator allows it, in both eras."""
    async with asking(house, blue, *options, era=era, **environment) as wire:
        done = await talked(wire, **PAINT)
        assert (done["status"], done["reply"]) == ("completed", "You said: blue")
        assert len(await dialogue(wire)) == 4
    assert [text for role, text in house.provider.asked[-1].messages if role == "tool"] == ["blue"]
    assert len(house.provider.asked) == 2


@ERAS
@pytest.mark.parametrize("person", [no, None])
async def test_who_is_not_asked_or_declines_finds_the_question_open(house, era, person):
    """Issue 6: with `awaiting_input` as the fallback."""
    async with asking(house, person, "--elicit", era=era) as wire:
        asked = await talked(wire, **PAINT)
        assert (asked["status"], asked["reply"]) == ("awaiting_input", "Which colour?")
        assert len(asked["warnings"]) == (1 if person else 0)
        wire.person = None
        done = await told(wire, "talk", content="green", model="asks")
        assert (done["turn_id"], done["reply"]) == (asked["turn_id"], "You said: green")


async def test_a_person_who_is_slow_is_not_waited_for(house):
    """Issue 6: with a limit; the client is told that the question is taken back."""
    async with asking(house, silent, "--elicit", "--elicit-limit", "0.2") as wire:
        asked = await talked(wire, **PAINT)
        assert asked["status"] == "awaiting_input"
        assert asked["warnings"] == [
            "the person at the client did not answer within 0.2 s; the question is still open"
        ]
        await wire.notified("notifications/cancelled")


async def test_a_question_of_a_process_that_is_gone_is_answered_with_its_state(house):
    """Issue 6: the answer goes to the paused step, not to a fresh turn."""
    call = {"name": "talk", "arguments": PAINT}
    async with asking(house, blue, "--elicit", era=MODERN) as wire:
        first = await wire.ask("tools/call", **call)
    again = {"inputResponses": {"answer": BLUE}, "requestState": first["requestState"]}
    async with asking(house, blue, "--elicit", era=MODERN) as wire:
        done = await wire.ask("tools/call", **call, **again)
        assert done["structuredContent"]["turn_id"]
        assert done["structuredContent"]["status"] == "completed"


@pytest.fixture
def pusher(house):
    """The environment in which a server finds a middleware that pushes."""
    (house.folder / "pusher.py").write_text(PUSHER, encoding="utf-8")
    return {"PYTHONPATH": str(house.folder), "EAI_MCP_MIDDLEWARE": "pusher:Pusher"}


@ERAS
async def test_what_is_pushed_comes_with_the_result_and_can_be_read(house, pusher, era):
    """Issue 6: resources pushed during a turn arrive as resource links or embedded resources."""
    async with asking(house, None, era=era, **pusher) as wire:
        result = await wire.call("talk", content="hello")
        note, log = result["structuredContent"]["resources"]
        assert (note["uri"], note["kind"], note["size_bytes"]) == ("file:///out/note", "note", 5)
        embedded, link = result["content"][2:]
        assert embedded["resource"] == {"uri": note["uri"], "mimeType": "text/plain", "text": "hello"}
        assert (link["type"], link["uri"], link["size"]) == ("resource_link", log["read_at"], 70_000)
        (contents,) = (await wire.ask("resources/read", uri=link["uri"]))["contents"]
        assert len(contents["blob"]) > 90_000


@ERAS
async def test_word_of_what_is_pushed_and_of_the_turn_comes_to_who_asked_for_it(house, pusher, era):
    """Issue 6: and as resource-updated notices."""
    wanted = ["file:///out/note", "eai://sessions/default"]
    async with asking(house, None, era=era, **pusher) as wire:
        if era == MODERN:
            listening = await wire.begin(
                "subscriptions/listen", notifications={"resourceSubscriptions": wanted}
            )
            honored = await wire.notified("notifications/subscriptions/acknowledged")
            assert honored["notifications"] == {"resourceSubscriptions": wanted}
            key = "io.modelcontextprotocol/subscriptionId"
            assert honored["_meta"][key] == listening
        else:
            for uri in wanted:
                await wire.ask("resources/subscribe", uri=uri)
        await told(wire, "talk", content="hello")
        heard = [await wire.notified("notifications/resources/updated") for _ in wanted]
    assert {each["uri"] for each in heard} == set(wanted)


@ERAS
async def test_how_the_providers_stand_can_be_read(house, era):
    """Issue 6: a resource shows breaker and bucket states."""
    async with house.server(era=era) as wire:
        await wire.error("talk", content="hello", model="broken")
        listed = [each["uri"] for each in (await wire.ask("resources/list"))["resources"]]
        assert "eai://providers" in listed
        (contents,) = (await wire.ask("resources/read", uri="eai://providers"))["contents"]
    (model,) = json.loads(contents["text"])["models"]
    assert (model["model"], model["names"]) == ("broken", ["broken"])
    assert model["failures"] > 0


async def test_over_http_readiness_is_told_and_nobody_is_asked_without_a_way_back(house):
    """Issue 6: `/readyz` shows breaker and bucket states; `awaiting_input` is the fallback."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    async with house.carried("http") as url, httpx2.AsyncClient() as client:
        asked = await posted(client, url, {}, "tools/call", name="talk", arguments=PAINT)
        assert asked["result"]["structuredContent"]["status"] == "awaiting_input"
        ready = await client.get(url.removesuffix("/mcp") + "/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["store"]) == (200, "ready", "ok")
        assert [model["names"] for model in ready.json()["models"]] == [["asks"]]
        elsewhere = await client.get(ready.url, headers={"host": "evil.example"})
        assert (elsewhere.status_code, elsewhere.json()) == (200, {"status": "ready"})


async def test_over_http_the_newer_protocol_asks_too(house):
    """Issue 6: elicitation in both protocol eras."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "talk"}
    call = {"name": "talk", "arguments": PAINT, "_meta": meta}
    async with house.carried("http") as url, httpx2.AsyncClient() as client:
        first = (await posted(client, url, headers, "tools/call", **call))["result"]
        assert first["resultType"] == "input_required"
        again = {"inputResponses": {"answer": BLUE}, "requestState": first["requestState"]}
        done = (await posted(client, url, headers, "tools/call", **call, **again))["result"]
    assert done["structuredContent"]["reply"] == "You said: blue"


async def posted(client, url, headers, method, **params):
    """The answer to one request."""
    accept = {"accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = await client.post(url, json=body, headers={**accept, **headers}, timeout=30)
    if reply.headers["content-type"] == "application/json":
        return reply.json()
    events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
    return json.loads(events[-1])

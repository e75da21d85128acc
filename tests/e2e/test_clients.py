"""Clients that are not ours against the real server: each transport, each protocol, each client."""

import json
import signal
from typing import Any

import anyio
import pytest

from tests.clients import places
from tests.clients.common import Refusal, ask, call, structured, told
from tests.clients.mistakes import MISTAKES, all_codes, steps
from tests.clients.places import KINDS, LONG, STRICT, TRANSPORTS, heard
from tests.e2e import nodes
from tests.e2e.conftest import CLEAN
from tests.e2e.silent_provider import BIG
from tests.e2e.test_asking_over_http import alone, connected
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(120)
CELLS = [(transport, kind) for transport in TRANSPORTS for kind in KINDS]
NODES = [cell for cell in CELLS if cell[1].startswith("ts")]
SOME: dict[str, Any] = {"ids": "-".join, "indirect": True, "scope": "module"}
PAINT = {"content": "paint it", "model": "asks", "chara_card": "asker"}
MANY = 100
HELLO = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "twice", "version": "1"}}


@pytest.fixture(scope="module")
async def town(installed, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    environment = {**CLEAN, "EAI_MCP_CACHE": str(cache), "EAI_MCP_CONFIG": str(folder / "config")}
    async with places.opened(installed, environment, folder, nodes.packages(cache)) as town:
        yield town


@pytest.fixture(scope="module")
async def other(town):
    """Another connection."""
    return await town.connect("py-modern", "http")


@pytest.fixture(scope="module", params=CELLS, ids="-".join)
def cell(request):
    return request.param


@pytest.fixture(scope="module")
async def client(town, cell):
    transport, kind = cell
    client = await town.connect(kind, transport)
    yield client
    await ask(client, "close")


@pytest.fixture(scope="module")
async def strict(town, cell):
    """A client with a person, of a server that stops the turn of whoever leaves."""
    transport, kind = cell
    answer = {"action": "accept", "content": {"answer": "blue"}}
    client = await town.connect(kind, transport, *STRICT, answer=answer)
    yield client
    await ask(client, "close")


async def test_it_lists_talks_and_reads(client, cell):
    """Issue 8: list, talk."""
    assert client.era == (MODERN if "modern" in cell[1] else LEGACY)
    listed = await ask(client, "list_tools")
    names = [tool["name"] for tool in listed["tools"]]
    assert names == sorted(names)
    assert {"talk", "wait_for_reply", "interrupt", "list_sessions", "replace_history"} <= {*names}
    session = "-".join(cell)
    done = await told(client, "talk", content="hello", model="echo", chat_session=session)
    assert (done["status"], done["reply"]) == ("completed", "messages=1 last=hello")
    assert f"eai://sessions/{session}" in await uris(client)
    (history, transcript) = (await ask(client, "read", uri=f"eai://sessions/{session}"))["contents"]
    assert "hello" in history["text"]
    assert "hello" in transcript["text"]
    with pytest.raises(Refusal) as refused:
        await ask(client, "read", uri="eai://nowhere")
    assert refused.value.code == -32602


async def test_it_chooses_prompts_and_completes_names(client):
    """Issue 8: each prompt and card; unknown is -32602; completions for every name argument."""
    prompts = [prompt["name"] for prompt in (await ask(client, "list_prompts"))["prompts"]]
    assert {"coder", "card:asker"} <= {*prompts}
    got = await ask(client, "get_prompt", name="coder", arguments={"message": "hello"})
    assert got["messages"][-1]["content"] == {"type": "text", "text": "hello"}
    with pytest.raises(Refusal) as refused:
        await ask(client, "get_prompt", name="nobody")
    assert refused.value.code == -32602
    of_models = {"type": "ref/resource", "uri": "eai://models/{name}"}
    completed = await ask(client, "complete", ref=of_models, argument={"name": "name", "value": "ech"})
    assert completed["completion"]["values"] == ["echo"]


async def uris(client):
    """What every page of the resources names."""
    found, cursor = [], None
    while True:
        page = await ask(client, "list_resources", **({"cursor": cursor} if cursor else {}))
        found += [resource["uri"] for resource in page["resources"]]
        cursor = page.get("nextCursor")
        if not cursor:
            return found


async def test_it_reads_every_code_of_error(client, cell):
    """Issue 8: every error code (the TypeScript v1 client reads it too)."""
    await ask(client, "list_tools")  # from here on it checks results against the schemas
    for code in MISTAKES:
        outcomes = [
            await ask(client, "call", name=tool, arguments=arguments)
            for tool, arguments in steps(code, f"{'-'.join(cell)}-{code}")
        ]
        (failed,) = [outcome for outcome in outcomes if outcome.get("isError")]
        error = structured(failed)["error"]
        assert error["code"] == code
        assert json.loads(failed["content"][0]["text"]) == {"error": error}
        assert error["message"]
        assert error.get("retry_after_ms") == (7000 if code == "rate_limited" else None)
        assert "secret" not in json.dumps(error)


def test_no_code_of_error_is_left_out():
    """Issue 8: every error code."""
    assert MISTAKES.keys() == all_codes()


async def test_an_unknown_tool_is_an_error_of_the_protocol(client):
    """DESIGN section 5: what no tool can be asked for."""
    with pytest.raises(Refusal) as refused:
        await ask(client, "call", name="tell", arguments={})
    assert refused.value.code == -32602


async def test_a_long_talk_is_followed_and_interrupted_from_another_connection(client, cell, other):
    """Issue 8: long talk with progress, interrupt from another connection."""
    session = f"{'-'.join(cell)}-long"
    pending = call(client, "talk", content="for ever", model="slow", chat_session=session)
    progress = [each["progress"] for each in await pending.heard(3)]
    assert progress == sorted({*progress})
    assert any("word" in (each.get("message") or "") for each in pending.progress)
    stopped = await told(other, "interrupt", chat_session=session)
    told_here = structured(await pending.outcome())
    assert told_here["status"] == stopped["status"] == "interrupted"
    assert told_here["reply"].startswith("word word")


@pytest.mark.parametrize("way", ["cancels", "gives-up"])
async def test_who_cancels_or_gives_up_can_wait_for_the_reply_later(town, client, cell, way):
    """Issue 8: cancel; a client's timeout, then wait_for_reply."""
    session = f"{'-'.join(cell)}-{way}"
    limit = {"timeout_ms": 300} if way == "gives-up" else {}
    pending, asked = await town.asking(client, session, **limit)
    if way == "cancels":
        await client.cancel(pending)
    with pytest.raises(Refusal):
        await pending.outcome()
    standing = await told(client, "wait_for_reply", chat_session=session, timeout_ms=0)
    assert standing["status"] == "running"
    asked.go_on.set()
    done = await told(client, "wait_for_reply", chat_session=session)
    assert (done["status"], done["reply"]) == ("completed", "So far. The rest.")


async def test_a_result_at_the_limit_is_read_and_the_rest_of_it_too(client, cell):
    """Issue 8: a result at the 8 MiB limit. Over HTTP it is 1 MiB: the Python SDK takes no larger event."""
    session = f"{'-'.join(cell)}-large"
    result = await ask(
        client, "call", name="talk", arguments={"content": "x", "model": "long", "chat_session": session}
    )
    done = structured(result)
    read = done["reply"]
    assert read == result["content"][0]["text"] == LONG[: len(read)]
    limit = 8 * 2**20 if cell[0] == "stdio" else 2**20
    assert 0.6 * limit < len(json.dumps([read] * 2)) < limit
    assert "get_history(" in done["warnings"][-1]
    while len(read) < len(LONG):
        page = await told(client, "get_history", chat_session=session, after=1, offset=len(read))
        read += page["messages"][0]["content"][0]["text"]
    assert read == LONG
    pushed = await told(client, "talk", content="push", model="echo", chat_session=session)
    if cell[0] == "stdio" or cell in NODES:
        (content,) = (await ask(client, "read", uri=pushed["resources"][0]["read_at"]))["contents"]
        assert len(content["text"]) == 4_190_000


async def test_a_hundred_talks_are_in_flight_on_one_connection(town, client):
    """Issue 8: 100 talks in flight."""
    first = len(town.house.provider.asked)
    pending = [
        call(client, "talk", content=f"say {at}", model="held", chat_session=f"many-{at}")
        for at in range(MANY)
    ]
    await town.house.provider.request(first + MANY)
    for asked in town.house.provider.asked[first:]:
        asked.go_on.set()
    replies = [structured(await each.outcome())["reply"] for each in pending]
    assert replies == ["So far. The rest."] * MANY


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")  # the older protocol's way
async def test_word_of_changes_comes_where_there_is_a_way_for_it(client, cell):
    """DESIGN section 11: on legacy stateless HTTP subscriptions and list_changed do not exist: said so."""
    session = f"{'-'.join(cell)}-watched"
    uri = f"eai://sessions/{session}"
    await told(client, "ensure_session", chat_session=session)
    if cell[0] == "http" and client.era == LEGACY:
        assert client.offered["resources"] == {"subscribe": False, "listChanged": False}
        with pytest.raises(Refusal):
            await ask(client, "subscribe", uri=uri)
        return
    assert client.offered["resources"] == {"subscribe": True, "listChanged": True}
    await ask(client, "subscribe", uri=uri)
    await told(client, "talk", content="hello", chat_session=session)
    assert (await client.notified("notifications/resources/updated"))["uri"] == uri
    await told(client, "ensure_session", chat_session=f"{session}-too")
    await client.notified("notifications/resources/list_changed")


async def test_a_cancelled_call_reaches_the_turn_where_there_is_a_way_for_it(town, strict, cell, other):
    """DESIGN section 11: on legacy stateless HTTP cancel does not exist: `interrupt` is the way."""
    session = f"{'-'.join(cell)}-strict"
    pending, asked = await town.asking(strict, session)
    await heard(strict, session)
    await strict.cancel(pending)
    if cell[0] == "http" and strict.era == LEGACY:
        assert (await told(other, "wait_for_reply", chat_session=session, timeout_ms=0))[
            "status"
        ] == "running"
        assert (await told(strict, "interrupt", chat_session=session))["status"] == "interrupted"
    done = await told(other, "wait_for_reply", chat_session=session)
    assert (done["status"], done["reply"]) == ("interrupted", "So far. ")
    with anyio.fail_after(10):
        await asked.left.wait()


async def test_a_person_is_asked_where_there_is_a_way_to(strict, cell):
    """DESIGN section 11: on legacy stateless HTTP elicitation does not exist: answer `awaiting_input`."""
    session = f"{'-'.join(cell)}-person"
    done = await told(strict, "talk", **PAINT, chat_session=session)
    if cell[0] == "http" and strict.era == LEGACY:
        assert (done["status"], done["reply"]) == ("awaiting_input", "Which colour?")
        done = await told(strict, "talk", content="blue", model="asks", chat_session=session)
    assert (done["status"], done["reply"]) == ("completed", "You said: blue")


async def test_whoever_comes_after_a_client_that_left_finds_its_turn(town, strict, cell, other):
    """Issue 8: disconnect mid-talk. On stdio that ends the server, elsewhere the turn goes on."""
    transport, kind = cell
    client = strict if transport == "stdio" else await town.connect(kind, transport)
    session = f"{transport}-{kind}-left"
    _, asked = await town.asking(client, session)
    await heard(client, session)
    await ask(client, "close")
    if transport != "stdio":
        asked.go_on.set()
    done = await told(other, "wait_for_reply", chat_session=session)
    expected = ("interrupted", "So far. ") if transport == "stdio" else ("completed", "So far. The rest.")
    assert (done["status"], done["reply"]) == expected


@pytest.mark.parametrize("cell", NODES, **SOME)
async def test_a_client_that_reads_nothing_for_a_while_delays_nobody_and_loses_nothing(
    town, client, cell, other
):
    """Issue 8: slow reader."""
    session = f"{'-'.join(cell)}-slow"
    pending = call(client, "talk", content="for ever", model="slow", chat_session=f"{session}-too")
    await pending.heard()
    town.process(cell[1]).send_signal(signal.SIGSTOP)
    try:
        large = client.begin(
            "call", name="talk", arguments={"content": "x", "model": "big", "chat_session": session}
        )
        done = await told(other, "talk", content="hello", model="echo", chat_session=f"{session}-other")
        assert done["reply"] == "messages=1 last=hello"
        assert (await told(other, "interrupt", chat_session=f"{session}-too"))["status"] == "interrupted"
    finally:
        town.process(cell[1]).send_signal(signal.SIGCONT)
    reply = structured(await large.outcome())["reply"]
    assert reply == BIG[: len(reply)]
    assert len(reply) > 300_000
    assert structured(await pending.outcome())["status"] == "interrupted"


async def inspected(town, *words):
    """What the Inspector tells of a method."""
    done = await nodes.inspector(town.packages, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told.get("result", told)


async def test_the_inspector_finds_the_schemas_portable(town):
    """Issue 8: the Inspector's `--strict` schema lint clean."""
    listed = await inspected(town, "--method", "tools/list", "--strict", *town.inspected_at("stdio"))
    assert "talk" in [tool["name"] for tool in listed["tools"]]


@pytest.mark.parametrize("where", ["stdio", "http legacy", "http modern", "sse"])
async def test_the_inspector_talks(town, where):
    """Issue 8: Inspector CLI over stdio, SSE, HTTP."""
    call = ["--method", "tools/call", "--tool-name", "talk", "--tool-arg", "content=hello", "model=echo"]
    result = await inspected(
        town, *call, f"chat_session=inspected-{where.split()[-1]}", *town.inspected_at(where)
    )
    assert structured(result)["reply"] == result["content"][0]["text"] == "messages=1 last=hello"


async def test_the_inspector_lists_what_can_be_read_and_chosen(town):
    """Issue 8: Inspector CLI."""
    where = town.inspected_at("http modern")
    resources = (await inspected(town, "--method", "resources/list", *where))["resources"]
    assert "eai://sessions/default" in [resource["uri"] for resource in resources]
    prompts = (await inspected(town, "--method", "prompts/list", *where))["prompts"]
    assert {"coder", "card:asker"} <= {prompt["name"] for prompt in prompts}


async def test_shaking_hands_twice_is_taken_as_once_on_a_connection(town):
    """Issue 8: double initialize; a discover probe followed by initialize works."""
    async with town.house.server() as stdio, connected(town.url("sse")) as sse:
        for wire in (stdio, sse):
            assert (await wire.ask("initialize", **HELLO))["protocolVersion"] == LEGACY
            assert (await wire.call("list_sessions"))["structuredContent"]["sessions"]


async def test_each_post_may_shake_hands(town):
    """Issue 8: double initialize."""
    for _ in range(2):
        answer = await alone(town.url("http"), "initialize", **HELLO)
        assert answer["result"]["protocolVersion"] == LEGACY
    assert (await alone(town.url("http"), "tools/list"))["result"]["tools"]

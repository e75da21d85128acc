"""Two who share a server and nothing else."""

import json

import anyio
import httpx2
import pytest

from tests.e2e.callers import KINDS, Caller, OverSse, Stateful, joined, serving

ANN, BOB = "made-up-token-of-ann-0123", "made-up-token-of-bob-4567"
TASKS = "io.modelcontextprotocol/tasks"
CAN: dict[str, object] = {"elicitation": {}, "extensions": {TASKS: {}}}
GONE = {"ann-work": "zzz-work", "ann-busy": "zzz-busy", "ann-asks": "zzz-asks", "ann.": "zzz."}


@pytest.fixture
def tokens(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"ann={ANN}\nbob={BOB}\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.fixture
async def server(house, tokens):
    command = [*house.command, "--transport", "sse", "--stateful", "--port", "0", "--token-file", str(tokens)]
    command += ["--exports", str(house.folder / "exports"), "--elicit", "--log-level", "debug"]
    async with serving(command, house.environment) as (base, said):
        yield base
    assert not any(token.encode() in said for token in (ANN, BOB))


async def settled_in(ann, house):
    """Sessions of Ann's: one with a history, one with a turn that runs, one with a question; and files."""
    done = await ann.call("talk", content="secret", chat_session="ann-work", request_id="r")
    assert done["reply"] == "messages=1 last=secret"
    running = await ann.call("talk", content="x", chat_session="ann-busy", model="held", timeout_ms=1)
    asked = await ann.call("talk", content="x", chat_session="ann-asks", model="asks", chara_card="asker")
    assert (running["status"], asked["status"]) == ("running", "awaiting_input")
    await ann.call("export_chat_session_context", chat_session="ann-work", file_path="ann.gz")
    await ann.call("snapshot", file_path="ann.zip")
    return {"work": done["turn_id"], "busy": running["turn_id"], "asks": asked["turn_id"]}


def tries(turns):
    """Every call of a tool that names something of Ann's."""
    for name, turn_id in turns.items():
        session = {"chat_session": f"ann-{name}"}
        for arguments in (session, {**session, "turn_id": turn_id}):
            yield "wait_for_reply", {**arguments, "timeout_ms": 1}
            yield "interrupt", arguments
        yield "talk", {**session, "turn_id": turn_id, "content": "blue"}
        yield "get_history", session
        yield "export_chat_session_context", session
        yield "export_chat_session_context", {**session, "file_path": "bob.gz"}
        yield "replace_history", {**session, "revision": 1}
        yield "close_session", session
        yield "fork_session", {**session, "new_session": "bobs"}
    for path in ("ann.gz", "../ann.gz", "ann.zip"):
        yield "replace_history", {"chat_session": "bobs", "file_path": path}
        yield "restore", {"file_path": path}


def uris(turns):
    for name, turn_id in turns.items():
        yield f"eai://sessions/ann-{name}"
        yield f"eai://sessions/ann-{name}/pushed/{turn_id}/1"


def swapped(value, names):
    """The same with other names in it."""
    text = json.dumps(value)
    for one, other in names.items():
        text = text.replace(one, other)
    return json.loads(text)


async def check_unseen(bob, turns):
    """See that what is Ann's looks to Bob as what nobody has."""
    invented = GONE | {turn_id: f"t_{number:012x}" for number, turn_id in enumerate(turns.values())}
    back = {other: one for one, other in invented.items()}
    for tool, arguments in tries(turns):
        told = await bob.call(tool, **arguments)
        assert "error" in told, (tool, arguments, told)
        assert told == swapped(await bob.call(tool, **swapped(arguments, invented)), back)
    for uri in uris(turns):
        told = await bob.ask("resources/read", uri=uri)
        assert told["code"] == -32602, told
        assert told == swapped(await bob.ask("resources/read", uri=swapped(uri, invented)), back)


async def check_unlisted(bob):
    """See that no list of Bob's has anything of Ann's."""
    cursors = ("", "ann-a", "ann-work")
    listed = [await bob.call("list_sessions", cursor=cursor) for cursor in cursors]
    listed.append(await bob.call("list_sessions", prefix="ann"))
    listed += [await bob.ask("resources/list"), await bob.ask("resources/list", cursor="sessions/ann-a")]
    listed.append(await bob.ask("resources/read", uri="eai://sessions"))
    argument = {"name": "name", "value": "a"}
    ref = {"type": "ref/resource", "uri": "eai://sessions/{name}"}
    listed.append(await bob.ask("completion/complete", ref=ref, argument=argument))
    assert "ann-" not in json.dumps(listed)
    assert "secret" not in json.dumps(listed)


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_finds_reads_or_stops_what_is_somebody_elses(server, house, kind):
    """Issue 8: "no principal can name, list, read, interrupt, export or subscribe to another's"."""
    make = KINDS[kind]
    with anyio.fail_after(60):
        async with joined(make(server, ANN), make(server, BOB)) as (ann, bob):
            turns = await settled_in(ann, house)
            await check_unseen(bob, turns)
            await check_unlisted(bob)

            mine = await bob.call("talk", content="mine", chat_session="ann-work", request_id="r")
            assert mine["reply"] == "messages=1 last=mine"
            assert mine["turn_id"] != turns["work"]
            history = await ann.call("get_history", chat_session="ann-work")
            assert [one["content"][0]["text"] for one in history["messages"]] == [
                "secret",
                "messages=1 last=secret",
            ]
            assert (await bob.call("snapshot", file_path="ann.zip"))["session_count"] == 2
            standing = await ann.call("wait_for_reply", chat_session="ann-busy", timeout_ms=1)
            assert standing["status"] == "running"
            assert (await ann.call("interrupt", chat_session="ann-busy"))["turn_id"] == turns["busy"]
            done = await ann.call("talk", chat_session="ann-asks", content="blue")
            assert done["reply"] == "You said: blue"


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_hears_of_what_happens_to_somebody_elses(server, kind):
    """Issue 8: nobody can "subscribe to another's", though it has the same name."""
    make = KINDS[kind]
    with anyio.fail_after(30):
        async with joined(make(server, ANN), make(server, BOB)) as (ann, bob):

            async def change():
                await ann.call("talk", content="x", chat_session="one")
                await other.call("talk", content="x", chat_session="two")

            async with joined(make(server, BOB)) as (other,):
                heard = await bob.heard(["eai://sessions/one", "eai://sessions/two"], change)
            assert heard == "eai://sessions/two"


async def test_a_connection_is_its_principals_alone(server):
    """Issue 8: to others a connection does not exist, be it known by its id or by its address."""
    with anyio.fail_after(30):
        async with joined(Stateful(server, ANN), OverSse(server, ANN), Caller(server, BOB)) as (
            one,
            two,
            bob,
        ):
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            for number in (one.client.headers["mcp-session-id"], "f" * 32):
                for method in ("POST", "GET", "DELETE"):
                    stolen = {"mcp-session-id": number, "mcp-protocol-version": "2025-11-25"}
                    reply = await bob.client.request(method, "/mcp", json=ping, headers=stolen)
                    assert (reply.status_code, "Session not found" in reply.text) == (404, True)
            for where in (two.endpoint, "/messages/?session_id=" + "f" * 32):
                reply = await bob.client.post(where, json=ping)
                assert (reply.status_code, reply.text) == (404, "Could not find session")
            assert (await one.call("list_sessions"))["sessions"]
            assert (await two.call("list_sessions"))["sessions"]


async def test_what_came_with_somebodys_question_or_task_is_of_no_use_to_others(server):
    """Issue 8: a requestState, and a task, are of whoever they were given to."""
    with anyio.fail_after(40):
        callers = Caller(server, ANN, capabilities=CAN), Caller(server, BOB, capabilities=CAN)
        async with joined(*callers) as (ann, bob):
            params = {"name": "talk", "arguments": {"content": "x", "model": "asks", "chara_card": "asker"}}
            asked = await ann.ask("tools/call", **params)
            assert asked["resultType"] == "input_required"
            answer = {"action": "accept", "content": {"answer": "blue"}}
            again = {
                **params,
                "requestState": asked["requestState"],
                "inputResponses": dict.fromkeys(asked["inputRequests"], answer),
            }
            told = await bob.ask("tools/call", **again)
            assert told["code"] == -32602
            forged = await bob.ask("tools/call", **{**again, "requestState": "x" + asked["requestState"]})
            assert told == forged
            done = await ann.ask("tools/call", **again)
            assert done["structuredContent"]["reply"] == "You said: blue"

            params = {"name": "talk", "arguments": {"content": "x", "model": "held", "chat_session": "t"}}
            task = await ann.ask("tools/call", **params)
            assert task["resultType"] == "task"
            for method in ("tasks/get", "tasks/cancel", "tasks/update"):
                more: dict[str, object] = {"inputResponses": {}} if method == "tasks/update" else {}
                told = await bob.ask(method, taskId=task["taskId"], **more)
                assert told["code"] == -32602
                assert told["message"] == (await bob.ask(method, taskId="x", **more))["message"].replace(
                    "'x'", repr(task["taskId"])
                )
            assert (await ann.ask("tasks/get", taskId=task["taskId"]))["status"] == "working"


async def test_a_token_that_is_taken_back_ends_what_it_opened(server, tokens):
    """Issue 8: "reload on change": for streams and sessions that are open, too."""
    with anyio.fail_after(30):
        async with joined(Stateful(server, ANN), OverSse(server, ANN), OverSse(server, BOB)) as (
            one,
            two,
            bob,
        ):
            async with one.client.stream("GET", "/mcp") as reply:
                assert reply.status_code == 200
                new = tokens.with_name("new")
                new.write_text(f"bob={BOB}\n", encoding="utf-8")
                new.chmod(0o600)
                new.replace(tokens)
                assert [line async for line in reply.aiter_lines() if line.startswith("data: {")] == []
            with pytest.raises(AssertionError, match="the stream has ended"):
                await two.next()
            for where in ("/mcp", two.endpoint):
                reply = await one.client.post(where, json=one.message("tools/list", {}))
                assert reply.status_code == 401
            assert (await bob.call("list_sessions"))["sessions"]


async def test_strangers_get_no_further_than_health(server):
    """Issue 8: `/readyz` names models, so strangers get to see no more of it than whether all is well."""
    async with httpx2.AsyncClient(base_url=server) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        for headers in ({}, {"host": "pod.example"}, {"authorization": "Bearer nobody"}):
            reply = await client.get("/readyz", headers=headers)
            assert (reply.status_code, reply.json()) == (200, {"status": "ready"})
        for path in ("/mcp", "/sse", "/none", "/.well-known/oauth-protected-resource"):
            assert (await client.get(path)).status_code == 401
        said = {"authorization": f"Bearer {BOB}"}
        assert (await client.get("/readyz", headers=said)).json().keys() == {"status", "store", "models"}

"""The chat model at work on the machine: scripts, prompts, interrupts, approvals, in a server process."""

import json
import os
import subprocess
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.e2e.silent_provider import told
from tests.e2e.test_yields import talked
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
NEVER = "what would have followed the results"
KEY = "sk-made-up-0123456789"


def scripts(*replies):
    """A model that plays these replies in order: a text, or the tools of a step."""
    lines = ['provider = "scripted"', 'model = "script"']
    for reply in replies:
        lines.append("[[quirks.replies]]")
        if isinstance(reply, str):
            lines.append(f"text = {json.dumps(reply)}")
            continue
        for name, given in reply:
            lines += ["[[quirks.replies.tools]]", f"name = {json.dumps(name)}"]
            lines.append("input = { " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in given.items()) + " }")
    return "\n".join(lines)


def runs(script, **more):
    return [("execute_script", {"script": script, **more})]


def server(house, work, replies, *options, era=LEGACY, person=None, sandbox="required", **environment):
    """A server whose chat model plays `replies`, with terminals."""
    (house.folder / "models" / "hands.toml").write_text(scripts(*replies), encoding="utf-8")
    command = [*house.command, "--terminal", "--terminal-dir", str(work), "--sandbox", sandbox, *options]
    return served(
        command, {**house.environment, "MADE_UP_API_KEY": KEY, **environment}, era=era, person=person
    )


async def results(wire, session="default"):
    """What the tools of a session said, as JSON."""
    page = await told(wire, "get_history", chat_session=session)
    blocks = [block for each in page["messages"] for block in each["content"]]
    found = [block for block in blocks if block["type"] == "tool_result"]
    return [json.loads(block["content"][0]["text"]) for block in found if not block.get("failed")]


def alive(mark):
    """The processes whose command line has `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


async def until(holds):
    """Nothing tells when a process of somebody else begins or ends."""
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.02)


@ERAS
async def test_a_file_is_made_run_fixed_and_shown(house, work, era):
    """Issue 7: "make a file, run it, fix it, show the output" over MCP, cwd and variables kept between
    scripts, exit codes seen."""
    replies = [
        runs("mkdir -p tool && cd tool && greeting=hello && export LOUD=1\necho 'ecoh $1' > greet.sh; ls"),
        runs("bash greet.sh you"),
        runs('sed -i s/ecoh/echo/ greet.sh && bash greet.sh "$greeting $LOUD"; pwd; exit 3'),
        runs('echo "$greeting"; pwd'),
        "It says hello.",
    ]
    async with server(house, work, replies, era=era) as wire:
        done = await told(wire, "talk", content="make it", model="hands")
        assert (done["status"], done["reply"]) == ("completed", "It says hello.")
        made, failed, fixed, kept = await results(wire)
        assert (made["status"], made["exit_code"], made["output"]) == ("exited", 0, "greet.sh\n")
        assert failed["exit_code"] == 127
        assert "ecoh: command not found" in failed["output"]
        assert fixed["exit_code"] == 3
        assert fixed["output"] == "hello 1\n/work/tool\n"
        assert (kept["exit_code"], kept["output"]) == (0, "hello\n/work/tool\n")
        assert all(one["duration_s"] >= 0 for one in (made, failed, fixed, kept))


async def test_no_key_is_seen_by_what_the_model_runs(house, work):
    """Issue 7: "environment scrubbed of keys"; "read a key from the environment or `/proc`"."""
    replies = [runs("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; id -u"), "ok"]
    async with server(house, work, replies) as wire:
        await told(wire, "talk", content="look", model="hands")
        (seen,) = await results(wire)
        assert "PATH=" in seen["output"]
        assert KEY not in seen["output"]
        assert seen["output"].split()[-1] != "0"


INTERRUPTED = {
    "sleeps": "sleep {mark}",
    "ignores INT": "trap '' INT; while :; do sleep {mark} ; done",
    "ignores INT and TERM": "bash -c 'trap \"\" INT TERM; sleep {mark}; sleep {mark}'",
    "in the background": "sleep {mark} & (setsid sleep {mark} &) ; wait",
    "a pipe": "sleep {mark} | cat | cat",
}


@pytest.mark.parametrize("pty_session_id", [None, "other"])
@pytest.mark.parametrize("how", INTERRUPTED)
async def test_an_interrupt_leaves_no_process(house, work, how, pty_session_id):
    """Issue 7: "`interrupt` while `sleep 1000` runs, while a program ignores INT ...: answered <= 1 s, no
    process left (checked in `/proc`), history valid, next turn clean, also with `pty_session_id` different
    from the session's name"."""
    mark = f"1000.{os.getpid()}{abs(hash((how, pty_session_id))) % 10**6}"
    replies = [runs(INTERRUPTED[how].format(mark=mark)), NEVER, runs("echo still here"), "done"]
    more = {} if pty_session_id is None else {"pty_session_id": pty_session_id}
    async with server(house, work, replies) as wire:
        number = await wire.begin(
            "tools/call", name="talk", arguments={"content": "go", "model": "hands", **more}
        )
        await until(lambda: bool(alive(mark)))
        stopped = await told(wire, "interrupt")
        assert stopped["status"] == "interrupted"
        assert alive(mark) == []
        answer = (await wire.answer(number))["result"]["structuredContent"]
        assert answer["status"] == "interrupted"
        after = await told(wire, "talk", content="and now?", model="hands")
        assert (after["status"], after["reply"]) == ("completed", "done")
        assert [one["output"] for one in await results(wire)] == ["still here\n"]


async def test_an_interrupt_hits_two_scripts_that_run_side_by_side(house, work):
    """Issue 7: "while two tools run in parallel"."""
    mark = f"1001.{os.getpid()}"
    both = [
        ("execute_script", {"script": f"sleep {mark}"}),
        ("execute_script", {"script": f"sleep {mark}", "pty_session_id": "second"}),
    ]
    async with server(house, work, [both, NEVER, "done"]) as wire:
        await wire.begin("tools/call", name="talk", arguments={"content": "go", "model": "hands"})
        await until(lambda: len([line for line in alive(mark) if line.startswith("sleep")]) == 2)
        assert (await told(wire, "interrupt"))["status"] == "interrupted"
        assert alive(mark) == []
        assert (await told(wire, "talk", content="and now?", model="hands"))["reply"] == "done"


async def test_nothing_survives_the_server(house, work):
    """Issue 7: "nothing survives the server", also when it is killed."""
    mark = f"1002.{os.getpid()}"
    replies = [runs(f"(setsid nohup sleep {mark} &) ; sleep {mark}", wait=False), "started"]
    async with server(house, work, replies) as wire:
        await told(wire, "talk", content="go", model="hands")
        await until(lambda: len([line for line in alive(mark) if line.startswith("sleep")]) == 2)
        wire.process.kill()
        await until(lambda: not alive(mark))


async def test_a_slow_script_is_handed_back_and_polled(house, work):
    """Issue 7: "waits up to a limit, then hands back a task id; output kept after exit"."""
    slow = runs("echo one; read -r word; echo got $word; exit 4", wait_s=20)
    replies = [slow, [("write_to_session", {"input": "two", "keys": ["Enter"]})], "done"]
    async with server(house, work, replies) as wire:
        done = await told(wire, "talk", content="go", model="hands")
        assert done["reply"] == "done"
        first, second = await results(wire)
        assert (first["status"], first["output"]) == ("running", "one\n")
        assert first["waiting_for_input"]
        assert (second["status"], second["exit_code"]) == ("exited", 4)
        assert second["output"] == "got two\n"


@ERAS
async def test_a_command_runs_once_the_person_at_the_client_approves(house, work, era):
    """Issue 7: "`ask` yields the turn with the exact command shown"; DESIGN: granted by elicitation."""
    shown = []

    def approve(form):
        shown.append(form["message"])
        return {"action": "accept", "content": {"answer": "approve"}}

    ask = ("--approval", "execute_script=ask")
    async with server(
        house, work, [runs("echo hi"), "ok"], *ask, "--elicit", era=era, person=approve
    ) as wire:
        done = await talked(wire, content="go", model="hands")
        assert (done["status"], done["reply"]) == ("completed", "ok")
        assert [one["output"] for one in await results(wire)] == ["hi\n"]
    asked = (
        "execute_script wants to do this; answer 'approve' to allow it:\n\nin terminal 'default':\necho hi"
    )
    assert shown == [asked]


async def test_a_caller_does_not_approve_the_commands_of_its_own_model(house, work):
    """DESIGN section 8: "by `talk` only with `--approve-by-talk`, content exactly `approve` and the
    question's turn_id; anything else refuses"."""
    ask = ("--approval", "execute_script=ask")
    replies = [runs("echo hi"), "ok"]
    async with server(house, work, replies, *ask) as wire:
        asked = await told(wire, "talk", content="go", model="hands")
        assert asked["status"] == "awaiting_input"
        done = await told(wire, "talk", content="approve", turn_id=asked["turn_id"])
        assert done["reply"] == "ok"
        assert await results(wire) == []
    async with server(house, work, replies, *ask, "--approve-by-talk") as wire:
        for name, given, ran in (
            ("s0", (), 0),
            ("s1", ("turn_id",), 0),
            ("s2", ("turn_id", "request_id"), 1),
        ):
            asked = await told(wire, "talk", content="go", model="hands", chat_session=name)
            all_of_it = {"turn_id": asked["turn_id"], "request_id": "r1"}
            more = {argument: all_of_it[argument] for argument in given}
            await told(wire, "talk", content="approve", chat_session=name, **more)
            assert len(await results(wire, name)) == ran
        wrong = await wire.error("talk", content="approve", chat_session="s1", turn_id="t_other")
        assert wrong["code"] == "conflict"


async def test_without_a_sandbox_it_is_said_loudly(house, work):
    """Issue 7: "a loud fact when it is not"; "`--sandbox required` refuses to run without"."""
    replies = [runs("echo hi"), "ok"]
    async with server(house, work, replies, sandbox="auto", PATH="/nonexistent") as wire:
        done = await told(wire, "talk", content="go", model="hands")
        assert done["reply"] == "ok"
    assert "NO SANDBOX: " in wire.errors
    assert "fact=sandbox.missing" in wire.errors
    process = await anyio.run_process(
        [*house.command, "--terminal", "--terminal-dir", str(work), "--sandbox", "required"],
        env={**house.environment, "PATH": "/nonexistent"},
        check=False,
    )
    assert process.returncode != 0
    assert b"bubblewrap" in process.stderr


TOKEN = "made-up-token-0123456789"


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_over_http_terminals_need_a_token(house, work, tmp_path, transport):
    """Issue 7: "over HTTP that needs a token even on loopback"."""
    (house.folder / "models" / "hands.toml").write_text(scripts(runs("echo hi"), "ok"), encoding="utf-8")
    command = [
        *house.command,
        "--terminal",
        "--terminal-dir",
        str(work),
        "--transport",
        transport,
        "--port",
        "0",
    ]
    refused = await anyio.run_process(command, env=house.environment, check=False)
    assert refused.returncode != 0
    assert b"needs --token-file" in refused.stderr
    file = tmp_path / "token"
    file.write_text(f"ann={TOKEN}\n", encoding="utf-8")
    file.chmod(0o600)
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "talk", "arguments": {"content": "go", "model": "hands"}},
    }
    headers = {"accept": "application/json, text/event-stream"}
    async with await anyio.open_process(
        [*command, "--token-file", str(file)], env=house.environment, stdin=subprocess.DEVNULL
    ) as process:
        url = await said_url(process)
        async with httpx2.AsyncClient(timeout=20) as client:
            for said in ({}, {"authorization": "Bearer nope"}):
                reply = await client.post(url, json=body, headers={**headers, **said})
                assert reply.status_code == 401
            if transport == "sse":
                assert (await client.get(url.replace("/mcp", "/sse"))).status_code == 401
            right = {**headers, "authorization": f"Bearer {TOKEN}"}
            reply = await client.post(url, json=body, headers=right)
            assert reply.status_code == 200
            assert '"reply":"ok"' in reply.text.replace(" ", "").replace("\\", "")
        process.terminate()
        with anyio.fail_after(10):
            assert await process.wait() == 0


async def said_url(process):
    said = b""
    with anyio.fail_after(30):
        while b"/mcp\n" not in said:
            said += await process.stderr.receive()
    return said.decode().split()[-1]

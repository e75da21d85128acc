"""Histories into files and back, through real processes and by a client that is not the SDK's."""

import gzip
import hashlib
import json
import os
import signal
import stat
import subprocess

import anyio
import pytest

from tests.e2e import large
from tests.e2e.conftest import run
from tests.e2e.silent_provider import answered, asking, dialogue, heard, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
EXPORT, REPLACE = "export_chat_session_context", "replace_history"
SAID = [("user", "Remember 42."), ("assistant", "I will. 🙂")]
CONTENT = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in SAID]


@pytest.fixture(autouse=True)
def folder(environment, tmp_path):
    """Where the tools' files are; nobody has made it yet. The commands use the sessions of the house."""
    environment["EAI_MCP_EXPORTS"] = str(tmp_path / "exports")
    environment["EAI_MCP_STORE"] = str(tmp_path / "data" / "sessions.db")
    return tmp_path / "exports"


@pytest.fixture
def command(installed, environment, folder):
    """Runs `eai-mcp` to its end, from the folder with the tools' files."""

    def call(*words, code=0, given=None):
        done = subprocess.run(
            [installed / "eai-mcp", *words],
            env=environment,
            cwd=folder,
            capture_output=True,
            timeout=60,
            check=False,
            input=given,
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return done.stdout, done.stderr.decode()

    return call


async def texts(wire, session="default"):
    return [text for _, text, _ in await dialogue(wire, session)]


@ERAS
async def test_each_tool_does_its_work(house, folder, era):
    """Issue 5: the tools `export_chat_session_context`, `replace_history`, `snapshot`, `restore`."""
    async with house.server(era=era) as wire:
        replaced = await told(wire, REPLACE, chat_session="work", content=json.dumps(CONTENT))
        assert (replaced["message_count"], replaced["revision"], replaced["repairs"]) == (2, 1, [])
        exported = await told(wire, EXPORT, chat_session="work", file_path="work.json.gz")
        data = (folder / "work.json.gz").read_bytes()
        assert exported == {
            "chat_session": "work",
            "format": "eai-mcp",
            "file_path": str(folder / "work.json.gz"),
            "size_bytes": len(data),
            "message_count": 2,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        assert stat.S_IMODE((folder / "work.json.gz").stat().st_mode) == 0o600
        kept = await told(wire, "snapshot", file_path="all.gz")
        assert (kept["session_count"], kept["message_count"], kept["left_out"]) == (2, 2, [])

        await told(wire, "close_session", chat_session="work")
        await told(wire, REPLACE, chat_session="copy", file_path="work.json.gz")
        restored = await told(wire, "restore", file_path="all.gz", mode="replace")
        assert restored == {"session_count": 2, "message_count": 2, "repairs": []}
        names = [row["name"] for row in (await told(wire, "list_sessions"))["sessions"]]
        assert names == ["default", "work"]
        talked = await told(wire, "talk", content="And?", chat_session="work")
        assert talked["reply"] == "messages=3 last=And?"
    assert house.provider.asked[0].messages == [*SAID, ("user", "And?")]


@ERAS
async def test_an_answer_holds_the_export_and_a_link_that_can_be_read(house, folder, era):
    """Issue 5: inline (paged under clients' size limits, with a resource link)."""
    async with house.server(era=era) as wire:
        await told(wire, REPLACE, content=CONTENT)
        result = await wire.call(EXPORT)
        link = result["content"][-1]
        assert link["type"] == "resource_link"
        ours, transcript = (await wire.ask("resources/read", uri=link["uri"]))["contents"]
        assert ours["text"] == result["structuredContent"]["content"]
        assert transcript["mimeType"] == "text/markdown"
        listed = (await wire.ask("resources/list"))["resources"]
        assert link["uri"] in [each["uri"] for each in listed]
        templates = (await wire.ask("resources/templates/list"))["resourceTemplates"]
        assert "eai://sessions/{name}" in [each["uriTemplate"] for each in templates]
        answer = await wire.answer(await wire.begin("resources/read", uri="eai://sessions/nobody"))
        assert answer["error"]["data"]["code"] == "not_found"


@pytest.mark.parametrize("form", ["eai-mcp", "jsonl", "openai", "markdown"])
async def test_every_process_writes_the_same_bytes(house, folder, command, form):
    """Issue 5: reproducible bytes (same history, same bytes)."""
    async with house.server() as one, house.server() as other:
        await told(one, REPLACE, chat_session="work", content=CONTENT)
        await told(one, EXPORT, chat_session="work", file_path="1", format=form)
        await told(other, EXPORT, chat_session="work", file_path="2", format=form)
        command("export", "work", "3", "--format", form)
    assert (folder / "1").read_bytes() == (folder / "2").read_bytes() == (folder / "3").read_bytes()


async def test_what_one_server_exported_another_with_other_sessions_imports(house, folder, tmp_path):
    async with house.server() as one, house.server(EAI_MCP_STORE=str(tmp_path / "other.db")) as other:
        await told(one, "talk", content="hello", chat_session="work")
        await told(one, EXPORT, chat_session="work", file_path="work")
        await told(one, "snapshot", file_path="all")
        await told(other, REPLACE, chat_session="copy", file_path="work")
        assert await dialogue(other, "copy") == await dialogue(one, "work")
        await told(other, "restore", file_path="all", mode="replace")
        await told(other, "snapshot", file_path="again")
    assert (folder / "all").read_bytes() == (folder / "again").read_bytes()


async def test_each_fault_has_its_code_and_changes_nothing(house, folder, environment):
    """Issue 5: **Safety**; each error code is seen once through a process."""
    folder.mkdir(parents=True)
    (folder / "words").write_text("hello", encoding="utf-8")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "bomb").write_bytes(gzip.compress(b'[{"role":"user","content":"' + b"x" * 70_000_000))
    faults: list[tuple[str, dict[str, object], str, str]] = [
        (REPLACE, {"file_path": "words"}, "import_invalid", "the content is not JSON"),
        (REPLACE, {"content": "[1]"}, "import_invalid", "message 1 is no object, but int"),
        (REPLACE, {"content": CONTENT, "revision": 1}, "invalid_argument", "name one of"),
        (REPLACE, {"content": CONTENT, "format": "word"}, "invalid_argument", "'auto', 'eai-mcp', 'jsonl'"),
        (REPLACE, {"file_path": "gone"}, "not_found", "there is no file 'gone' in"),
        (REPLACE, {"revision": 7}, "not_found", "has no revision 7"),
        (REPLACE, {"file_path": "../words"}, "path_denied", "name a file in"),
        (REPLACE, {"file_path": "link"}, "path_denied", "symbolic link"),
        (REPLACE, {"file_path": "bomb"}, "limit_exceeded", "one message has more than 67,108,864 bytes"),
        (EXPORT, {"file_path": "/etc/out"}, "path_denied", "name a file in"),
        (EXPORT, {"chat_session": "gone"}, "not_found", "no session named 'gone'"),
        (EXPORT, {"format": "eai"}, "invalid_argument", "'openai-responses'"),
        ("snapshot", {"file_path": "words/all"}, "path_denied", "name a file in"),
        ("restore", {"file_path": "words"}, "import_invalid", "is not JSON"),
    ]
    async with house.server() as wire:
        await told(wire, REPLACE, content=CONTENT)
        for tool, arguments, code, message in faults:
            error = await wire.error(tool, **arguments)
            assert (tool, arguments, error["code"]) == (tool, arguments, code)
            assert message in error["message"]
        assert await texts(wire) == [text for _, text in SAID]
        assert sorted(path.name for path in folder.iterdir()) == ["bomb", "link", "words"]


async def test_a_session_that_is_busy_in_another_process_is_left_alone(house, folder, command):
    """Issue 5: refused while busy; restore refuses while any target is busy."""
    async with house.server() as one, house.server() as other:
        await told(one, REPLACE, content=CONTENT)
        await told(one, EXPORT, file_path="one")
        await told(one, "snapshot", file_path="all")
        waiting, asked = await asking(house, one, content="a story", model="held")
        await heard(one)
        assert (await other.error(REPLACE, content=[]))["code"] == "busy"
        assert (await other.error("restore", file_path="all"))["code"] == "busy"
        for words in (["import", "default", "one"], ["restore", "all"]):
            _, err = command(*words, code=1)
            assert err.startswith("eai-mcp: session 'default' is busy: turn ")
        kept = await told(other, "snapshot", file_path="meanwhile")
        assert kept["left_out"] == ["session 'default': the turn that runs in it was left out"]
        asked.go_on.set()
        await answered(one, waiting)
        assert await texts(other) == [*(text for _, text in SAID), "a story", "So far. The rest."]


async def test_the_commands_work_beside_a_server_on_the_same_sessions(house, folder, command):
    """Issue 5: Command line twins: `eai-mcp export|import|snapshot|restore`."""
    async with house.server() as wire:
        await told(wire, "talk", content="hello", chat_session="work")
        folder.mkdir(mode=0o700)
        command("export", "work", "work.gz")
        command("snapshot", "all.gz")
        out, _ = command("import", "copy", "work.gz")
        assert out == b"copy: 2 messages, read as eai-mcp; revision 1\n"
        again = await told(wire, "talk", content="again", chat_session="copy")
        assert again["reply"] == "messages=3 last=again"
        out, _ = command("export", "copy", "-", "--format", "openai")
        command("import", "work", "-", "--format", "openai", given=out)
        assert len(await texts(wire, "work")) == 4
        command("restore", "all.gz", "--replace")
        names = [row["name"] for row in (await told(wire, "list_sessions"))["sessions"]]
        assert (names, len(await texts(wire, "work"))) == (["default", "work"], 2)
        assert (await wire.error("get_history", chat_session="copy"))["code"] == "not_found"
        again = await told(wire, "talk", content="again", chat_session="work")
        assert again["reply"] == "messages=3 last=again"


def test_the_installed_commands_answer_without_a_server(installed, environment, tmp_path):
    """Issue 5: Command line twins, the way a user has them."""
    environment["EAI_MCP_STORE"] = str(tmp_path / "sessions.db")
    eai_mcp = installed / "eai-mcp"
    (tmp_path / "in.json").write_text(json.dumps(CONTENT), encoding="utf-8")
    done = run(eai_mcp, "import", "work", tmp_path / "in.json", env=environment)
    assert done.stdout == "work: 2 messages, read as openai; revision 1\n"
    run(eai_mcp, "export", "work", tmp_path / "out.md", env=environment)
    assert "I will. 🙂" in (tmp_path / "out.md").read_text(encoding="utf-8")
    run(eai_mcp, "snapshot", tmp_path / "all.gz", env=environment)
    assert run(eai_mcp, "restore", tmp_path / "all.gz", env=environment).stdout.startswith("2 sessions")


def test_a_reader_that_leaves_ends_the_export_quietly(installed, environment, folder, command):
    large.jsonl(folder / "large", 5_000)
    command("import", "work", "large")
    words = [installed / "eai-mcp", "export", "work", "-"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b'{"format":'
        process.stdout.close()
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("words", [["import", "work", "-"], ["restore", "-"]])
def test_waiting_for_standard_input_can_be_stopped_by_hand(installed, environment, folder, command, words):
    folder.mkdir()
    with subprocess.Popen(
        [installed / "eai-mcp", *words], env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"0 messages so far\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert b"Traceback" not in process.stderr.read()
    assert command("snapshot", "all")[0].startswith(b"1 sessions, 0 messages")


async def test_no_answer_about_a_large_session_is_above_the_limit_of_a_message(house, folder):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    large.jsonl(folder / "large", 20_000)
    async with house.server() as wire:
        await told(wire, REPLACE, file_path="large")
        parts = [await told(wire, EXPORT, format="jsonl")]
        while "next_offset" in parts[-1]:
            parts.append(await told(wire, EXPORT, format="jsonl", offset=parts[-1]["next_offset"]))
        await told(wire, EXPORT, file_path="again.jsonl.gz")
        with anyio.fail_after(20):
            answer = await wire.answer(await wire.begin("resources/read", uri="eai://sessions/default"))
    assert {part["sha256"] for part in parts} == {parts[0]["sha256"]}
    whole = "".join(part["content"] for part in parts).encode()
    assert hashlib.sha256(whole).hexdigest() == parts[0]["sha256"]
    assert (
        whole == (folder / "large").read_bytes() == gzip.decompress((folder / "again.jsonl.gz").read_bytes())
    )
    assert len(json.dumps(answer)) < 8 * 1024 * 1024


def test_odd_standard_outputs_are_told_or_left_alone(installed, environment, folder, command):
    """Issue 5: command line twins; bad input and faults: a clear error, never a traceback."""
    folder.mkdir(parents=True)
    (folder / "in.jsonl").write_text(json.dumps(CONTENT[0]) * 3, encoding="utf-8")
    command("import", "work", "in.jsonl")
    export = f"{installed / 'eai-mcp'} export work"

    def shell(line):
        words = ["sh", "-c", line]
        done = subprocess.run(
            words, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    code, told = shell(f"{export} - > /dev/full")
    assert (code, "standard output cannot be written: No space left" in told) == (1, True)
    code, told = shell(f"{export} out.json >&-")
    assert (code, "3 messages of work as eai-mcp" in told) == (0, True)
    assert json.loads((folder / "out.json").read_bytes())["message_count"] == 3
    code, told = shell(f"script -qec '{export} -' /dev/null")
    assert code == 2


def test_an_export_whose_reader_does_not_read_can_be_stopped_by_hand(installed, environment, folder, command):
    large.jsonl(folder / "large.jsonl", 5_000)
    command("import", "work", "large.jsonl")
    words = [installed / "eai-mcp", "export", "work", "-", "--format", "jsonl"]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == "{"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()

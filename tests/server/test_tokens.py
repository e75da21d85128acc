"""The tokens in a file: who they let in, and what becomes of it when the file changes."""

import os
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ConfigError
from eai_mcp.server import tokens
from eai_mcp.server.admitted import Admitted, Gate
from eai_mcp.server.principal import SPACE
from eai_mcp.server.tokens import Tokens
from tests.pipeline.clock import Clock
from tests.server.test_http import asked, connected

ANN, BOB = "made-up-token-of-ann-0123", "made-up-token-of-bob=4567=="
LINES = f"# who may call\n\nann={ANN}\n  bob = {BOB}  \n"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "tokens"
    write(made, LINES)
    return made


def write(file, text, encoding="utf-8"):
    """Put another file in its place, as careful editors do."""
    new = file.with_name("new")
    new.write_text(text, encoding=encoding)
    new.chmod(0o600)
    new.replace(file)


def one(found, token):
    principal = found.principal(token)
    assert principal is not None
    return principal


def space(found, token):
    principal = found.principal(token)
    return principal and principal.space


def test_each_token_is_its_principals(file):
    """Issue 8: "`--token-file` (several named principals, constant-time compare, reload on change)"."""
    found = Tokens(file)
    assert [space(found, said) for said in (ANN, BOB)] == ["ann", "bob"]
    for said in ("", ANN + "x", ANN[:-1], f"ann={ANN}", "\xe4", "\udcff"):
        assert found.principal(said) is None


def test_an_editors_mark_and_its_line_ends_are_no_part_of_them(file):
    write(file, LINES.replace("\n", "\r\n"), "utf-8-sig")
    assert space(Tokens(file), ANN) == "ann"
    assert space(Tokens(file), BOB) == "bob"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (BOB[:20], "should be like NAME=TOKEN"),
        (f"={BOB}", "should be like NAME=TOKEN"),
        (f"a:b={BOB}", "should begin with a name of 1 to 64"),
        (f"oauth:x={BOB}", "should begin with a name of 1 to 64"),
        (f"..={BOB}", "should begin with a name of 1 to 64"),
        (f"{'b' * 65}={BOB}", "should begin with a name of 1 to 64"),
        (f"b\xe4={BOB}", "should begin with a name of 1 to 64"),
        ("bob=short", "should have a token of 16 to 4096 printable ASCII characters"),
        (f"bob={'x' * 4097}", "should have a token of 16 to 4096 printable ASCII characters"),
        (f"bob={BOB}\xe4", "should have a token of 16 to 4096 printable ASCII characters"),
        (f"bob={BOB}\x01", "should have a token of 16 to 4096 printable ASCII characters"),
        (f"bob={BOB} # laptop", "no space or quote among them, and nothing behind it"),
        (f"bob='{BOB}'", "no space or quote among them, and nothing behind it"),
        (f'bob="{BOB}"', "no space or quote among them, and nothing behind it"),
        (f"{BOB}x==", "should have a token of 16 to 4096 printable ASCII characters"),
        (f"ann={BOB}", "has a name that a line above has"),
        (f"bob={ANN}", "has the token of a line above"),
    ],
)
def test_a_line_that_cannot_work_is_named_and_no_token_is(file, line, sentence):
    write(file, f"ann={ANN}\n{line}\n")
    with pytest.raises(ConfigError, match=sentence) as caught:
        Tokens(file)
    assert str(caught.value).startswith(f"{file}: line 2 ")
    assert not any(part in str(caught.value) for part in (ANN, BOB[:16], "short"))
    assert caught.value.details == {"field": "token_file"}


@given(st.text(max_size=80))
def test_no_line_makes_anything_but_a_principal_or_a_sentence(text):
    try:
        name, token = tokens._parted("here", text)
    except ConfigError as error:
        sentence = error.message
    else:
        sentence = "here should do"
        assert ":" not in name
        assert 16 <= len(token) <= 4096
    assert sentence.startswith("here should ")


def test_a_file_that_can_be_no_secret_is_refused(file, tmp_path):
    with pytest.raises(ConfigError, match="cannot read the token file"):
        Tokens(tmp_path / "none")
    with pytest.raises(ConfigError, match="is no file"):
        Tokens(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is no file"):
        Tokens(pipe)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others; chmod 600"):
        Tokens(file)
    for content, sentence in (("# nobody\n", "has no line like NAME=TOKEN"), (" " * 2**21, "more than")):
        write(file, content)
        with pytest.raises(ConfigError, match=sentence):
            Tokens(file)


def test_a_changed_file_counts_within_a_second_and_is_not_looked_at_more_often(file):
    clock = Clock()
    found = Tokens(file, now=clock)
    ann = one(found, ANN)
    write(file, f"bob={BOB}\ncarl={'c' * 20}\n")
    assert (found.look(), space(found, ANN)) == (False, "ann")
    clock.now += 1.0
    assert found.look()
    assert [space(found, said) for said in (ANN, BOB, "c" * 20)] == [None, "bob", "carl"]
    assert (found.knows(ann), found.knows(one(found, BOB))) == (False, True)
    clock.now += 1.0
    assert not found.look()


def test_a_token_that_is_somebody_elses_now_is_not_the_formers_any_more(file):
    clock = Clock()
    found = Tokens(file, now=clock)
    ann = one(found, ANN)
    write(file, f"eve={ANN}\n")
    clock.now += 1.0
    assert found.look()
    assert (space(found, ANN), found.knows(ann)) == ("eve", False)


def test_a_file_that_turned_bad_changes_nothing_and_is_told_once(file, caplog):
    clock = Clock()
    found = Tokens(file, now=clock)
    write(file, f"bob={BOB}\nann\n")
    for _ in range(3):
        clock.now += 1.0
        assert not found.look()
    assert space(found, ANN) == "ann"
    file.chmod(0o644)
    for _ in range(3):
        clock.now += 1.0
        assert not found.look()
    told = [record.message for record in caplog.records]
    assert [sentence.split(";")[-1] for sentence in told] == [" the former tokens stay"] * 2
    clock.now += tokens.REMIND_S
    assert not found.look()
    assert caplog.records[-1].message == told[-1]
    assert ANN not in caplog.text
    assert BOB not in caplog.text
    write(file, f"bob={BOB}\n")
    clock.now += 1.0
    assert (found.look(), space(found, ANN)) == (True, None)


def test_a_file_without_anybody_lets_nobody_in_once_it_serves(file):
    clock = Clock()
    found = Tokens(file, now=clock)
    write(file, "# all are gone\n")
    assert looks(found, clock) == [False, True, False]
    assert found.principal(ANN) is None


def test_a_file_that_is_gone_lets_nobody_in_unless_another_takes_its_place(file):
    """Issue 8: "reload on change"; who takes the file away wants nobody to come in."""
    clock = Clock()
    found = Tokens(file, now=clock)
    file.unlink()
    assert looks(found, clock, 1) == [False]
    write(file, f"ann={ANN}\n")
    assert looks(found, clock) == [True, False, False]
    assert [space(found, said) for said in (ANN, BOB)] == ["ann", None]
    file.unlink()
    assert looks(found, clock) == [False, True, False]
    assert found.principal(ANN) is None


def test_a_file_that_is_being_written_throws_nobody_out_and_lets_no_half_token_in(file, caplog):
    """Issue 8: "reload on change", by an editor that writes in place, too."""
    clock = Clock()
    found = Tokens(file, now=clock)
    for part in ("", f"ann={ANN[:20]}", f"ann={ANN}\nbob={BOB[:20]}"):
        file.write_text(part, encoding="utf-8")
        assert looks(found, clock, 1) == [False]
        assert [space(found, said) for said in (ANN, ANN[:20], BOB[:20])] == ["ann", None, None]
    file.write_text(f"ann={ANN}\nbob={BOB}\ncarl={'c' * 20}", encoding="utf-8")
    assert looks(found, clock) == [False, True, False]
    assert space(found, "c" * 20) == "carl"
    file.write_text("", encoding="utf-8")
    assert looks(found, clock) == [False] * 3
    assert space(found, ANN) == "ann"
    assert caplog.messages[-1].endswith("is empty, not even a comment is in it; the former tokens stay")


def looks(found, clock, times=3):
    """Whether other tokens counted then, a second apart."""
    told = []
    for _ in range(times):
        clock.now += 1.0
        told.append(found.look())
    return told


@pytest.mark.parametrize(
    ("header", "is_in"),
    [
        (f"Bearer {ANN}", True),
        (f"bearer  {ANN} ", True),
        (ANN, False),
        (f"Basic {ANN}", False),
        (f"Bearer {ANN}x", False),
        ("Bearer ", False),
        ("Bearer \xe4", False),
        ("", False),
    ],
)
async def test_a_token_is_taken_as_a_bearer_alone(file, header, is_in):
    async with connected(gate=Gate(tokens=Tokens(file))) as client:
        reply = await client.get("/none", headers=[(b"authorization", header.encode("latin-1"))])
        assert reply.status_code == (404 if is_in else 401)


async def test_who_does_not_say_one_is_turned_away(file):
    """Issue 8: who has no token gets no further than `/healthz`."""
    async with connected(gate=Gate(tokens=Tokens(file)), sse=True) as client:
        for path, method in (
            ("/mcp", "POST"),
            ("/mcp", "GET"),
            ("/sse", "GET"),
            ("/none", "GET"),
            ("/readyz", "POST"),
        ):
            reply = await client.request(method, path, content="{}")
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
            said = {"authorization": f"Bearer {ANN[:-1]}"}
            reply = await client.request(method, path, content="{}", headers=said)
            assert reply.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
            assert ANN[:-1] not in reply.text + str(reply.headers)
        twice = [("authorization", f"Bearer {ANN}"), ("authorization", f"Bearer {BOB}")]
        assert (await client.get("/none", headers=twice)).status_code == 401
        assert (await client.get("/healthz")).status_code == 200
        said = {"authorization": f"Bearer {ANN}"}
        assert "tools" in (await asked(client, "tools/list", headers=said))["result"]


async def test_of_a_strangers_request_no_body_is_read(file):
    """Issue 8: "body limit": it is not what keeps strangers from costing anything."""

    async def receive():
        raise AssertionError("the body was asked for")

    sent = []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        raise AssertionError("the request was passed on")

    headers = [(b"content-length", b"30000000"), (b"authorization", b"Bearer nobody")]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers, "query_string": b""}
    await Admitted(app, Gate(tokens=Tokens(file)), "/mcp")(scope, receive, send)
    assert sent[0]["status"] == 401


@asynccontextmanager
async def held(gate, **scope):
    """A request that lasts, behind the gate: what was handed on, what was sent, and that it is done."""
    handed, sent, over = [], [], anyio.Event()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await over.wait()
            return
        handed.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await anyio.sleep_forever()

    async def receive():
        await anyio.sleep_forever()
        return {}

    async def send(message):
        sent.append(message)

    admitted = Admitted(app, gate, "/mcp")
    said = [(b"authorization", f"Bearer {ANN}".encode())]
    request = {"type": "http", "method": "GET", "path": "/mcp", "headers": said, "query_string": b"", **scope}
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(admitted, {"type": "lifespan"}, receive, send)
            done = anyio.Event()

            async def run():
                await admitted(request, receive, send)
                done.set()

            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            yield handed, sent, done
            over.set()
            tasks.cancel_scope.cancel()


async def test_a_stream_ends_once_its_token_is_taken_back(file):
    """Issue 8: a token that was taken out of the file stops working within a second, for open streams too."""
    found = Tokens(file)
    async with held(Gate(tokens=found)) as (handed, sent, done):
        assert handed[0][SPACE] == "ann"
        assert not done.is_set()
        write(file, f"bob={BOB}\n")
        await done.wait()
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

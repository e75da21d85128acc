"""Local models: started at the first call, and once more if the child died before it said anything."""

from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import ModelRequest, Preparing, TextDelta, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import CallTimeout, ConfigError, Unavailable
from eai_mcp.messages import user
from eai_mcp.providers import Parts, local, local_servers
from eai_mcp.providers.local import Local
from eai_mcp.providers.local_server import Endpoint, Server
from tests.fakes import said

REQUEST = ModelRequest(messages=(user("hello"),))
DEFAULT = Model(name="local", provider="local", model="smollm2-135m")


class Heard(list[object]):
    async def __call__(self, event):
        self.append(event)


class FakeServer(Server):
    """Children 1, 2, …, of which those in `dead` have died."""

    def __init__(self, *dead):
        self.dead = dead
        self.starts = 0
        self._users = 0

    async def endpoint(self, report):
        self.starts += 1
        await report(f"start {self.starts}")
        return Endpoint(str(self.starts), "key")

    async def death(self, endpoint):
        return "was killed by signal 9" if int(endpoint.base_url) in self.dead else None


def chat(*steps):
    """A step for each child: what it says first, then its response or an error."""

    def reach(endpoint):
        first, then = steps[int(endpoint.base_url) - 1]

        async def call(request, emit):
            if first:
                await emit(TextDelta(first))
            if isinstance(then, Exception):
                raise then
            return then

        return call

    return reach


def asks(server, reach):
    async def before():
        assert not server.is_used

    return Local(server, reach, before=before)


GONE = Unavailable("connection refused")
HELLO = ("hello", said("hello"))


async def test_a_call_hears_the_start_and_then_the_reply():
    heard = Heard()

    assert await asks(FakeServer(), chat(HELLO))(REQUEST, heard) == said("hello")
    assert heard == [Preparing("start 1"), TextDelta("hello")]


async def test_a_child_that_died_unheard_is_replaced_once():
    heard = Heard()

    assert await asks(FakeServer(1), chat(("", GONE), HELLO))(REQUEST, heard) == said("hello")
    assert heard == [Preparing("start 1"), Preparing("start 2"), TextDelta("hello")]


async def test_a_child_that_dies_twice_is_reported():
    server = FakeServer(1, 2)

    with pytest.raises(
        Unavailable, match="the process of the local model was killed by signal 9; the next call"
    ):
        await asks(server, chat(("", GONE), ("", GONE)))(REQUEST, unheard)
    assert server.starts == 2


async def test_after_the_first_text_nothing_is_repeated():
    server, broken = FakeServer(1), Unavailable("broke off", partial="hel")

    with pytest.raises(Unavailable, match="was killed by signal 9") as caught:
        await asks(server, chat(("hel", broken)))(REQUEST, unheard)
    assert (server.starts, caught.value.partial) == (1, "hel")


async def test_the_error_of_a_living_child_is_passed_on():
    with pytest.raises(Unavailable) as caught:
        await asks(FakeServer(), chat(("", GONE)))(REQUEST, unheard)
    assert caught.value is GONE


async def test_the_error_of_a_child_that_answered_is_passed_on_without_a_look_at_it():
    server, unable = FakeServer(1), Unavailable("cannot read images", status=500)

    with pytest.raises(Unavailable) as caught:
        await asks(server, chat(("", unable)))(REQUEST, unheard)
    assert (caught.value, server.starts) == (unable, 1)


async def test_a_start_does_not_outlast_the_deadline():
    class Slow(FakeServer):
        async def endpoint(self, report):
            await anyio.sleep_forever()

    with pytest.raises(CallTimeout, match="not ready in time; `eai-mcp fetch`"):
        await asks(Slow(), chat())(replace(REQUEST, deadline=anyio.current_time() + 0.01), unheard)


def parts(closing, tmp_path, **fields):
    def client():
        raise AssertionError("no child, no request")

    return Parts(environ={}, client=client, closing=closing, cache=tmp_path, **fields)


async def test_offline_without_weights_is_an_error_and_no_download(tmp_path):
    async with AsyncExitStack() as closing:
        call = local.build(DEFAULT, parts(closing, tmp_path, offline=True))

        with pytest.raises(Unavailable, match=r"run `eai-mcp fetch`|pip install"):
            await call(REQUEST, unheard)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_holds_no_weights_is_named(tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("dear diary")
    async with AsyncExitStack() as closing:
        call = local.build(DEFAULT, parts(closing, tmp_path, gguf=path))

        with pytest.raises((ConfigError, Unavailable), match=r"notes\.gguf is not a GGUF file|pip install"):
            await call(REQUEST, unheard)


class Ending(Server):
    def __init__(self):
        self._users = 0
        self.is_ended = False

    async def aclose(self):
        self.is_ended = True


def ended(*servers):
    return [vars(server)["is_ended"] for server in servers]


async def test_models_with_the_same_weights_share_a_server_that_ends_with_all(tmp_path):
    async with AsyncExitStack() as closing, AsyncExitStack() as other:
        servers = local_servers.of(closing)
        one = servers.for_model("a", (None, 8192), Ending)
        assert servers.for_model("b", (None, 8192), Ending) is one
        longer = servers.for_model("c", (None, 4096), Ending)
        assert longer is not one
        assert local_servers.of(closing) is servers is not local_servers.of(other)
    assert ended(one, longer) == [True, True]


async def test_a_server_that_no_model_wants_any_more_ends_once_it_has_answered():
    servers = local_servers.Servers()
    old = servers.for_model("a", (None, 8192), Ending)
    new = servers.for_model("a", (None, 4096), Ending)
    with old.used():
        await servers.end_unwanted()
        assert ended(old) == [False]
    await servers.end_unwanted()

    assert (ended(old, new), [*servers.servers]) == ([True, False], [(None, 4096)])


async def test_a_context_too_short_for_anything_is_refused(tmp_path):
    async with AsyncExitStack() as closing:
        with pytest.raises(ConfigError, match="context_window must be 256 tokens or more"):
            local.build(replace(DEFAULT, context_window=1), parts(closing, tmp_path))

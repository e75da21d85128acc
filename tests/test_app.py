import json
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import anyio
import pytest

from eai_mcp import app, observe
from eai_mcp.chat.values import Talk
from eai_mcp.errors import ConfigError, UnknownName
from eai_mcp.formats import Tally
from eai_mcp.settings import Settings


@pytest.fixture
def settings(tmp_path, catalog):
    text = 'provider = "tests.fakes:build"\nmodel = "echo"\n'
    (tmp_path / "models" / "echo.toml").write_text(text, encoding="utf-8")
    return Settings(
        store=None, model="echo", config=tmp_path, cache=tmp_path / "cache", environ={"GIVEN_KEY": "made-up"}
    )


async def ask(opened, content, **fields):
    turn = await opened.registry.begin("", Talk(content=content, **fields))
    return await opened.registry.reply(turn, 5)


async def test_an_open_app_answers_with_its_default_model(settings):
    async with app.opened(settings) as opened:
        assert (await ask(opened, "hello there")).reply == "1: hello there"


async def test_a_call_is_made_once_and_again_when_its_model_file_changed(settings, tmp_path):
    async with app.opened(settings) as opened:
        call_for = opened.registry.beginning.call_for
        first = call_for(opened.catalog.model("echo"))
        assert call_for(opened.catalog.model("echo")) is first
        text = 'provider = "tests.fakes:build"\nmodel = "changed"\n'
        (tmp_path / "models" / "echo.toml").write_text(text, encoding="utf-8")
    async with app.opened(settings) as reopened:
        assert call_for(reopened.catalog.model("echo")) is not first


async def test_what_the_body_raises_comes_out_as_it_is(settings):
    with pytest.raises(UnknownName):
        async with app.opened(settings) as opened:
            await ask(opened, "hi", model="nobody")


async def test_closing_interrupts_a_running_turn_and_closes_the_connections(settings, tmp_path):
    text = 'provider = "openai_chat"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n'
    (tmp_path / "models" / "far.toml").write_text(text, encoding="utf-8")
    with anyio.fail_after(5):
        async with app.opened(settings) as opened:
            await opened.registry.begin("", Talk(content="hi", model="far"))
            client = opened.parts.client()
            assert opened.parts.client() is client
    assert client.is_closed


@pytest.mark.parametrize("provider", ["nowhere", "no_such_module:build", "tests.fakes:nothing", ":", "x:"])
async def test_a_provider_that_is_not_there_is_named(settings, tmp_path, provider):
    text = f'provider = "{provider}"\nmodel = "m"\n'
    (tmp_path / "models" / "odd.toml").write_text(text, encoding="utf-8")
    async with app.opened(settings) as opened:
        with pytest.raises(ConfigError, match=f"{provider}"):
            await ask(opened, "hi", model="odd")


async def test_a_model_without_its_key_says_what_is_missing(settings, tmp_path):
    for name, variable in [("keyed", "GIVEN_KEY"), ("keyless", "OTHER_KEY")]:
        text = f'model = "m"\napi_key_env = "{variable}"\nbase_url = "http://127.0.0.1:9"\n'
        (tmp_path / "models" / f"{name}.toml").write_text(text, encoding="utf-8")
    async with app.opened(settings) as opened:
        assert opened.missing(opened.catalog.model("keyed")) is None
        assert opened.missing(opened.catalog.model("keyless")) == "OTHER_KEY is not set"


def test_parts_and_settings_do_not_show_keys(settings):
    assert "made-up" not in repr(settings)


async def test_exports_cannot_overwrite_the_sessions(settings, tmp_path):
    """Issue 5: **Safety**: an export must not be able to take the place of the file with the sessions."""
    kept = replace(settings, store=tmp_path / "data" / "sessions.db")
    for exports in (tmp_path, tmp_path / "data"):
        async with app.opened(replace(kept, exports=exports)) as opened:
            with pytest.raises(ConfigError, match="name another one with EAI_MCP_EXPORTS"):
                opened.exports("")
    async with app.opened(replace(kept, exports=tmp_path / "exports")) as opened:
        assert opened.exports("").root == tmp_path / "exports"
        assert opened.exports("ann").root.is_relative_to(tmp_path / "exports" / "spaces")


async def test_long_histories_are_kept_aside_beside_the_sessions(settings, tmp_path):
    long = json.dumps([{"role": "user", "content": "x" * 6_000_000}]).encode()
    async with app.opened(replace(settings, store=tmp_path / "data" / "sessions.db")) as opened:
        archive = opened.registry.archive
        done = await archive.replace("", "work", lambda: nullcontext(iter([long])), tally=Tally())
        assert done.message_count == 1
        snapshot = (await archive.snapshot("", b"".join, tally=Tally()))[1]
    async with app.opened(replace(settings, store=tmp_path / "new" / "sessions.db")) as opened:
        back = await opened.registry.archive.restore("", lambda: nullcontext(iter([snapshot])), tally=Tally())
        assert back.message_count == 1


class Noting:
    """A middleware for tests, as `tests.test_app:Noting`."""

    heard: ClassVar[list[str]] = []

    async def turn(self, given, go_on):
        self.heard.append(f"turn {given.message.text}")
        return await go_on(given)

    async def call(self, request, emit, go_on):
        self.heard.append(f"call {request.messages[-1].text}")
        return await go_on(request, emit)


class Handed(Noting):
    """Another one."""

    heard: ClassVar[list[str]] = []


facts: list[observe.Fact] = []
hear = facts.append


async def test_middleware_and_observers_are_named_in_the_settings_or_handed_in(settings):
    """Issue 6: "through the Python API and by `module:attribute` in the settings"; "user sinks"."""
    Noting.heard.clear()
    Handed.heard.clear()
    facts.clear()
    settings = replace(settings, middleware=("tests.test_app:Noting",), observers=("tests.test_app:hear",))
    own: list[observe.Fact] = []
    async with app.opened(settings, observer=own.append, middleware=[Handed()]) as opened:
        done = await ask(opened, "hi")
    assert Noting.heard == Handed.heard == ["turn hi", "call hi"]
    assert [fact.name for fact in facts] == [
        "session.opened",
        "turn.received",
        "turn.started",
        "call.started",
        "provider.attempt",
        "provider.answered",
        "call.completed",
        "turn.completed",
    ]
    assert own == facts
    assert {fact.turn_id for fact in facts[1:]} == {done.turn_id}
    assert [fact.seq for fact in facts] == [*range(facts[0].seq, facts[0].seq + 8)]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"middleware": ("nowhere:x",)}, "middleware 'nowhere:x' cannot be loaded: ModuleNotFoundError"),
        ({"middleware": ("tests.test_app:nobody",)}, "cannot be loaded: AttributeError"),
        ({"middleware": ("Noting",)}, "middleware 'Noting': should be like module:attribute"),
        ({"middleware": ("tests.test_app:facts",)}, "has none of the methods turn, call, tool, failed"),
        ({"observers": ("nowhere:x",)}, "observer 'nowhere:x' cannot be loaded"),
        ({"observers": ("tests.test_app:facts",)}, "is no function of a fact"),
    ],
)
async def test_what_cannot_be_loaded_ends_the_start(settings, chosen, message):
    """Issue 6: "never silently open"."""
    with pytest.raises(ConfigError, match=message):
        async with app.opened(replace(settings, **chosen)):
            pass


async def test_a_model_that_fails_is_followed_by_the_next_and_the_guards_remember(settings, tmp_path):
    """Issue 6: "**Fallback** names who answered and why the first did not, in `warnings`"."""
    files = {
        "first": 'model = "fail"\nreliability = { attempts = 1, fallback = ["second"] }\n',
        "second": 'model = "fail"\nreliability = { attempts = 1, fallback = ["echo"] }\n',
    }
    for name, text in files.items():
        path = tmp_path / "models" / f"{name}.toml"
        path.write_text(f'provider = "tests.fakes:build"\n{text}', encoding="utf-8")
    async with app.opened(settings) as opened:
        done = await ask(opened, "hi", model="first")
        assert done.reply == "1: hi"
        assert done.warnings == (
            "model 'first' did not answer (provider_unavailable: nobody is there); 'echo' did",
            "model 'second' did not answer (provider_unavailable: nobody is there); 'echo' did",
        )
        assert {one.model: one.failures for one in opened.standing()} == {"fail": 2, "echo": 0}

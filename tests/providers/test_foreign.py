"""Providers of the operator's own, which may do anything."""

from contextlib import AsyncExitStack

import pytest

from eai_mcp.calls import ModelRequest, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.messages import user
from eai_mcp.providers import Parts, adapter, missing

SOURCE = """
import sys

def echo(model, parts):
    async def call(request, emit):
        return request.messages[-1].text
    return call

def leave(model, parts):
    async def call(request, emit):
        sys.exit(3)
    return call

def nothing(model, parts):
    return None

def broken(model, parts):
    return 1 / 0

def gone(model, parts):
    sys.exit(4)
"""
REQUEST = ModelRequest(messages=(user("hello"),))


@pytest.fixture
def parts(tmp_path):
    return Parts(
        environ={}, client=lambda: pytest.fail("no network"), closing=AsyncExitStack(), cache=tmp_path
    )


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the operator's own, by the name that `provider` begins with."""
    (tmp_path / "own_provider_here.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "own_broken_here.py").write_text("import no_such_module_at_all", encoding="utf-8")
    (tmp_path / "own_leaving_here.py").write_text("import sys; sys.exit(7)", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_provider_here"


def entry(provider: str) -> Model:
    return Model(name="mine", provider=provider, model="x")


async def test_a_provider_of_ones_own_is_named_by_module_and_attribute(own, parts):
    call = adapter(entry(f"{own}:echo"), parts)

    response: object = await call(REQUEST, unheard)
    assert response == "hello"


@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ("own_provider_here:nothing", "made NoneType, which is no Call"),
        ("own_provider_here:broken", "cannot be used (ZeroDivisionError: division by zero)"),
        ("own_provider_here:gone", "cannot be used (SystemExit: 4)"),
        ("own_provider_here:absent", "has no attribute 'absent'"),
        ("own_broken_here:build", "No module named 'no_such_module_at_all'"),
        ("own_leaving_here:build", "cannot be used (SystemExit: 7)"),
        ("bedrok", "no provider 'bedrok'; known: anthropic, "),
    ],
)
def test_one_that_cannot_be_used_is_an_error_that_names_it(own, parts, provider, reason):
    with pytest.raises(ConfigError) as caught:
        adapter(entry(provider), parts)

    assert "model 'mine'" in str(caught.value)
    assert reason in str(caught.value)


async def test_one_that_wants_to_end_the_process_ends_its_turn_only(own, parts):
    call = adapter(entry(f"{own}:leave"), parts)

    with pytest.raises(RuntimeError, match="tried to end the process"):
        await call(REQUEST, unheard)


@pytest.mark.parametrize(
    ("provider", "needs"),
    [
        ("own_provider_here:echo", None),
        ("no_such_module_here:build", "there is no module 'no_such_module_here' for its provider"),
        ("no.such.package.here:build", "there is no module 'no.such.package.here' for its provider"),
        ("bedrok", "there is no provider 'bedrok'"),
        (":build", "there is no provider ':build'"),
    ],
)
def test_what_is_missing_is_known_before_it_is_used(own, parts, provider, needs):
    assert missing(entry(provider), parts) == needs

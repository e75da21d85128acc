"""No statement reads a table from end to end, so a session costs the same however many others there are."""

import re

import pytest

from eai_mcp.messages import assistant, line, user
from eai_mcp.store import Put
from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import ask, asking, claim, ended, start, take

WHOLE = re.compile(r"^SCAN (message|turn|session)\b")


@pytest.fixture
async def traced():
    """A store in memory, where everything goes through one connection, and the statements that it ran."""
    store = SqliteStore(None)
    statements: list[str] = []
    connection = store._writer.connection()
    connection.set_trace_callback(statements.append)
    yield store, connection, statements
    await store.aclose()


async def everything(store):
    """Every method, so that each of its statements runs."""
    await take(store, "t1")
    begun = await claim(store, "t2", request_id="r")
    await store.append(begun, [assistant("step")])
    await store.said(begun)
    await store.renew({begun: "half"})
    await store.look([begun])
    await store.find("", "work")
    await store.attend("", "work", "t2")
    await store.interrupt("", "work")
    await store.settle(begun, ended("t2", kept=False))
    await ask(store, "t3")
    answering = await claim(store, "t3", "an answer")
    await store.settle(answering, asking("t3"))
    await store.repeated("", "work", "r")
    await store.claim("", "work", start("t4", request_id="r"))
    await store.find("", "work", "t1")
    await store.load("", "work", after=1, limit=2, most_bytes=3)
    await store.load("", "work")
    await store.list("", prefix="w", after="a")
    await store.row("", "work")
    await store.fork("", "work", "copy", upto=1)
    await store.put("", [Put(name="work", lines=[line(user("new"), turn_id="t", at=1.0)])])
    await store.load("", "work", revision=1)
    await store.ensure("", "other")
    await store.delete("", "work")


async def test_every_statement_finds_its_rows_by_an_index(traced):
    store, connection, statements = traced
    await everything(store)
    connection.set_trace_callback(None)

    whole = []
    for statement in dict.fromkeys(
        each for each in statements if not each.startswith(("--", "BEGIN", "COMMIT"))
    ):
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        whole += [(step["detail"], statement) for step in plan if WHOLE.match(step["detail"])]
    assert len(statements) > 100
    assert whole == []

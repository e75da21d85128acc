"""Tasks that have ended: what is told of them then, and that it stays so whatever becomes of their turns."""

from typing import Any

import pytest

from eai_mcp.errors import Rejected
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Held, said
from tests.server.calling import call
from tests.server.sitting import Sitting, asks
from tests.server.tasking import ask, begun, later, talk, until

NEWER = pytest.mark.parametrize("era", ["2026-07-28"])


@NEWER
@pytest.mark.parametrize("way", ["declined", "late", "nobody"])
async def test_a_task_that_is_complete_stays_so_in_every_process(declaring, tmp_path, way):
    """SEP-2663: from completed, cancelled and failed a task goes nowhere."""
    store = {"store": SqliteStore(tmp_path / "sessions.db")}
    limits: Any = {"elicit_limit_s": -1} if way == "late" else {}
    held, play = later(asks("Which colour?"))
    answered = Held("so far")
    asked = Sitting() if way != "nobody" else None
    async with declaring(play, answered, person=asked, **limits, **store) as (client, _):
        task = await begun(client)
        held.let_go.set()
        if way == "declined":
            ((key, _),) = (await until(client, task, "input_required"))["inputRequests"].items()
            await ask(client, "tasks/update", taskId=task, inputResponses={key: {"action": "decline"}})
        done = await until(client, task, "completed", "input_required")
        told = done["result"]["structuredContent"]
        assert (done["status"], told["status"], told["reply"]) == (
            "completed",
            "awaiting_input",
            "Which colour?",
        )
        assert await ask(client, "tasks/get", taskId=task) == done
        others = SqliteStore(tmp_path / "sessions.db")
        async with declaring(person=Sitting(), store=others) as (other, _):
            assert (await ask(other, "tasks/get", taskId=task))["status"] == "completed"
            await ask(other, "tasks/cancel", taskId=task)
            yes = {"action": "accept", "content": {"answer": "blue"}}
            await ask(other, "tasks/update", taskId=task, inputResponses={"answer-1": yes})
            assert await ask(other, "tasks/get", taskId=task) == done
        again = await begun(client, content="blue")
        assert again != task
        assert (await ask(client, "tasks/get", taskId=again))["status"] == "working"
        assert (await ask(client, "tasks/get", taskId=task))["status"] == "completed"
        await call(client, "interrupt")
        assert (await ask(client, "tasks/get", taskId=again))["status"] == "cancelled"
        assert (await ask(client, "tasks/get", taskId=task))["status"] == "completed"


@NEWER
async def test_an_answer_that_fails_completes_its_task_for_good(declaring):
    """SEP-2663: the same where the question is open again."""
    held, play = later(asks("Which colour?"))
    steps = (play, Rejected("not like this"), said("Painted."))
    async with declaring(*steps, person=Sitting()) as (client, _):
        task = await begun(client)
        held.let_go.set()
        ((key, _),) = (await until(client, task, "input_required"))["inputRequests"].items()
        yes = {"action": "accept", "content": {"answer": "blue"}}
        await ask(client, "tasks/update", taskId=task, inputResponses={key: yes})
        for _ in range(2):
            result = (await until(client, task, "completed", "input_required"))["result"]
            assert result["structuredContent"]["error"]["code"] == "provider_rejected"
        assert (await talk(client, content="blue")).structured_content["reply"] == "Painted."
        assert (await ask(client, "tasks/get", taskId=task))["status"] == "completed"


@NEWER
async def test_a_task_says_when_it_changed(declaring):
    """SEP-2663: `lastUpdatedAt` is when the status last changed, and never before `createdAt`."""
    held = Held("", "Painted.")
    async with declaring(held) as (client, _):
        made: Any = (await talk(client)).model_extra
        assert made["lastUpdatedAt"] == made["createdAt"]
        held.let_go.set()
        done = await until(client, made["taskId"], "completed")
        assert done["createdAt"] <= done["lastUpdatedAt"]
        assert await ask(client, "tasks/get", taskId=made["taskId"]) == done

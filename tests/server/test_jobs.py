"""Turns as tasks, for clients that declare the extension."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.extension import advertise
from mcp.shared.exceptions import MCPError

from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import Talk
from eai_mcp.errors import Rejected
from eai_mcp.server.jobs import Jobs, TaskParams, UpdateParams, made
from eai_mcp.server.principal import SPACE
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Held, Scripted, said
from tests.server.calling import call
from tests.server.sitting import DECLINES, Sitting, asks
from tests.server.tasking import TASKS, Polling, ask, begun, later, talk, until

MODERN = "2026-07-28"
NEWER = pytest.mark.parametrize("era", [MODERN])
OLDER = pytest.mark.parametrize("era", ["legacy"])


@NEWER
async def test_a_talk_that_goes_on_is_answered_with_a_task_that_has_the_whole_result_at_last(declaring):
    """Issue 8: "Tasks extension on the turn object for clients that declare it"."""
    held = Held("Mixing the colours. ", "Painted.")
    async with declaring(held) as (client, _):
        task = (await talk(client, chat_session="art")).model_extra
        assert (task["status"], task["statusMessage"]) == ("working", "Mixing the colours.")
        assert (task["ttlMs"], task["pollIntervalMs"]) == (None, 1000)
        told = await ask(client, "tasks/get", taskId=task["taskId"])
        assert told == {**task, "lastUpdatedAt": told["lastUpdatedAt"], "resultType": "complete"}
        held.let_go.set()
        done = await until(client, task["taskId"], "completed")
        again = await client.session.call_tool("wait_for_reply", {"chat_session": "art"})
    assert done["createdAt"] == task["createdAt"]
    assert done["result"] == again.model_dump(by_alias=True, mode="json", exclude_none=True, exclude={"meta"})
    assert done["result"]["structuredContent"]["reply"] == "Mixing the colours. Painted."
    assert done["result"]["content"][0]["text"] == "Mixing the colours. Painted."


@NEWER
async def test_a_client_that_asks_until_the_task_is_done_sees_the_reply_as_ever(declaring):
    """Issue 8: the result that the call would have given."""
    held = Held("", "Painted.")

    async def letting_go(context, claimed):
        held.let_go.set()

    async with declaring(held, extensions=[Polling(letting_go)]) as (client, _):
        told = (await client.call_tool("talk", {"content": "paint"})).structured_content
    assert (told["status"], told["reply"]) == ("completed", "Painted.")


@NEWER
async def test_what_is_done_soon_or_has_a_limit_of_its_own_is_no_task(declaring):
    """Issue 8: with an explicit timeout_ms, or a turn to be stopped at a limit, all is as without."""
    async with declaring(said("Painted."), Held(), Held()) as (client, _):
        assert (await talk(client)).structured_content["reply"] == "Painted."
        slow = await talk(client, chat_session="slow", timeout_ms=10)
        waited = await client.session.call_tool(
            "wait_for_reply", {"chat_session": "slow", "timeout_ms": 10}, allow_claimed=True
        )
        stopped = await talk(client, on_timeout="interrupt")
    assert slow.structured_content["status"] == waited.structured_content["status"] == "running"
    assert stopped.structured_content["status"] == "interrupted"


@NEWER
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_who_does_not_declare_it_is_told_what_is_missing(connected, method):
    """SEP-2663: -32021, with the extension that the request has to declare."""
    async with connected(Held(), inline_wait_s=0.01) as (client, _):
        assert (await talk(client)).structured_content["status"] == "running"
        with pytest.raises(MCPError) as raised:
            await ask(client, method, taskId="any")
        needed: Any = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        assert (raised.value.error.code, raised.value.error.data) == (-32021, needed)


@OLDER
@pytest.mark.parametrize(
    "method", ["tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result"]
)
async def test_on_the_older_protocol_there_is_no_such_thing(declaring, method):
    """Issue 8: "nobody else sees it"."""
    async with declaring(Held(), extensions=[advertise(TASKS)]) as (client, _):
        assert client.server_capabilities.extensions is None
        assert (await talk(client)).structured_content["status"] == "running"
        with pytest.raises(MCPError) as raised:
            await ask(client, method, taskId="any")
        assert raised.value.error.code == -32601


@NEWER
async def test_a_turn_that_fails_completes_its_task_with_the_error(declaring):
    """SEP-2663: a tool's error is a completed task; `failed` is for errors of the protocol."""
    held = Held()

    async def then_fails(request, emit):
        await held(request, emit)
        raise Rejected("not like this")

    async with declaring(then_fails) as (client, _):
        task = await begun(client)
        held.let_go.set()
        result = (await until(client, task, "completed"))["result"]
    assert result["isError"]
    assert result["structuredContent"]["error"]["code"] == "provider_rejected"
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@NEWER
async def test_a_task_that_is_cancelled_is_an_interrupted_turn(declaring):
    """Issue 8: `tasks/cancel` interrupts the turn, and acknowledges."""
    held = Held("so far")
    async with declaring(held) as (client, _):
        task = await begun(client)
        for _ in range(2):
            assert await ask(client, "tasks/cancel", taskId=task) == {"resultType": "complete"}
        told = await until(client, task, "cancelled")
        assert told["statusMessage"] == "the turn was interrupted; the history has what was said"
        history = (await call(client, "get_history")).structured_content["messages"]
    assert held.cancelled
    assert history[-1]["partial"]


@NEWER
async def test_a_question_of_a_task_is_answered_by_update(declaring):
    """Issue 8: `tasks/update` answers the question, in the person's words."""
    held, play = later(asks("Which colour?"))
    steps = (play, asks("Light or dark?"), said("Painted."), said("never"))
    async with declaring(*steps, person=Sitting()) as (client, model):
        task = await begun(client)
        held.let_go.set()
        keys = []
        for question, answer in (("Which colour?", "blue"), ("Light or dark?", "dark")):
            told = await until(client, task, "input_required")
            ((key, wanted),) = told["inputRequests"].items()
            assert (wanted["method"], wanted["params"]["message"]) == ("elicitation/create", question)
            keys.append(key)
            accepted = {"action": "accept", "content": {"answer": answer}}
            odds: Any = ({}, {"other": accepted}, {key: {"roots": []}})
            for odd in odds:
                assert await ask(client, "tasks/update", taskId=task, inputResponses=odd) == {
                    "resultType": "complete"
                }
            for _ in range(2):
                await ask(client, "tasks/update", taskId=task, inputResponses={key: accepted})
        done = await until(client, task, "completed")
    assert done["result"]["structuredContent"]["reply"] == "Painted."
    assert len(set(keys)) == 2, "a key is never used for two questions"
    assert [r.messages[-1].content[0].content[0].text for r in model.requests[1:]] == ["blue", "dark"]


@NEWER
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "the person at the client declined to answer; the question is still open"),
        (
            {"elicit_limit_s": -1},
            "the person at the client did not answer within -1 s; the question is still",
        ),
        ({"elicit": False}, None),
        ({"person": None}, None),
    ],
)
async def test_a_question_that_nobody_answers_is_the_result_and_stays_open(declaring, more, why):
    """Issue 8: without somebody to ask, completed with the result awaiting_input."""
    held, play = later(asks("Which colour?"))
    async with declaring(play, said("Painted."), **{"person": Sitting(), **more}) as (client, _):
        task = await begun(client)
        held.let_go.set()
        if more == {}:
            ((key, _),) = (await until(client, task, "input_required"))["inputRequests"].items()
            declined = DECLINES.model_dump(mode="json", exclude_none=True)
            await ask(client, "tasks/update", taskId=task, inputResponses={key: declined})
        told = (await until(client, task, "completed"))["result"]["structuredContent"]
        assert (told["status"], told["reply"]) == ("awaiting_input", "Which colour?")
        assert told["warnings"] == [] if why is None else told["warnings"][0].startswith(why)
        done = await talk(client, content="blue")
    assert done.structured_content["reply"] == "Painted."


@NEWER
async def test_cancelling_a_task_drops_its_question(declaring):
    held, play = later(asks("Which colour?"))
    async with declaring(play, person=Sitting()) as (client, _):
        task = await begun(client)
        held.let_go.set()
        await until(client, task, "input_required")
        await ask(client, "tasks/cancel", taskId=task)
        assert (await ask(client, "tasks/get", taskId=task))["status"] == "cancelled"
        (row,) = (await call(client, "list_sessions")).structured_content["sessions"]
    assert row["status"] == "idle"


@NEWER
async def test_an_answer_that_cannot_be_sent_is_an_error_of_the_protocol(declaring):
    held, play = later(asks("Which colour?"))
    async with declaring(play, person=Sitting()) as (client, _):
        task = await begun(client)
        held.let_go.set()
        ((key, _),) = (await until(client, task, "input_required"))["inputRequests"].items()
        long = {"action": "accept", "content": {"answer": "x" * 20_000_000}}
        with pytest.raises(MCPError) as raised:
            await ask(client, "tasks/update", taskId=task, inputResponses={key: long})
        assert (raised.value.error.code, raised.value.error.data) == (-32602, {"code": "limit_exceeded"})


@NEWER
async def test_what_is_asked_soon_comes_before_the_task(declaring):
    """SEP-2663: exchanges with the person are over before the call is answered with a task."""
    held = Held("", "Painted.")
    async with declaring(asks("Which colour?"), held, person=Sitting()) as (client, _):
        first = await talk(client)
        task = await client.session.call_tool(
            "talk",
            {"content": "paint"},
            input_responses={"answer": types.ElicitResult(action="accept", content={"answer": "blue"})},
            request_state=first.request_state,
            allow_claimed=True,
        )
        held.let_go.set()
        done = await until(client, task.model_extra["taskId"], "completed")
    assert done["result"]["structuredContent"]["reply"] == "Painted."


def named(*words):
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


@NEWER
@pytest.mark.parametrize(
    "task",
    [
        "",
        "nonsense",
        "é",
        named(),
        named("default", "t_1", 1.0),
        named("nowhere", "t_1", 1.0),
        named("a b\n", "t_1", 1.0),
        named(1, "t_1", 1.0),
        named("default", None, 1.0),
        named("default", "t_1", "now"),
        named("default", "t_1", 1e300),
        named("default", "t_1", float("nan")),
        base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("="),
    ],
)
async def test_a_task_that_is_none_is_an_error_of_the_protocol(declaring, task):
    """SEP-2663: an id that is invalid, or of no task, is -32602."""
    async with declaring() as (client, _):
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(MCPError) as raised:
                await ask(client, method, taskId=task)
            assert raised.value.error.code == -32602
            assert len(raised.value.error.message) < 500


@NEWER
async def test_a_task_is_found_by_another_server_on_the_same_sessions(declaring, tmp_path):
    """Issue 8: a task outlives the process that made it."""
    file = tmp_path / "sessions.db"
    held = Held("so far", " and done")
    async with declaring(held, store=SqliteStore(file)) as (client, _):
        task = await begun(client)
        held.let_go.set()
        done = await until(client, task, "completed")
    async with declaring(store=SqliteStore(file)) as (client, _):
        told = await ask(client, "tasks/get", taskId=task)
    assert told == {**done, "lastUpdatedAt": told["lastUpdatedAt"]}


@dataclass
class Session:
    """A connection that declares tasks."""

    protocol_version = MODERN
    client_capabilities = types.ClientCapabilities(extensions={TASKS: {}})


@dataclass
class Context:
    """A request of some principal."""

    space: str
    session: Any
    method: str = "tasks/get"

    @property
    def request(self):
        return type("Http", (), {"scope": {SPACE: self.space}})


async def test_nobody_finds_the_task_of_another_principal(registries):
    """Issue 8: "no principal can name, list, read, interrupt, export or subscribe to another's"."""
    registry = registries(said("Painted."))
    turn = await registry.begin("anna", Talk(content="paint"))
    params = UpdateParams(task_id=made(await registry.reply(turn, 5))["taskId"])
    jobs = Jobs(registry, is_asking=False, limit_s=1)
    own: Any = Context("anna", Session())
    assert (await jobs.on_get(own, params))["status"] == "completed"
    others: Any = Context("bert", Session())
    for handler in (jobs.on_get, jobs.on_update, jobs.on_cancel):
        with pytest.raises(MCPError, match="unknown task"):
            await handler(others, params)


async def test_whoever_looks_at_a_task_waits_for_its_turn(registries, tmp_path):
    """Issue 8: a turn that nobody waits for is stopped, but not one whose task is looked at."""
    held, file = Held("so far"), tmp_path / "sessions.db"
    registry, other = registries(held, store=SqliteStore(file)), registries(store=SqliteStore(file))
    turn = await registry.begin("anna", Talk(content="paint"))
    await held.reached.wait()
    params, left_at = TaskParams(task_id=made(turn.standing())["taskId"]), turn.left_at
    context: Any = Context("anna", Session())
    await Jobs(registry, is_asking=False, limit_s=1).on_get(context, params)
    assert turn.left_at > left_at
    store = SqliteStore(file)
    with anyio.fail_after(5):
        while not (await store.look([turn.claim])).attended:
            await Jobs(other, is_asking=False, limit_s=1).on_get(context, params)
    await store.aclose()


@pytest.fixture
async def registries(catalog):
    """Makes registries of sessions, each with a model that plays the given steps."""
    made = []
    async with anyio.create_task_group() as tasks:

        def make(*steps, store=None):
            model, store = Scripted([*steps]), store or SqliteStore(None)
            registry = Registry(
                store=store,
                catalog=catalog,
                call_for=lambda _: model,
                tasks=tasks,
                default_model="plain",
            )
            made.append((registry, store))
            return registry

        yield make
        for registry, store in made:
            await registry.aclose()
            await store.aclose()
        tasks.cancel_scope.cancel()

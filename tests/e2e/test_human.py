"""People who talk through their client, over each transport, and whose server dies in between."""

import httpx2
import pytest
from mcp.client import Client
from mcp_types import ElicitResult

from tests.e2e.silent_provider import dialogue
from tests.e2e.test_asking_over_http import BLUE, FORMS, PAINT, connected, posted
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(60)
HUMAN = {"mode": "human"}
DECLINED = {"action": "decline"}


def saying(*words):
    """A person who says some words, one form after the other, and then declines; and what they saw."""
    left, seen = [*words], []

    def person(form):
        seen.append(form["message"])
        return {"action": "accept", "content": {"answer": left.pop(0)}} if left else DECLINED

    return person, seen


SAID = ["What do you want to say to echo?", "messages=1 last=hello", "messages=3 last=more"]


@pytest.mark.parametrize("carrier", ["stdio", "sse"])
async def test_a_person_talks_where_the_call_stays_open(house, carrier):
    """Issue 8: `talk(mode="human")` by elicitation, a turn for each message until the person declines."""
    person, seen = saying("hello", "more")
    server = served(house.command, house.environment, era=LEGACY, person=person)
    if carrier == "sse":
        async with house.carried("sse") as url, connected(url, person) as wire:
            told = (await wire.call("talk", **HUMAN))["structuredContent"]
            history = await dialogue(wire)
    else:
        async with server as wire:
            told = (await wire.call("talk", **HUMAN))["structuredContent"]
            history = await dialogue(wire)
    assert seen == SAID
    assert [text for _, text, _ in history] == ["hello", SAID[1], "more", SAID[2]]
    assert told["reply"] == SAID[2]
    assert told["warnings"] == ["2 turns; the person at the client declined to go on"]


async def test_a_person_talks_in_rounds_that_come_to_any_replica(house):
    """Issue 8: `InputRequiredResult` with state that only this server can open, also with several of it."""
    async with house.carried("http") as one, house.carried("http") as two, httpx2.AsyncClient() as client:
        result = await posted(client, one, **HUMAN)
        for url, words, shown in ((two, "hello", SAID[1]), (one, "more", SAID[2])):
            again = {**answering(words), "requestState": result["requestState"]}
            result = await posted(client, url, resumed=again, **HUMAN)
            assert result["inputRequests"]["answer"]["params"]["message"] == shown
            # A client that sends its request twice has not been asked twice.
            result = await posted(client, url, resumed=again, **HUMAN)
        ended = {"inputResponses": {"answer": DECLINED}, "requestState": result["requestState"]}
        told = (await posted(client, two, resumed=ended, **HUMAN))["structuredContent"]
    assert (told["reply"], told["warnings"][-1][:8]) == (SAID[2], "2 turns;")
    assert len(house.provider.asked) == 2


def answering(words):
    return {"inputResponses": {"answer": {"action": "accept", "content": {"answer": words}}}}


async def test_where_nobody_can_be_asked_the_error_names_the_other_way(house):
    """Issue 8: without the capability, or on legacy stateless HTTP, an error that names `eai-mcp chat`."""

    async def never(context, params):
        return ElicitResult(action="cancel")

    async with house.carried("http") as url:
        async with Client(url, mode="legacy", elicitation_callback=never) as client:
            error = (await client.call_tool("talk", HUMAN)).structured_content["error"]
        assert (error["code"], "`eai-mcp chat`" in error["message"]) == ("invalid_argument", True)
        async with Client(url, mode=MODERN) as client:
            assert (await client.call_tool("talk", HUMAN)).structured_content["error"] == error


async def test_what_was_asked_before_a_kill_is_answered_behind_it(house):
    """Issue 8: a question asked in one process, answered through another one after kill -9 of the first."""
    house.environment["EAI_MCP_ELICIT"] = "1"
    async with house.server(era=MODERN) as wire:
        asked = await called(wire, **PAINT)
        first = await called(wire, **HUMAN, chat_session="art")
        wire.process.kill()
        await wire.process.wait()
    async with house.server(era=MODERN) as wire:
        done = await called(wire, **PAINT, state=asked["requestState"], responses={"answer": BLUE})
        assert done["structuredContent"]["reply"] == "You said: blue"
        state, words = first["requestState"], answering("hello")["inputResponses"]
        second = await called(wire, **HUMAN, chat_session="art", state=state, responses=words)
        assert second["inputRequests"]["answer"]["params"]["message"] == SAID[1]
        for wrong in (state[:-4] + "AAAA", asked["requestState"]):
            number = await wire.begin(
                "tools/call",
                name="talk",
                arguments=HUMAN,
                _meta=FORMS,
                requestState=wrong,
                inputResponses=words,
            )
            assert (await wire.answer(number))["error"]["code"] == -32602
    assert (house.store.parent / "sessions.db-key").stat().st_mode & 0o777 == 0o600


async def called(wire, state=None, responses=None, **arguments):
    """The result of `talk` for a client that can ask."""
    resumed = {"requestState": state, "inputResponses": responses} if state else {}
    return await wire.ask("tools/call", name="talk", arguments=arguments, _meta=FORMS, **resumed)

"""Questions of turns put to the person at the client, in both protocol generations."""

import json

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from eai_mcp import settings
from eai_mcp.calls import TextDelta
from tests.fakes import Held, said
from tests.server.calling import call, refused
from tests.server.sitting import Sitting, asks, at

MODERN = "2026-07-28"
OLDER = pytest.mark.parametrize("era", ["legacy"])
NEWER = pytest.mark.parametrize("era", [MODERN])


async def test_the_persons_answer_goes_to_the_paused_turn_and_the_call_returns_its_reply(connected):
    """Issue 6: elicitation is used when the client has it and the operator allows it, in both eras."""
    person = Sitting("blue")
    async with connected(asks("Which colour?"), said("Painted."), **at(person)) as (client, model):
        told = (await call(client, "talk", content="paint", chat_session="art")).structured_content
        history = (await call(client, "get_history", chat_session="art")).structured_content
    assert (told["status"], told["reply"], told["warnings"]) == ("completed", "Painted.", [])
    (asked,) = person.asked
    assert asked.message == "Which colour?"
    assert asked.requested_schema["properties"]["answer"]["type"] == "string"
    assert "'art'" in asked.requested_schema["properties"]["answer"]["description"]
    assert [each["role"] for each in history["messages"]] == ["user", "assistant", "user", "assistant"]
    assert model.requests[1].messages[-1].content[0].content[0].text == "blue"
    assert {each["turn_id"] for each in history["messages"]} == {told["turn_id"]}


async def test_questions_may_follow_one_another(connected):
    """Issue 6: chained yields."""
    person = Sitting("blue", "dark")
    steps = (asks("Which colour?"), asks("Light or dark?"), said("Painted."))
    async with connected(*steps, **at(person)) as (client, _):
        told = (await call(client, "talk", content="paint")).structured_content
    assert told["reply"] == "Painted."
    assert (told["usage"]["input"], told["usage"]["output"]) == (6, 9), "of all that the call led to"
    assert [asked.message for asked in person.asked] == ["Which colour?", "Light or dark?"]


async def test_after_ten_questions_the_last_one_is_left_open(connected):
    person = Sitting(*"abcdefghij")
    steps = [asks(f"Question {number}?") for number in range(11)]
    async with connected(*steps, **at(person)) as (client, _):
        told = (await call(client, "talk", content="paint")).structured_content
    assert (told["status"], told["reply"]) == ("awaiting_input", "Question 10?")
    assert len(person.asked) == 10


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (types.ElicitResult(action="decline"), "the person at the client declined to answer"),
        (types.ElicitResult(action="cancel"), "the person at the client dismissed the question"),
        (
            types.ElicitResult(action="accept", content={"answer": " "}),
            "the person at the client answered no",
        ),
        (types.ElicitResult(action="accept"), "the person at the client answered nothing"),
    ],
)
async def test_without_an_answer_the_question_stays_open(connected, answer, why):
    """Issue 6: with `awaiting_input` as the fallback."""
    person = Sitting(answer)
    async with connected(asks("Which colour?"), said("Painted."), **at(person)) as (client, _):
        told = (await call(client, "talk", content="paint")).structured_content
        assert (told["status"], told["reply"]) == ("awaiting_input", "Which colour?")
        (warning,) = told["warnings"]
        assert warning.startswith(why)
        assert warning.endswith("; the question is still open")
        done = await client.session.call_tool("talk", {"content": "blue"})
    assert done.structured_content["turn_id"] == told["turn_id"]
    assert done.structured_content["reply"] == "Painted."


async def test_a_client_that_fails_to_ask_leaves_the_question_open(connected, era):
    person = Sitting(types.ErrorData(code=-1, message="no screen"))
    async with connected(asks("Which colour?"), **at(person)) as (client, _):
        if era == MODERN:  # there the client asks between two calls of the tool, and gives up by itself
            with pytest.raises(MCPError, match="no screen"):
                await client.call_tool("talk", {"content": "paint"})
        else:
            told = (await call(client, "talk", content="paint")).structured_content
            assert told["warnings"] == ["the client could not ask the person; the question is still open"]
        (row,) = (await call(client, "list_sessions")).structured_content["sessions"]
    assert (row["status"], row["question"]) == ("awaiting_input", "Which colour?")


@pytest.mark.parametrize("more", [{"elicit": False}, {"client": None}])
async def test_nobody_is_asked_unless_operator_and_client_want_it(connected, more):
    """Issue 6: when the client has it and the operator allows it."""
    person = Sitting()
    async with connected(asks("Which colour?"), **at(person, **more)) as (client, _):
        told = (await call(client, "talk", content="paint")).structured_content
    assert (told["status"], told["warnings"], person.asked) == ("awaiting_input", [], [])


@OLDER
@pytest.mark.parametrize("limits", [{"elicit_limit_s": 0.05}, {"inline_wait_s": 0.05}])
async def test_on_the_older_protocol_a_person_who_is_slow_is_not_waited_for(connected, limits):
    """Issue 6: with a limit; the form is taken back at the client."""
    taken_back = anyio.Event()

    async def think():
        try:
            await anyio.sleep_forever()
        finally:
            taken_back.set()

    async with connected(asks("Which colour?"), **at(Sitting(think), **limits)) as (client, _):
        told = (await call(client, "talk", content="paint")).structured_content
        await taken_back.wait()
    assert told["status"] == "awaiting_input"
    assert "did not answer within" in told["warnings"][0]


@NEWER
async def test_on_the_newer_protocol_an_answer_that_comes_late_is_not_used(connected):
    """Issue 6: with a limit."""
    person = Sitting("blue")
    async with connected(asks("Which colour?"), **at(person, elicit_limit_s=-1)) as (client, model):
        told = (await call(client, "talk", content="paint")).structured_content
    assert told["status"] == "awaiting_input"
    assert "came later than" in told["warnings"][0]
    assert len(model.requests) == 1


@OLDER
async def test_nobody_is_asked_by_a_call_that_does_not_wait(connected):
    """Issue 6: with a limit."""
    person = Sitting()
    async with connected(asks("Which colour?"), **at(person)) as (client, _):
        asked = await client.call_tool("talk", {"content": "paint", "timeout_ms": 0})
        again = (await call(client, "wait_for_reply", timeout_ms=0)).structured_content
    assert {asked.structured_content["status"], again["status"]} <= {"running", "awaiting_input"}
    assert person.asked == []


@OLDER
async def test_a_call_that_is_cancelled_takes_its_form_back(connected):
    """Issue 6: on the newer protocol the call has been answered when the person is asked."""
    shown, taken_back = anyio.Event(), anyio.Event()

    async def think():
        try:
            shown.set()
            await anyio.sleep_forever()
        finally:
            taken_back.set()

    async with connected(asks("Which colour?"), **at(Sitting(think))) as (client, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "talk", {"content": "paint"})
            await shown.wait()
            tasks.cancel_scope.cancel()
        await taken_back.wait()
        (row,) = (await call(client, "list_sessions")).structured_content["sessions"]
    assert row["status"] == "awaiting_input"


async def test_an_answer_to_a_question_that_others_answered_meanwhile_is_refused(connected):
    """Issue 6: the answer goes to the paused step, not to a fresh turn."""
    steps = (asks("Which colour?"), said("Painted."), said("never"))
    others: list[object] = []

    async def slowly():
        others.append(await client.session.call_tool("talk", {"content": "red"}))
        return types.ElicitResult(action="accept", content={"answer": "blue"})

    async with connected(*steps, **at(Sitting(slowly))) as (client, model):
        error = await refused(client, "talk", content="paint")
    assert error["code"] == "conflict"
    assert "is not open any more" in error["message"]
    assert len(model.requests) == 2


async def test_an_answer_to_a_question_that_others_dropped_meanwhile_is_refused(connected):
    """Issue 6: `interrupt` drops it."""

    async def slowly():
        await client.session.call_tool("interrupt", {})
        return types.ElicitResult(action="accept", content={"answer": "blue"})

    async with connected(asks("Which colour?"), said("never"), **at(Sitting(slowly))) as (client, model):
        assert (await refused(client, "talk", content="paint"))["code"] == "conflict"
    assert len(model.requests) == 1


async def test_waiting_for_a_reply_asks_too(connected):
    held = Held()

    async def then_asks(request, emit):
        await held.let_go.wait()
        return asks("Which colour?")

    async with connected(then_asks, said("Painted."), **at(Sitting("blue"))) as (client, _):
        await call(client, "talk", content="paint", timeout_ms=0)
        held.let_go.set()
        told = (await call(client, "wait_for_reply")).structured_content
    assert told["reply"] == "Painted."


async def test_the_reply_to_an_answer_may_be_waited_for_as_any_other(connected):
    held = Held("so far")
    async with connected(asks("Which colour?"), held, **at(Sitting("blue"), inline_wait_s=5)) as (client, _):
        async with anyio.create_task_group() as tasks:
            answers = []

            async def talk():
                limits = {"timeout_ms": 300, "on_timeout": "interrupt"}
                answers.append((await call(client, "talk", content="paint", **limits)).structured_content)

            tasks.start_soon(talk)
            await held.reached.wait()
        assert answers[0]["status"] == "interrupted"
        assert answers[0]["reply"] == "so far"


@OLDER
async def test_progress_goes_on_rising_behind_an_answer(connected):
    """Issue 6: text to progress; its value must rise as long as the call lasts."""
    values: list[float] = []
    seen = [anyio.Event(), anyio.Event()]

    def says(number, response):
        async def step(request, emit):
            await emit(TextDelta("words"))
            await seen[number].wait()
            return response

        return step

    async def listen(progress, total, message):
        values.append(progress)
        seen[len(values) - 1].set()

    steps = (says(0, asks("Which colour?")), says(1, said("Painted.")))
    async with connected(*steps, **at(Sitting("blue"))) as (client, _):
        done = await client.call_tool("talk", {"content": "paint"}, progress_callback=listen)
    assert done.structured_content["reply"] == "Painted."
    assert values[0] < values[1]


async def by_hand(client, state=None, responses=None, content="paint"):
    return await client.session.call_tool(
        "talk",
        {"content": content},
        input_responses=responses,
        request_state=state,
        allow_input_required=True,
    )


def answering(text):
    return {"answer": types.ElicitResult(action="accept", content={"answer": text})}


@NEWER
async def test_a_call_that_comes_again_says_nothing_a_second_time(connected):
    """Issue 6: in both protocol eras."""
    steps = (asks("Which colour?"), said("Painted."), said("never"))
    async with connected(*steps, **at(Sitting())) as (client, model):
        first = await by_hand(client)
        assert list(first.input_requests) == ["answer"]
        assert "default" not in first.request_state, "what goes through the client is sealed"
        again = await by_hand(client, first.request_state)
        assert list(again.input_requests) == ["answer"]
        done = await by_hand(client, again.request_state, answering("blue"))
        assert done.structured_content["reply"] == "Painted."
        twice = await by_hand(client, again.request_state, answering("blue"))
        assert twice.structured_content["error"]["code"] == "conflict"
        history = (await call(client, "get_history")).structured_content
    assert history["message_count"] == 4
    assert len(model.requests) == 2


@NEWER
async def test_a_state_of_another_question_of_the_same_turn_is_refused(connected):
    """Issue 6: chained yields."""
    steps = (asks("Which colour?"), asks("Light or dark?"), said("never"))
    async with connected(*steps, **at(Sitting())) as (client, model):
        first = await by_hand(client)
        second = await by_hand(client, first.request_state, answering("blue"))
        assert second.input_requests["answer"].params.message == "Light or dark?"
        late = await by_hand(client, first.request_state, answering("red"))
    assert late.structured_content["error"]["code"] == "conflict"
    assert len(model.requests) == 2


@NEWER
async def test_a_state_that_was_used_answers_no_later_question_in_the_same_words(connected):
    """Issue 6: chained yields; a client that sends its request twice has not been asked twice."""
    steps = (asks("Sure?"), asks("Sure?"), said("never"))
    async with connected(*steps, **at(Sitting())) as (client, model):
        first = await by_hand(client)
        second = await by_hand(client, first.request_state, answering("yes"))
        assert second.input_requests["answer"].params.message == "Sure?"
        twice = await by_hand(client, first.request_state, answering("yes"))
    assert twice.structured_content["error"]["code"] == "conflict"
    assert len(model.requests) == 2


@NEWER
async def test_what_answers_nothing_leads_to_the_same_question_again(connected):
    async with connected(asks("Sure?"), said("Done."), **at(Sitting())) as (client, model):
        state = (await by_hand(client)).request_state
        for odd in ({}, {"other": answering("x")["answer"]}):
            again = await by_hand(client, state, odd)
            assert again.input_requests["answer"].params.message == "Sure?"
        several = types.ElicitResult(action="accept", content={"answer": ["a", "b"]})
        told = (await by_hand(client, state, {"answer": several})).structured_content
        assert told["warnings"] == ["the person at the client answered nothing; the question is still open"]
        long = await by_hand(client, state, answering("x" * 20_000_000))
        assert long.structured_content["error"]["code"] == "limit_exceeded"
        assert (await by_hand(client, state, answering("yes"))).structured_content["reply"] == "Done."
    assert len(model.requests) == 2


@NEWER
async def test_a_state_that_is_not_ours_is_refused(connected):
    async with connected(asks("Which colour?"), **at(Sitting())) as (client, model):
        state = (await by_hand(client)).request_state
        for wrong, content in ((state[:-4] + "AAAA", "paint"), ("{}", "paint"), (state, "something else")):
            with pytest.raises(MCPError, match="Invalid or expired requestState"):
                await by_hand(client, wrong, answering("blue"), content)
        alone = await by_hand(client, None, answering("blue"))
        assert alone.structured_content["error"]["code"] == "invalid_argument"
    assert len(model.requests) == 1
    async with connected(said("never"), elicit=False) as (client, model):
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await by_hand(client, json.dumps({"session": "default"}), answering("blue"))
    assert model.requests == []


def test_the_operator_allows_it_in_the_environment():
    """Issue 6: and the operator allows it."""
    assert not settings.from_environ({}).elicit
    assert settings.from_environ({"EAI_MCP_ELICIT": "1"}).elicit
    assert settings.from_environ({}).elicit_limit_s == 300


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_a_question_that_a_form_could_not_show_whole_is_left_open(connected, era):
    """A person who saw half of a command would approve the other half."""
    sitting = Sitting("yes")
    async with connected(asks("x" * 20_000), **at(sitting)) as (client, _):
        told = (await call(client, "talk", content="go")).structured_content
        assert told["status"] == "awaiting_input"
        (warning,) = told["warnings"]
        assert warning.startswith("the question is too long for a form")
        assert sitting.asked == []

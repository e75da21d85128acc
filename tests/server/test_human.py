"""A person at the client who talks with the model, in both protocol generations."""

import anyio
import mcp_types as types
import pytest

from eai_mcp.errors import Rejected
from tests.fakes import Held, said
from tests.server.calling import call, refused
from tests.server.sitting import DECLINES, Sitting, asks, at

MODERN = "2026-07-28"
OLDER = pytest.mark.parametrize("era", ["legacy"])
NEWER = pytest.mark.parametrize("era", [MODERN])


def talking(*answers, **more):
    """A person and the options of their connection, on a server that asks no questions of models."""
    person = Sitting(*answers)
    return person, at(person, elicit=False, **more)


async def by_person(client, **arguments):
    return (await call(client, "talk", mode="human", **arguments)).structured_content


async def dialogue(client, session="default"):
    page = (await call(client, "get_history", chat_session=session)).structured_content
    return [(each["role"], each["content"][-1].get("text")) for each in page["messages"]]


async def test_each_message_of_the_person_is_a_turn_until_they_decline(connected):
    """Issue 8: `talk(mode="human")` by elicitation in both eras, a turn for each message until they do."""
    person, options = talking("hello", "more", DECLINES)
    async with connected(said("Hi."), said("There."), **options) as (client, model):
        told = await by_person(client, chat_session="art", temperature=0.5)
        history = await dialogue(client, "art")
    assert person.shown == ["What do you want to say to plain?", "Hi.", "There."]
    assert "'art'" in person.asked[0].requested_schema["properties"]["answer"]["description"]
    assert history == [("user", "hello"), ("assistant", "Hi."), ("user", "more"), ("assistant", "There.")]
    assert (told["status"], told["reply"], told["chat_session"]) == ("completed", "There.", "art")
    assert told["warnings"] == ["2 turns; the person at the client declined to go on"]
    assert (told["usage"]["input"], told["usage"]["output"]) == (4, 6), "of all turns of the call"
    assert [request.samplers.temperature for request in model.requests] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (DECLINES, "declined to go on"),
        (types.ElicitResult(action="cancel"), "closed the form"),
        (types.ElicitResult(action="accept", content={"answer": " "}), "sent an empty message"),
        (types.ElicitResult(action="accept"), "sent an empty message"),
    ],
)
async def test_who_says_nothing_at_all_leaves_no_session(connected, answer, why):
    """Issue 8: until the person declines."""
    _, options = talking(answer)
    async with connected(**options) as (client, _):
        told = await by_person(client, chat_session="art")
        rows = (await call(client, "list_sessions", prefix="art")).structured_content["sessions"]
    assert (told["status"], told["reply"], rows) == ("completed", "", [])
    assert told["warnings"] == [f"0 turns; the person at the client {why}"]


async def test_content_is_said_as_ever_and_the_person_goes_on(connected):
    person, options = talking("thanks", DECLINES)
    async with connected(said("Ready."), said("Welcome."), **options) as (client, _):
        told = await by_person(client, content="get ready")
        history = await dialogue(client)
    assert person.shown == ["Ready.", "Welcome."]
    assert [text for _, text in history] == ["get ready", "Ready.", "thanks", "Welcome."]
    assert told["warnings"][0].startswith("2 turns")


async def test_a_cards_greeting_opens_a_new_session_and_the_last_reply_an_old_one(connected, tmp_path):
    (tmp_path / "cards" / "host.json").write_text(
        '{"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Host", "description": "",'
        ' "first_mes": "{{char}} greets {{user}} with {{roll:1000000}}."}}'
    )
    person, options = talking("hello", DECLINES, DECLINES)
    async with connected(said("Sit down."), **options) as (client, model):
        told = await by_person(client, chara_card="host")
        await by_person(client)
    assert told["effective"]["card"] == "host"
    assert person.shown[0].startswith("Host greets User with ")
    assert person.shown[1:] == ["Sit down.", "Sit down."]
    assert model.requests[0].system.endswith(f"Greeting: {person.shown[0]}"), "the model knows the same one"


async def test_a_question_of_the_model_is_answered_in_the_next_form(connected):
    """Issue 8: a question in human mode is put to the person, though nobody else's would be."""
    person, options = talking("paint", "blue", DECLINES)
    async with connected(asks("Which colour?"), said("Painted."), **options) as (client, model):
        told = await by_person(client)
    assert person.shown[1:] == ["Which colour?", "Painted."]
    assert model.requests[1].messages[-1].content[0].content[0].text == "blue"
    assert told["warnings"][0].startswith("1 turn;"), "a question and its answer are one"


async def test_a_question_that_waits_is_the_first_form_and_stays_open_for_who_declines(connected):
    person, options = talking(DECLINES, "blue", DECLINES)
    async with connected(asks("Which colour?"), said("Painted."), **options) as (client, _):
        await call(client, "talk", content="paint")
        told = await by_person(client)
        assert (told["status"], told["reply"]) == ("awaiting_input", "Which colour?")
        assert told["warnings"][-1] == "nobody answered it; the question is still open"
        assert (await by_person(client))["reply"] == "Painted."
    assert person.shown == ["Which colour?", "Which colour?", "Painted."]


async def test_words_for_a_plain_form_do_not_answer_a_question_that_came_up_meanwhile(connected):
    """Issue 8: nobody approves what they have not seen."""

    async def slowly():
        await client.session.call_tool("talk", {"content": "paint"})
        return types.ElicitResult(action="accept", content={"answer": "approve"})

    person, options = talking(slowly, "blue", DECLINES)
    async with connected(asks("Which colour?"), said("Painted."), **options) as (client, model):
        told = await by_person(client)
    assert person.shown[1].startswith("That did not work: a question came up meanwhile")
    assert person.shown[1].endswith("Which colour?")
    assert told["reply"] == "Painted."
    assert model.requests[1].messages[-1].content[0].content[0].text == "blue"


async def test_an_answer_that_others_gave_before_is_told_and_the_person_goes_on(connected):
    async def slowly():
        await client.session.call_tool("talk", {"content": "red"})
        return types.ElicitResult(action="accept", content={"answer": "blue"})

    person, options = talking("paint", slowly, "and now", DECLINES)
    steps = (asks("Which colour?"), said("Painted."), said("Framed."))
    async with connected(*steps, **options) as (client, model):
        told = await by_person(client)
    assert "is not open any more" in person.shown[2]
    assert (told["reply"], len(model.requests)) == ("Framed.", 3)


async def test_a_message_that_fails_is_shown_with_its_reason(connected):
    person, options = talking("one", "two", DECLINES)
    async with connected(Rejected("not like this"), said("Better."), **options) as (client, _):
        told = await by_person(client)
    assert person.shown[1] == "That did not work: not like this"
    assert (told["reply"], told["warnings"][0][:7]) == ("Better.", "1 turn;")


async def test_three_failures_in_a_row_end_the_call_and_hide_no_turn_before(connected):
    person, options = talking(*"abcdefgh")
    failures = [Rejected(f"failure {number}") for number in range(6)]
    steps = (failures[0], said("Well."), *failures[1:4])
    async with connected(*steps, *(Rejected("no") for _ in "abc"), **options) as (client, _):
        told = await by_person(client)
        assert (told["reply"], len(person.asked)) == ("Well.", 5)
        assert told["warnings"] == [
            "1 turn; 3 messages failed, one after the other",
            "the last message failed: failure 3",
        ]
        error = await refused(client, "talk", mode="human", chat_session="new")
    assert (error["code"], error["message"]) == ("provider_rejected", "no")
    assert len(person.asked) == 8


async def test_a_message_that_others_were_faster_than_is_no_failure(connected):
    """Issue 8: every error code; a person is told in words that are meant for one."""
    held = Held("so far")

    async def slowly():
        await client.session.call_tool("talk", {"content": "paint", "timeout_ms": 0})
        await held.reached.wait()
        return types.ElicitResult(action="accept", content={"answer": "a"})

    async def then():
        held.let_go.set()
        await client.session.call_tool("wait_for_reply", {})
        return types.ElicitResult(action="accept", content={"answer": "e"})

    person, options = talking(slowly, *"bcd", then, DECLINES)
    async with connected(held, said("There."), **options) as (client, _):
        told = await by_person(client)
    busy = "That did not work: somebody else is talking here just now; send it again"
    assert person.shown[1:5] == [busy] * 4
    assert told["reply"] == "There."


async def test_a_session_that_was_closed_meanwhile_is_not_made_anew_unawares(connected):
    """Issue 8: nobody goes on in an empty session who does not know it."""

    async def closing():
        await client.session.call_tool("close_session", {"chat_session": "art"})
        return types.ElicitResult(action="accept", content={"answer": "more"})

    person, options = talking("hello", closing, "again", DECLINES)
    async with connected(said("Hi."), said("Again."), **options) as (client, _):
        told = await by_person(client, chat_session="art")
        history = await dialogue(client, "art")
    assert person.shown[2].startswith("That did not work: the session was closed meanwhile, so this was not")
    assert (told["reply"], told["warnings"][0][:8]) == ("Again.", "2 turns;")
    assert history == [("user", "again"), ("assistant", "Again.")]


@pytest.mark.parametrize("before", [(), (said("Well."),)])
async def test_who_ends_behind_a_failure_leaves_what_there_was(connected, before):
    _, options = talking(*("a" for _ in before), "b", DECLINES)
    async with connected(*before, Rejected("not like this"), **options) as (client, _):
        result = await client.call_tool("talk", {"mode": "human"})
    if before:
        assert result.structured_content["reply"] == "Well."
        assert result.structured_content["warnings"][-1] == "the last message failed: not like this"
    else:
        assert result.structured_content["error"]["message"] == "not like this"


async def test_without_the_capability_the_error_names_the_other_way(connected):
    """Issue 8: without the capability a clear error that names `eai-mcp chat`."""
    async with connected() as (client, _):
        error = await refused(client, "talk", mode="human", content="hello")
        missing = await refused(client, "talk")
    assert (error["code"], error["details"]["field"]) == ("invalid_argument", "mode")
    assert "`eai-mcp chat`" in error["message"]
    assert (missing["code"], missing["details"]["field"]) == ("invalid_argument", "content")


async def test_a_busy_session_and_wrong_names_are_told_before_anybody_is_asked(connected):
    """Issue 8: every error code."""
    held = Held("so far")
    person, options = talking()
    async with connected(held, **options) as (client, _):
        await call(client, "talk", content="go on", timeout_ms=0)
        assert (await refused(client, "talk", mode="human"))["code"] == "busy"
        for arguments, code in (({"model": "none"}, "unknown_model"), ({"turn_id": "t_1"}, "conflict")):
            error = await refused(client, "talk", mode="human", chat_session="new", **arguments)
            assert error["code"] == code
        held.let_go.set()
    assert person.asked == []


async def test_a_long_reply_is_shown_from_its_end(connected):
    person, options = talking("hello", DECLINES)
    async with connected(said("é" * 20_000 + "?"), **options) as (client, _):
        assert len((await by_person(client))["reply"]) == 20_001
    shown = person.shown[1]
    assert shown.startswith("[The first 11,8")
    assert shown.endswith("é?")
    assert len(shown.encode()) < 16_500


async def test_a_reply_of_no_words_leaves_a_form_that_says_so(connected):
    person, options = talking("hello", DECLINES)
    async with connected(said(""), **options) as (client, _):
        await by_person(client)
    assert person.shown[1] == "(The reply was empty.)"


async def test_a_reply_that_takes_too_long_ends_the_call_and_says_how_to_go_on(connected):
    held = Held("so far")
    person, options = talking("hello")
    async with connected(held, **options) as (client, _):
        told = await by_person(client, timeout_ms=100)
        held.let_go.set()
    assert (told["status"], len(person.asked)) == ("running", 1)
    assert told["warnings"][-1].endswith("once it is there, talk(mode='human') goes on")
    assert told["next"].startswith("wait_for_reply")


async def test_on_timeout_interrupt_ends_the_dialogue_with_its_turn(connected):
    _, options = talking("hello")
    async with connected(Held("so far"), **options) as (client, _):
        told = await by_person(client, timeout_ms=100, on_timeout="interrupt")
    assert (told["status"], told["reply"]) == ("interrupted", "so far")
    assert told["warnings"][-1] == "1 turn; the turn was interrupted"


async def test_a_question_too_long_for_a_form_ends_the_dialogue(connected):
    person, options = talking("hello")
    async with connected(asks("x" * 20_000), **options) as (client, _):
        told = await by_person(client)
    assert (told["status"], len(person.asked)) == ("awaiting_input", 1)
    assert "nobody may answer what they cannot see whole" in told["warnings"][0]


@NEWER
async def test_after_ten_forms_the_result_says_how_to_go_on(connected):
    """Issue 8: clients of the newer protocol give up behind that."""
    person, options = talking(*"abcdefghij", "never")
    async with connected(*(said(f"{number}.") for number in range(10)), **options) as (client, _):
        told = await by_person(client)
    assert len(person.asked) == 10
    assert told["reply"] == "9."
    assert told["warnings"] == [
        "10 turns; clients show no more than 10 forms in a call; talk(mode='human') goes on"
    ]


@OLDER
async def test_where_the_call_stays_open_a_dialogue_may_be_longer(connected):
    person, options = talking(*"abcdefghijkl", DECLINES)
    async with connected(*(said(f"{number}.") for number in range(12)), **options) as (client, _):
        assert (await by_person(client))["warnings"][0].startswith("12 turns")
    assert len(person.asked) == 13


@OLDER
@pytest.mark.parametrize(("limits", "arguments"), [({"elicit_limit_s": 0.05}, {}), ({}, {"timeout_ms": 50})])
async def test_a_form_that_nobody_answers_is_taken_back(connected, limits, arguments):
    """Issue 8: with a limit, of the form, or of the call if it has one."""
    taken_back = anyio.Event()

    async def think():
        try:
            await anyio.sleep_forever()
        finally:
            taken_back.set()

    _, options = talking(think, **limits)
    async with connected(**options) as (client, _):
        told = await by_person(client, **arguments)
        await taken_back.wait()
    assert "did not answer within" in told["warnings"][0]
    assert told["warnings"][0].endswith("talk(mode='human') goes on")


@OLDER
async def test_it_says_which_limit_nobody_answered_within(connected):
    """Issue 8: the limit as it was set, and not what happened to be left."""
    for limits, wanted in (
        ({"elicit_limit_s": 0.05}, "within 0.05 s;"),
        ({}, "within the time of this call;"),
    ):
        _, options = talking(anyio.sleep_forever, **limits)
        async with connected(**options) as (client, _):
            told = await by_person(client, timeout_ms=80)
        assert wanted in told["warnings"][0]


@OLDER
async def test_a_call_without_time_asks_nobody(connected):
    person, options = talking()
    async with connected(**options) as (client, _):
        told = await by_person(client, timeout_ms=0)
    assert (told["reply"], person.asked) == ("", [])
    assert told["warnings"][0].startswith("0 turns; the time of this call was over")


@OLDER
async def test_a_client_that_cannot_show_its_form_ends_the_dialogue(connected):
    _, options = talking(types.ErrorData(code=-1, message="no screen"))
    async with connected(**options) as (client, _):
        told = await by_person(client)
    assert told["warnings"] == ["0 turns; the client could not ask the person"]

"""Each tool of the sessions, through a server process and by a client that is not the SDK's."""

import json

import pytest

from tests.e2e.silent_provider import BIG, answered, asking, begun, dialogue, heard, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
EVERYTHING = {
    "chat_session": "work",
    "mode": "function",
    "model": "echo",
    "prompt": "coder",
    "chara_card": "asker",
    "metadata": {"ticket": 7, "tags": ["a", "b"], "deep": {"x": None}},
    "pty_session_id": "term",
    "timeout_ms": 20_000,
    "on_timeout": "interrupt",
    "if_busy": "wait",
    "request_id": "r1",
    "temperature": 0.0,
    "top_p": 0.9,
    "top_k": 0,
    "min_p": 0.1,
    "max_tokens": 100,
    "repetition_penalty": 1.1,
    "frequency_penalty": -0.5,
    "presence_penalty": 0.5,
    "stop_sequences": [],
    "seed": 0,
    "anthropic_beta": ["some-beta"],
    "reasoning_effort": "low",
}


@ERAS
@pytest.mark.parametrize("content", ["hello", [{"type": "text", "text": "hello"}]])
async def test_talk_takes_every_argument_and_tells_what_was_in_effect(house, era, content):
    """Issue 4: `talk` (all arguments of DESIGN section 5)."""
    async with house.server(era=era) as wire:
        done = await told(wire, "talk", content=content, **EVERYTHING)
        assert (done["status"], done["reply"]) == ("completed", "messages=2 last=hello")
        assert (done["chat_session"], done["stop_reason"]) == ("work", "end")
        assert done["effective"] == {
            "model": "echo",
            "prompt": "coder",
            "card": "asker",
            "pty_session_id": "term",
        }
        assert done["metadata"] == EVERYTHING["metadata"]
        assert (done["usage"]["input"], done["usage"]["output"]) == (11, 7)
        assert await told(wire, "wait_for_reply", chat_session="work") == done
    body = house.provider.asked[0].body
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.0, 0.9, 0)


@ERAS
async def test_raw_system_text_stands_in_the_prompts_place(house, era):
    async with house.server(era=era) as wire:
        done = await told(wire, "talk", content="hello", system="Be brief.")
        assert done["effective"] == {"model": "echo", "system": "Be brief."}
        assert (await wire.error("talk", content="hello", system="Be brief.", prompt="coder"))["code"] == (
            "invalid_argument"
        )
    assert house.provider.asked[0].messages == [("system", "Be brief."), ("user", "hello")]


async def test_a_person_is_only_reached_by_the_command_that_the_error_names(house):
    async with house.server() as wire:
        error = await wire.error("talk", content="hello", mode="human")
        assert error["code"] == "invalid_argument"
        assert "`eai-mcp chat`" in error["message"]


@ERAS
async def test_interrupting_where_nothing_runs_is_an_error(house, era):
    """Issue 4: idle `no_task`, unknown `not_found`."""
    async with house.server(era=era) as wire:
        done = await told(wire, "talk", content="hello")
        assert (await wire.error("interrupt"))["code"] == "no_task"
        assert (await wire.error("interrupt", turn_id=done["turn_id"]))["code"] == "no_task"
        assert (await wire.error("interrupt", chat_session="nobody"))["code"] == "not_found"
        assert (await wire.error("wait_for_reply", chat_session="nobody"))["code"] == "not_found"
        assert (await wire.error("wait_for_reply", turn_id="t_0"))["code"] == "not_found"
        waiting, asked = await asking(house, wire, content="a story", model="held")
        error = await wire.error("interrupt", turn_id=done["turn_id"])
        assert error["code"] == "no_task"
        assert not asked.left.is_set()
        asked.go_on.set()
        assert (await answered(wire, waiting))["status"] == "completed"


@ERAS
async def test_the_list_of_sessions_says_how_each_stands_and_comes_in_pages(house, era):
    async with house.server(era=era) as wire:
        assert [row["name"] for row in (await told(wire, "list_sessions"))["sessions"]] == ["default"]
        for name in ("work.1", "work.2", "work_", "other"):
            await told(wire, "talk", content="hello", chat_session=name, model="echo")
        await told(wire, "talk", content="paint", chat_session="asks", model="asks", chara_card="asker")
        await asking(house, wire, content="a story", chat_session="busy", model="held")
        rows = {row["name"]: row for row in (await told(wire, "list_sessions"))["sessions"]}
        assert [*rows] == ["asks", "busy", "default", "other", "work.1", "work.2", "work_"]
        assert {name: row["status"] for name, row in rows.items() if row["status"] != "idle"} == {
            "asks": "awaiting_input",
            "busy": "busy",
        }
        assert rows["asks"]["question"] == "Which colour?"
        assert rows["busy"]["turn_id"].startswith("t_")
        assert (rows["other"]["message_count"], rows["other"]["model"]) == (2, "echo")
        assert (rows["other"]["usage"]["input"], rows["other"]["usage"]["output"]) == (11, 7)
        page = await told(wire, "list_sessions", prefix="work", limit=1)
        found = page["sessions"]
        while "next_cursor" in page:
            page = await told(wire, "list_sessions", prefix="work", limit=1, cursor=page["next_cursor"])
            found += page["sessions"]
        assert found == [rows[name] for name in ("work.1", "work.2", "work_")]
        await told(wire, "interrupt", chat_session="busy")


@ERAS
async def test_a_history_comes_in_pages(house, era):
    """Issue 4: `get_history` paged."""
    async with house.server(era=era) as wire:
        for number in range(3):
            await told(wire, "talk", content=f"say {number}")
        whole = await told(wire, "get_history")
        assert (whole["message_count"], len(whole["messages"])) == (6, 6)
        assert [each["seq"] for each in whole["messages"]] == [1, 2, 3, 4, 5, 6]
        assert "next_after" not in whole
        first = await told(wire, "get_history", limit=4)
        second = await told(wire, "get_history", limit=4, after=first["next_after"])
        assert (len(first["messages"]), len(second["messages"])) == (4, 2)
        assert first["messages"] + second["messages"] == whole["messages"]
        assert "next_after" not in second
        assert (await told(wire, "get_history", after=6))["messages"] == []


@ERAS
async def test_a_reply_of_three_million_characters_is_cut_and_read_on(house, era):
    """DESIGN section 5: a longer reply is cut, marked, and read through `get_history`."""
    async with house.server(era=era) as wire:
        done = await told(wire, "talk", content="a book", model="big")
        assert done["reply"] == BIG
        read, offset = "", 0
        for _ in range(10):
            page = await told(wire, "get_history", after=1, offset=offset)
            (message,) = page["messages"]
            read += message["content"][0]["text"]
            offset = len(read)
            if "cut" not in message:
                break
            assert message["cut"] == f"read on with after=1, offset={offset}"
        assert read == BIG


@ERAS
async def test_a_session_is_made_once(house, era):
    async with house.server(era=era) as wire:
        made = {"chat_session": "work", "created": True}
        assert await told(wire, "ensure_session", chat_session="work") == made
        assert await told(wire, "ensure_session", chat_session="work") == {**made, "created": False}
        assert (await told(wire, "ensure_session", chat_session="default"))["created"] in (True, False)
        assert (await wire.error("ensure_session", chat_session="no/slash"))["code"] == "invalid_argument"


@ERAS
async def test_a_session_is_closed_with_the_three_errors(house, era):
    """Issue 4: `close_session` (with the original's three errors)."""
    async with house.server(era=era) as wire, house.server(era=era) as other:
        assert (await wire.error("close_session", chat_session="default"))["code"] == "cannot_close_default"
        assert (await wire.error("close_session", chat_session="work"))["code"] == "not_found"
        await asking(house, wire, content="a story", chat_session="work", model="held")
        for each in (wire, other):
            assert (await each.error("close_session", chat_session="work"))["code"] == "busy"
        await told(other, "interrupt", chat_session="work")
        assert await told(other, "close_session", chat_session="work") == {
            "chat_session": "work",
            "closed": True,
        }
        assert (await wire.error("get_history", chat_session="work"))["code"] == "not_found"
        fresh = await told(wire, "talk", content="hello", chat_session="work", model="echo")
        assert fresh["reply"] == "messages=1 last=hello"


@ERAS
async def test_a_session_is_copied_up_to_a_message(house, era):
    """Issue 4: `fork_session`."""
    async with house.server(era=era) as wire:
        for number in range(2):
            await told(wire, "talk", content=f"say {number}", chat_session="work", prompt="coder")
        whole = await told(wire, "fork_session", chat_session="work", new_session="copy")
        assert whole == {"chat_session": "copy", "message_count": 4, "forked_from": "work"}
        assert await dialogue(wire, "copy") == await dialogue(wire, "work")
        cut = await told(wire, "fork_session", chat_session="work", new_session="short", after=2)
        assert cut["message_count"] == 2
        other = await told(wire, "talk", content="else", chat_session="short")
        assert (other["reply"], other["effective"]["prompt"]) == ("messages=4 last=else", "coder")
        assert len(await dialogue(wire, "work")) == 4
        empty = await told(wire, "fork_session", chat_session="work", new_session="empty", after=0)
        assert empty["message_count"] == 0
        for name, new, after, code in [
            ("work", "copy", None, "already_exists"),
            ("work", "work", None, "already_exists"),
            ("work", "default", None, "already_exists"),
            ("nobody", "new", None, "not_found"),
            ("work", "new", 9, "invalid_argument"),
            ("work", "no/slash", None, "invalid_argument"),
        ]:
            error = await wire.error("fork_session", chat_session=name, new_session=new, after=after)
            assert error["code"] == code, (name, new)


async def test_a_copy_never_splits_a_question_from_its_answer(house):
    """Issue 4: tool pairing always valid."""
    async with house.server() as wire:
        await told(wire, "talk", content="paint it", model="asks", chara_card="asker")
        waiting = await told(wire, "fork_session", chat_session="default", new_session="early")
        assert waiting["message_count"] == 0
        await told(wire, "talk", content="blue")
        error = await wire.error("fork_session", chat_session="default", new_session="new", after=2)
        assert error["code"] == "invalid_argument"
        assert "take 1 or 3" in error["message"]
        await told(wire, "fork_session", chat_session="default", new_session="new", after=3)
        await told(wire, "talk", content="and then?", chat_session="new", model="echo")
    sent = house.provider.asked[-1].body["messages"]
    assert [each["role"] for each in sent[-4:]] == ["user", "assistant", "tool", "user"]


@ERAS
async def test_a_busy_session_refuses_waits_or_is_stopped_first(house, era):
    """Issue 4: `if_busy` error, wait (FIFO), interrupt."""
    async with house.server(era=era) as wire:
        first, asked = await asking(house, wire, content="first", model="held")
        error = await wire.error("talk", content="refused")
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert error["details"]["turn_id"].startswith("t_")
        assert error["details"]["running_s"] >= 0
        late = await wire.error("talk", content="late", if_busy="wait", timeout_ms=100)
        assert late["code"] == "busy"
        line = [await begun(wire, content=f"{at}.", model="echo", if_busy="wait") for at in range(3)]
        await told(wire, "talk", content="elsewhere", chat_session="other", model="echo")  # never waits
        asked.go_on.set()
        assert (await answered(wire, first))["reply"] == "So far. The rest."
        assert [(await answered(wire, number))["reply"] for number in line] == [
            "messages=3 last=0.",
            "messages=5 last=1.",
            "messages=7 last=2.",
        ]
        last, asked = await asking(house, wire, content="last", model="held")
        await heard(wire)
        second = await told(wire, "talk", content="now", model="echo", if_busy="interrupt")
        stopped = await answered(wire, last)
        assert (stopped["status"], stopped["reply"]) == ("interrupted", "So far. ")
        assert stopped["warnings"] == ["stopped: another talk came with if_busy=interrupt"]
        assert second["reply"] == "messages=11 last=now"


@ERAS
async def test_a_card_given_in_this_call_goes_before_arguments_and_one_remembered_behind_them(house, era):
    """Issue 4: precedence; card overrides with `overridden` in the result."""
    own = {"eai": {"model": "echo", "prompt": "analyst"}}
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Clerk", "extensions": own}}
    (house.folder / "cards" / "clerk.json").write_text(json.dumps(card), encoding="utf-8")
    async with house.server(era=era) as wire:
        both = await told(
            wire, "talk", content="a", chara_card="clerk", model="silent", prompt="coder", timeout_ms=9000
        )
        assert both["effective"] == {"model": "echo", "prompt": "analyst", "card": "clerk"}
        assert both["overridden"] == ["model", "prompt"]
        later = await told(wire, "talk", content="b", model="big", prompt="coder", max_tokens=5)
        assert later["effective"] == {"model": "big", "prompt": "coder", "card": "clerk"}
        assert later["overridden"] == []
        after = await told(wire, "talk", content="c", chara_card="", model="echo")
        assert after["effective"] == {"model": "echo", "prompt": "coder"}

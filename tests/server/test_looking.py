"""The tools that look at sessions and the catalog, as a client sees them."""

import ast
import json

import pytest

from eai_mcp.messages import Message, TextBlock
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Held, said
from tests.server.calling import call, refused
from tests.server.learnt import LEARNT, says, told
from tests.store.taking import take


async def test_sessions_are_listed_in_pages(connected):
    async with connected(said("1"), said("2")) as (client, _):
        await call(client, "talk", content="hi", chat_session="b", model="other")
        await call(client, "talk", content="hi", chat_session="a")
        first = (await call(client, "list_sessions", limit=2)).structured_content
        rest = (await call(client, "list_sessions", cursor=first["next_cursor"])).structured_content

    assert [row["name"] for row in first["sessions"]] == ["a", "b"]
    row = first["sessions"][1]
    assert (row["message_count"], row["status"], row["model"], row["usage"]["output"]) == (
        2,
        "idle",
        "other",
        3,
    )
    assert [row["name"] for row in rest["sessions"]] == ["default"]
    assert "next_cursor" not in rest


async def test_a_busy_session_shows_its_turn(connected):
    async with connected(Held()) as (client, _):
        turn = (await call(client, "talk", content="hi", timeout_ms=0)).structured_content
        row = (await call(client, "list_sessions")).structured_content["sessions"][0]
    assert (row["status"], row["turn_id"]) == ("busy", turn["turn_id"])


async def test_history_is_read_in_pages(connected):
    async with connected(said("1"), said("2")) as (client, _):
        await call(client, "talk", content="a")
        await call(client, "talk", content="b")
        first = (await call(client, "get_history", limit=3)).structured_content
        rest = (await call(client, "get_history", after=first["next_after"])).structured_content

    assert first["message_count"] == 4
    assert [message["content"] for message in first["messages"]] == [
        [{"type": "text", "text": "a"}],
        [{"type": "text", "text": "1"}],
        [{"type": "text", "text": "b"}],
    ]
    assert [(m["seq"], m["role"], m["content"][0]["text"]) for m in rest["messages"]] == [
        (4, "assistant", "2")
    ]
    assert "next_after" not in rest


async def test_a_reply_above_the_limit_of_clients_is_cut_and_read_on(connected):
    long = said("", message=Message("assistant", (TextBlock("é" * 400_000), TextBlock("ü" * 1_000_000))))
    async with connected(said("short"), long, said("later")) as (client, _):
        await call(client, "talk", content="before", chat_session="work")
        result = await call(client, "talk", content="hi", chat_session="work")
        structured = result.structured_content
        assert structured["reply"] == result.content[0].text
        await call(client, "talk", content="more", chat_session="work")
        again = await call(client, "wait_for_reply", chat_session="work", turn_id=structured["turn_id"])
        assert again.structured_content == structured

        read, hint = structured["reply"], structured["warnings"][0]
        following = literal(hint.partition("get_history")[2])
        while following:
            page = (await call(client, "get_history", **following)).structured_content
            first = page["messages"][0]
            read += first["content"][0]["text"]
            cut = first.get("cut", "")
            following = cut and {**following, **literal(f"({cut.removeprefix('read on with ')})")}
    assert read == long.message.text


def literal(text):
    """The arguments in the first brackets of a text."""
    made = ast.parse(f"f{text.partition(')')[0]})", mode="eval").body
    assert isinstance(made, ast.Call)
    return {str(each.arg): ast.literal_eval(each.value) for each in made.keywords}


@pytest.mark.parametrize(
    ("history", "limit", "most"),
    [
        (LEARNT, 500, 1),
        (LEARNT, 1, 4),
        (says("x" * 400_000, "short", "y" * 700_000, "é\\\n" * 150_000, "z"), 500, 12),
        (says("\0" * 300_000, "last"), 500, 7),
    ],
)
async def test_pages_of_a_transcript_are_the_transcript(connected, history, limit, most):
    """DESIGN section 5: messages, paged under the clients' size limits."""
    async with connected() as (client, _):
        await told(client, "replace_history", content=history)
        read: list[str] = []
        place: dict[str, int] = {}
        while len(read) <= most:
            result = await call(client, "get_history", format="markdown", limit=limit, **place)
            page = result.structured_content
            read.append(page["text"])
            assert len(result.model_dump_json()) < 4 * 1024 * 1024
            assert [result.content[0].text, json.loads(result.content[1].text)] == [
                page.pop("text"),
                page,
            ]
            if "next_after" not in page:
                break
            place = {"after": page["next_after"], "offset": page.get("next_offset", 0)}
        exported = await exported_text(client)
    assert len(read) == most
    assert "".join(read).strip() == exported.partition("\n\n")[2].strip()


async def exported_text(client):
    """The transcript, from its own tool."""
    text, offset = "", 0
    while offset is not None:
        part = await told(client, "export_chat_session_context", format="markdown", offset=offset)
        text, offset = text + part["content"], part.get("next_offset")
    return text


async def test_a_transcript_of_nothing_has_no_text(connected):
    async with connected() as (client, _):
        result = await call(client, "get_history", format="markdown")
        beyond = await told(client, "get_history", format="markdown", after=5)
    assert result.structured_content == {"chat_session": "default", "message_count": 0, "text": ""}
    assert len(result.content) == 1
    assert beyond == result.structured_content


async def test_a_transcript_comes_with_what_else_is_told_of_a_history(connected):
    async with connected(said("ok")) as (client, _):
        await told(client, "talk", content="hi")
        with_json = await told(client, "get_history")
        text = await told(client, "get_history", format="markdown")
        error = await refused(client, "get_history", format="html")
    assert text["text"].startswith("## User, 20")
    assert {**text, "text": ""} == {**{k: v for k, v in with_json.items() if k != "messages"}, "text": ""}
    assert "'json' or 'markdown'" in error["message"]


@pytest.mark.parametrize("argument", ["after", "offset"])
async def test_a_position_that_no_history_can_have_is_refused(connected, argument):
    async with connected() as (client, _):
        error = await refused(client, "get_history", **{argument: 2**53 + 1})
        assert error["code"] == "invalid_argument"
        assert argument in error["message"]
        assert (await call(client, "get_history", **{argument: 2**53})).structured_content["messages"] == []


async def test_a_page_of_history_never_shows_more_than_it_counts(connected):
    class Growing(SqliteStore):
        """A turn is taken in it by somebody else before each page."""

        async def load(self, space, name, **where):
            await take(self, f"t{self.taken}", name=name)
            self.taken += 1
            return await super().load(space, name, **where)

        taken = 0

    async with connected(store=Growing(None)) as (client, _):
        for count in (2, 4):
            page = (await call(client, "get_history")).structured_content
            assert page["message_count"] == count == len(page["messages"])


@pytest.mark.parametrize(("kind", "names"), [
    ("models", ["plain", "other", "hasty"]), ("prompts", ["analyst", "coder"]), ("cards", ["clerk", "pirate"])
])  # fmt: skip
async def test_the_catalog_is_listed_and_what_can_be_used_comes_first(connected, tmp_path, kind, names):
    hasty = 'provider = "openai_chat"\nmodel = "hasty-1"\napi_key_env = "NO_SUCH_KEY"\n'
    (tmp_path / "models" / "hasty.toml").write_text(hasty, encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind=kind)).structured_content
        some = (await call(client, "list_catalog", kind=kind, filter=names[0].upper())).structured_content
    assert [entry["name"] for entry in told["entries"]] == names
    assert names[0] in [entry["name"] for entry in some["entries"]]
    assert "problems" not in told


async def test_a_cards_description_names_those_whom_the_card_leaves_open(connected):
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="cards", filter="pirate")).structured_content
    assert told["entries"][0]["description"] == "Pirate sails with the user."


async def test_a_card_is_ready_when_what_it_names_is(connected, tmp_path):
    """DESIGN section 5: what each needs and whether it is ready."""
    other = 'provider = "openai_chat"\nmodel = "other-1"\napi_key_env = "NO_SUCH_KEY"\n'
    (tmp_path / "models" / "other.toml").write_text(other, encoding="utf-8")
    lost = {"name": "Lost", "extensions": {"eai": {"prompt": "nowhere"}}}
    (tmp_path / "cards" / "lost.json").write_text(json.dumps(lost), encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="cards")).structured_content
    assert {entry["name"]: (entry["ready"], entry.get("needs", "")[:29]) for entry in told["entries"]} == {
        "clerk": (False, "NO_SUCH_KEY is not set"),
        "lost": (False, "no prompt named 'nowhere'; ne"),
        "pirate": (True, ""),
    }


async def test_a_bad_catalog_file_is_reported_and_the_rest_stays(connected, tmp_path):
    """Issue 2: one bad file reported and skipped."""
    (tmp_path / "models" / "broken.toml").write_text("model = 5", encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="models")).structured_content
        others = (await call(client, "list_catalog", kind="cards")).structured_content
    assert [entry["name"] for entry in told["entries"]] == ["plain", "hasty", "other"]
    assert len(told["problems"]) == 1
    assert "broken.toml" in told["problems"][0]
    assert "problems" not in others

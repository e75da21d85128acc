"""What is said of long messages, and of what does not fit."""

import pytest

from eai_mcp.chat.values import Effective, TurnResult
from eai_mcp.messages import DocumentBlock, ImageBlock, Message, TextBlock, ThinkingBlock, assistant, user
from eai_mcp.server import answers
from eai_mcp.server.registry import told
from eai_mcp.server.room import NARROW, WIDE
from eai_mcp.store import Entry

EXPORT = "export_chat_session_context"
ANSWER = "talk(chat_session='work') answers the question"


def entry(seq, message):
    return Entry(seq, "t1", 0.0, message)


def test_a_page_ends_before_a_message_that_does_not_fit():
    long = "x" * 200_000
    entries = [entry(1, user(long)), entry(2, assistant(long)), entry(3, user("short"))]
    assert [message["seq"] for message in answers.page(entries, 0)] == [1]
    assert [message["seq"] for message in answers.page(entries[1:], 0)] == [2, 3]


def test_a_message_that_fits_on_no_page_is_cut_and_its_files_are_named():
    blocks = (
        TextBlock("a" * 10),
        DocumentBlock("application/pdf", "B" * 2_000_000),
        TextBlock("c" * 10),
    )
    (page,) = answers.page([entry(4, Message("user", blocks))], 0)
    assert page["content"] == [
        {"type": "text", "text": f"{'a' * 10}\n\n{'c' * 10}"},
        {"type": "document", "omitted": "2,000,085 bytes, too large for this answer"},
    ]
    assert "cut" not in page, "there is nothing more to read"


def test_an_image_that_fits_on_no_page_does_not_send_its_reader_in_circles():
    (page,) = answers.page([entry(1, Message("user", (ImageBlock("image/png", "B" * 2_000_000),)))], 0)
    assert page["content"][0]["omitted"] == "2,000,056 bytes, too large for this answer"
    assert "cut" not in page


def test_a_partial_message_is_marked_and_has_its_time():
    (page,) = answers.page([entry(1, assistant("half", partial=True))], 0)
    assert page == {
        "seq": 1,
        "role": "assistant",
        "content": [{"type": "text", "text": "half"}],
        "turn_id": "t1",
        "at": "1970-01-01T00:00:00.000+00:00",
        "partial": True,
    }


def test_an_offset_counts_through_the_text_of_the_first_message_as_it_is_told_in_a_reply():
    image = ImageBlock("image/png", "aGk=")
    message = Message("user", (TextBlock("abc"), image, TextBlock("def")))
    for offset in range(1, 10):
        first, second = answers.page([entry(1, message), entry(2, message)], offset)
        assert first["content"] == [
            {"type": "text", "text": "abc\n\ndef"[offset:]},
            {"type": "image", "media_type": "image/png", "data": "aGk="},
        ]
        assert len(second["content"]) == 3


@pytest.mark.parametrize("lengths", [(2_500_000,), (1_000_000, 1_500_000), (323_584, 60_000), (200_000,) * 3])
def test_the_pieces_of_a_text_that_fits_on_no_page_are_the_text(lengths):
    blocks = tuple(TextBlock(chr(97 + at) * length) for at, length in enumerate(lengths))
    told = entry(4, Message("assistant", (ThinkingBlock("hm"), *blocks)))
    read = ""
    while True:
        (page,) = answers.page([told], len(read))
        (text,) = [block["text"] for block in page["content"] if block["type"] == "text"]
        read += str(text)
        if "cut" not in page:
            break
        assert page["cut"] == f"read on with after=3, offset={len(read)}"
    assert read == told.message.text


def result(status, reply):
    return TurnResult(
        status=status, reply=reply, session="work", turn_id="t1", effective=Effective(model="plain")
    )


@pytest.mark.parametrize(
    ("status", "after", "hint"),
    [
        ("completed", 3, "get_history(chat_session='work', after=3, offset=3145726) reads on"),
        ("completed", None, "characters"),
        ("running", None, "all of it will be in get_history(chat_session='work') when it has ended"),
    ],
)
def test_a_long_reply_says_how_to_read_on_where_that_is_known(status, after, hint):
    answer = answers.of_turn(result(status, "x" * 4_000_000), WIDE, after=after)
    (warning,) = answer.structured["warnings"]
    assert warning.startswith("the reply was cut at 3,145,726 of 4,000,000 characters")
    assert warning.endswith(hint)


@pytest.mark.parametrize(
    "text", ["x" * 4_000_000, '"' * 1_000_000, "\n" * 1_000_000, "é" * 1_000_000, "\0" * 400_000]
)
def test_no_answer_over_http_is_above_what_the_python_sdks_client_takes(text):
    """Issue 8: independent clients in CI, over stdio, SSE, HTTP. Its limit is 1 MiB for an event."""
    page = answers.whole({"messages": answers.page([entry(1, user(text))], 0)})
    turn = answers.of_turn(result("completed", text), NARROW, after=1)
    for answer in (page, turn):
        assert len(told(answer).model_dump_json(by_alias=True).encode()) < 1024 * 1024


@pytest.mark.parametrize(
    ("status", "published", "told"),
    [
        ("awaiting_input", ["talk"], ANSWER),
        (
            "awaiting_input",
            ["talk", "interrupt"],
            f"{ANSWER}; interrupt drops it",
        ),
        ("awaiting_input", [], None),
        ("running", ["wait_for_reply"], "wait_for_reply(chat_session='work', turn_id='t1') gets the reply"),
        ("running", ["interrupt"], "interrupt stops it"),
        ("running", ["talk"], None),
        ("completed", ["talk"], None),
    ],
)
def test_only_tools_that_are_published_are_said_to_come_next(status, published, told):
    answer = answers.of_turn(result(status, "hm"), WIDE, published=published)
    assert answer.structured.get("next") == told


@pytest.mark.parametrize(
    ("published", "told"),
    [
        (["get_history", EXPORT], "; get_history(chat_session='work', after=1, offset=3145726) reads on"),
        (
            [EXPORT],
            f"; {EXPORT}(chat_session='work', format='markdown') returns all of it, in parts: next_offset",
        ),
        (["talk"], " of 4,000,000 characters"),
    ],
)
def test_a_long_reply_names_only_tools_that_are_published(published, told):
    answer = answers.of_turn(result("completed", "x" * 4_000_000), WIDE, after=1, published=published)
    (warning,) = answer.structured["warnings"]
    assert told in warning
    assert ("get_history" in warning, EXPORT in warning) == ("get_history" in told, EXPORT in told)

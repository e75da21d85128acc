"""What is said of long messages, and of what does not fit."""

from eai_mcp.messages import DocumentBlock, ImageBlock, Message, TextBlock, assistant, user
from eai_mcp.server import answers
from eai_mcp.store import Entry


def entry(seq, message):
    return Entry(seq, "t1", 0.0, message)


def test_a_page_ends_before_a_message_that_does_not_fit():
    long = "x" * 600_000
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
        {"type": "text", "text": "a" * 10},
        {"type": "document", "omitted": "2,000,085 bytes, too large for this answer"},
    ]
    assert page["cut"] == "read on with after=3, offset=10"
    (rest,) = answers.page([entry(4, Message("user", blocks))], 10)
    assert rest["content"][-1] == {"type": "text", "text": "c" * 10}
    assert "cut" not in rest, "there is nothing more to read"


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


def test_an_offset_counts_through_the_texts_of_the_first_message():
    blocks = (TextBlock("abc"), TextBlock("def"))
    (page,) = answers.page([entry(1, Message("user", blocks))], 4)
    assert page["content"] == [{"type": "text", "text": ""}, {"type": "text", "text": "ef"}]

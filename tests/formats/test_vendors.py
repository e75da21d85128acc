import base64
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.formats import Repairs, anthropic, converse, media, openai, responses, vendors
from eai_mcp.formats.vendors import Notes
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    user,
)
from tests.formats.trips import written

VENDORS = (anthropic, converse, openai, responses)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_the_other_role_alone_can_say_is_not_written(vendor):
    history = [
        user((ThinkingBlock("hm", "seal"), ToolUseBlock("a", "n", {}))),
        Message("assistant", (ToolResultBlock("a", ()),)),
    ]
    assert written(vendor.Writer(), history) == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_numbers_that_json_cannot_say_are_written_as_null(vendor):
    use = ToolUseBlock("a", "n", {"x": [float("nan"), float("inf"), 1.5]})
    (element,) = written(vendor.Writer(), [Message("assistant", (use,))])
    assert re.search(r"\[null,1.5\]|\[null,null,1.5\]", wire.written(element))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("own", ["", "ü" * 200, "\ud83d", "a b\n"])
def test_a_tool_use_and_its_result_keep_one_id(vendor, own):
    history = [Message("assistant", (ToolUseBlock(own, "n", {}),)), user((ToolResultBlock(own, ()),))]
    reader = vendor.Reader(Repairs())
    elements = written(vendor.Writer(), history)
    found = [m for place, element in enumerate(elements, 1) for m in reader.read(element, place)]
    (use,), (result,) = (message.content for message in [*found, *reader.close()])
    assert isinstance(use, ToolUseBlock)
    assert isinstance(result, ToolResultBlock)
    assert use.id == result.tool_use_id != ""


def test_an_input_is_read_without_what_json_cannot_say():
    given: JsonObject = {"\ud83d": ["\ud83d", "\ud83d\ude00", float("inf"), 1]}
    assert vendors.tool_input(given, Notes(Repairs(), 1)) == {"\ufffd": ["\ufffd", "\U0001f600", None, 1]}
    assert vendors.arguments('{"x": [NaN, 1e999, "\\ud83d"]}', Notes(Repairs(), 1)) == {
        "x": [None, None, "\ufffd"]
    }


@given(st.text() | st.just("=" * 9), st.text())
def test_only_base64_of_a_named_type_is_taken(data, media_type):
    repairs = Repairs()
    found = [*media.document(media_type, data, "a", Notes(repairs, 1))]
    assert len(found) + len(repairs.told()) == 1
    for block in found:
        assert base64.b64decode(block.data, validate=True)


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("data:image/png;base64,QQ==", ("image/png", "QQ==")),
        ("DATA:text/plain; charset=utf-8;BASE64,QQ==", ("text/plain; charset=utf-8", "QQ==")),
        ("data:text/plain,words", ("text/plain", "")),
        ("data:", ("", "")),
        ("https://a.b/data:", None),
    ],
)
def test_an_address_that_holds_its_data_is_told_apart(url, held):
    assert media.in_url(url) == held


def test_a_picture_that_is_broken_is_not_whole():
    assert media.whole(ImageBlock("image/png", "Q\nQ==")) == "QQ=="
    assert media.whole(DocumentBlock("text/plain; charset=utf-8", "QQ==")) == "QQ=="
    for kind, data in [("image/png", ""), ("image/png", "Q"), ("png", "QQ=="), ("a/" + "b" * 255, "QQ==")]:
        assert media.whole(ImageBlock(kind, data)) is None


@given(st.text(), st.text())
@example("\ud800", "?")
def test_ids_that_differ_stay_different(one, another):
    form = re.compile("[a-z]{1,3}")
    assert (vendors.fitting(one, form) == vendors.fitting(another, form)) == (one == another)

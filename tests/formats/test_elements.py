"""JSON in pieces: the same parts however it is cut, and nothing large built before it was measured."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits
from eai_mcp.formats.elements import SMALL, Part, parts
from tests.formats.histories import JSON

VALUES = st.lists(JSON, max_size=4)


def told(text, *, size=None, **limits):
    """The parts of a text that comes in pieces of a size."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    cut = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    return [(part.kind, part.key, part.value) for part in parts(iter(cut), Limits(**limits))]


def elements(values):
    return [("element", "", value) for value in values]


@given(VALUES, st.integers(1, 9), st.sampled_from([None, 2]), st.booleans())
def test_a_list_is_told_by_its_elements_however_it_is_cut(values, size, indent, is_ascii):
    text = json.dumps(values, indent=indent, ensure_ascii=is_ascii or "\\ud83d" in json.dumps(values))
    assert told(text, size=size) == [*elements(json.loads(text)), ("end", "", None)]


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), VALUES, st.integers(1, 9))
def test_an_object_is_told_by_its_members_and_a_list_in_it_by_its_elements(members, values, size):
    members.pop("messages", None)
    found = told(json.dumps({**members, "messages": values}), size=size)
    for key in ("input", "items"):
        members.pop(key, None)
    assert [("element", "messages", value) for value in values] == [
        part for part in found if part[:2] == ("element", "messages")
    ]
    kept = {key: value for kind, key, value in found if kind == "member" and key in members}
    assert kept == members
    assert found[-2:] == [("member", "messages", []), ("end", "", None)]


@given(VALUES, st.integers(1, 9), st.sampled_from(["\n", "\r\n", " ", "\n\n"]))
def test_lines_are_told_one_by_one(values, size, between):
    rows = [{"row": value} for value in values]
    found = told(between.join(map(json.dumps, rows)), size=size)
    first = [("member", "row", values[0]), ("end", "", None)] if values else []
    assert found == [*first, *(("value", "", row) for row in rows[1:])]


def test_a_mark_at_the_beginning_is_passed_over():
    assert told(b"\xef\xbb\xbf[1]", size=1) == [("element", "", 1), ("end", "", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1 2]", "',' is missing at character 3, not '2'"),
        ("[1,", "a value is missing at character 3, not the end"),
        ("[1,]", "a value is missing at character 3, not ']'"),
        ("[,1]", "a value is missing"),
        ("[", "a value is missing"),
        ('{"a" 1}', "':' is missing"),
        ("{a: 1}", "a name in quotes is missing at character 1, not 'a'"),
        ('{"a": 1,}', "a name in quotes is missing"),
        ('["half', "ends in the middle of a value"),
        ('["half\\', "ends in the middle of a value"),
        ('[{"a": [1, 2}]', "not JSON"),
        ("[nul]", "not JSON: Expecting value"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "not JSON"),
        ("[1e999]", "1e999 is not JSON"),
        ('["a\nb"]', "not JSON: Invalid control character"),
        ("]", "a value is missing"),
        ("// a note", "not JSON"),
        ("[" + "9" * 5000 + "]", "not JSON: Exceeds the limit"),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 3])
def test_what_is_not_json_is_refused_with_its_place(text, message, size):
    with pytest.raises(ImportInvalid, match=message):
        told(text, size=size)


@pytest.mark.parametrize("data", [b'["\xff"]', b'["\xe2\x82"]', b"\xff\xfe[\x001\x00]\x00", b'["a\xe2'])
def test_what_is_not_utf_8_is_refused(data):
    with pytest.raises(ImportInvalid, match="not UTF-8"):
        told(data, size=1)


@pytest.mark.parametrize("depth", [10, 2000, 200_000])
@pytest.mark.parametrize("text", ['{"a":', "["])
def test_what_is_nested_too_deep_is_refused(depth, text):
    """Issue 5: limits ... on nesting."""
    with pytest.raises(ImportInvalid, match="nested deeper than 9 levels"):
        told("[" + text * depth, depth=9)


@pytest.mark.parametrize("closing", ["]" * 9, ""])
def test_as_deep_as_may_be_is_taken(closing):
    deep = "[" * 9 + "]" * 9
    assert told(f"[{deep}]", depth=9) == [*elements([json.loads(deep)]), ("end", "", None)]
    wide = "[" + ",".join(["[]"] * 50) + "]"
    assert told(f"[{wide}]", depth=9)[0] == ("element", "", [[]] * 50)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ('["' + "x" * 2_000_000 + '"]', {"element": 1_000_000}),
        ('["' + "x" * 2_000_000, {"element": 1_000_000}),
        ("[" + "1" * 2_000_000, {"element": 1_000_000}),
        ("[[" + "1," * 2_000_000, {"element": 1_000_000}),
        ("[[" + "[]," * 600_000 + "[]]]", {"values": 500_000}),
        ("[{" + ",".join(f'"{n}":0' for n in range(100_000)) + "}]", {"values": 90_000}),
        ("[[1,1,1,1]]", {"values": 2}),
        ('["' + "x" * 50 + '"]', {"element": 20}),
    ],
)
@pytest.mark.parametrize("size", [None, 65536])
def test_one_that_is_too_large_is_refused(text, limits, size):
    """Issue 5: limits on ... size."""
    with pytest.raises(LimitExceeded) as caught:
        told(text, size=size, **limits)
    actual, limit = caught.value.details["actual"], caught.value.details["limit"]
    assert isinstance(actual, int)
    assert isinstance(limit, int)
    assert actual > limit


@pytest.mark.parametrize("size", [1000, 65536, None])
def test_a_large_value_is_measured_before_it_is_read(size):
    long = {"a": "x\\" * SMALL, "b": [{"c": '"[{' * 1000}] * 3}
    assert told(json.dumps([long, 1]), size=size) == [*elements([long, 1]), ("end", "", None)]


def test_parts_say_how_much_of_the_limits_they_take():
    data = '[{"a": 1}, "long", 5, "né"]'.encode()
    few, many = Limits(element=1000, values=1000), Limits(element=1000, values=10)
    assert [part.size for part in parts(iter([data]), few)] == [8, 6, 1, 5, 0]
    assert [part.size for part in parts(iter([data]), many)] == [200, 6, 1, 5, 0]
    assert next(parts(iter([data]), few)) == Part("element", {"a": 1}, 8)


def test_signs_within_a_long_text_are_no_values():
    """A file that a tool read may be full of them, and must come back."""
    text = json.dumps([{"text": '{"a":[1,2,3]},' * 200_000, "b": [1, {}]}])
    assert told(text, size=65536)[0] == ("element", "", json.loads(text)[0])
    with pytest.raises(LimitExceeded, match="holds about 10 values"):
        told("[[1,2,3,4,5,6,7,8,9,10]]", values=9)

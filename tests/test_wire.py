import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from eai_mcp import wire


@pytest.mark.parametrize("text", ["{", "", "nul", "[" * 5000])
def test_what_is_not_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the json module's
        wire.parsed(text)


def test_numbers_that_json_does_not_have_become_null_or_an_error():
    assert wire.parsed('{"a": NaN, "b": -Infinity}') == {"a": None, "b": None}
    for text in ('{"a": NaN}', '{"a": 1e999}'):
        with pytest.raises(ValueError, match="is not JSON"):
            wire.strictly_parsed(text)
    assert wire.strictly_parsed('{"a": 1.5}') == {"a": 1.5}


def test_what_is_nested_too_deep_to_be_kept_is_an_error_where_that_counts():
    deep, deeper = "[" * 127 + '{"a": 1}' + "]" * 127, "[" * 128 + '{"a": 1}' + "]" * 128

    assert wire.strictly_parsed(deep) == wire.parsed(deep)
    with pytest.raises(ValueError, match="nested too deep"):
        wire.strictly_parsed(deeper)
    assert wire.is_deep(wire.parsed(deeper))


def test_bytes_may_begin_with_a_byte_order_mark_and_hold_anything():
    assert wire.parsed(b'\xef\xbb\xbf{"a": "\xff"}') == {"a": "\ufffd"}


def test_half_a_character_in_strict_json_is_marked_and_a_whole_one_kept():
    assert wire.strictly_parsed(r'{"a": "\ud83d\ude00 \ud83d"}') == {"a": "😀 \ufffd"}


def test_what_is_written_is_compact_and_keeps_its_order():
    assert wire.written({"b": 1, "a": ["é", None]}) == '{"b":1,"a":["é",null]}'
    assert wire.written("\ud83d") == '"\ufffd"'


def test_values_of_the_wrong_type_count_as_absent():
    values: list[JsonValue] = [{"a": 1}, [1], "x", None]
    assert [wire.fields(value) for value in values] == [{"a": 1}, {}, {}, {}]
    assert [wire.items(value) for value in values] == [[], [1], [], []]
    assert [wire.string(value) for value in ("x", 1, None)] == ["x", "", ""]
    counts = (3, 3.0, 3.5, -3, True, "3", None, float("inf"), 10**400)
    assert [wire.count(value) for value in counts] == [3, 3, 0, 0, 0, 0, 0, 0, 10**400]
    assert [wire.amount(value) for value in (2, 0.5, True, "2", 10**400)] == [2.0, 0.5, None, None, None]


@given(st.text(alphabet="a😀é", max_size=9), st.data())
def test_characters_cut_in_two_are_whole_again(text, data):
    halves = json.loads("[" + ",".join(f'"{u}"' for u in _escapes(text)) + "]")
    cut = data.draw(st.integers(0, len(halves)))
    joined = wire.Text()
    shown = [joined.add("".join(halves[:cut])), *(joined.add(half) for half in halves[cut:])]

    assert "".join(shown) == str(joined) == text


def test_half_a_character_alone_is_marked():
    text = wire.Text()

    assert [text.add("\ud83d"), text.add("x"), text.add("\ude00"), text.add("\ud83d")] == [
        "",
        "\ufffdx",
        "\ufffd",
        "",
    ]
    assert str(text) == "\ufffdx\ufffd"


def _escapes(text: str) -> list[str]:
    units = text.encode("utf-16-be")
    return [f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)]

"""Files that are nearly right, for the tests of reading: damaged in their bytes, their JSON, or their terms.

Each strategy gives the bytes of a file. Half of what is damaged is packed afterwards, so that the damage is
seen behind the gzip too.
"""

import gzip
import hashlib
import json
import os
from itertools import chain
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from pydantic import JsonValue

from eai_mcp.formats import Tally, own, writing
from eai_mcp.formats.erlang import Atom, Map, Term
from tests.formats import moving, terms
from tests.formats.histories import JSON, TEXTS
from tests.formats.trips import ELEMENTS, KEYS, NEARLY, WORDS

ROUNDS = int(os.environ.get("EAI_MCP_TEST_ROUNDS", "12"))
LOSSLESS = ("eai-mcp", "jsonl")
VENDORS = ("converse", "openai", "openai-responses", "anthropic")
WRITTEN = (*LOSSLESS, *VENDORS, "markdown")
READ = ("auto", *LOSSLESS, *VENDORS, "eai")

IN_JSON = (
    [bytes([sign]) for sign in b'"\\{}[],: \n0-\x00\x1f\x7f'],
    [b"\xff", b"\xf0\x9f", b"\xed\xa0\xbd", "\U0001f642".encode(), b"\xef\xbb\xbf", b"\\ud83d", b"\\u"],
    [b"NaN", b"1e999", b"-1e-999", b"9" * 5000, b"null", b"[" * 150, b'{"a":' * 150],
    [b'"messages":[', b'"version":2,', b'{"format":'],
)
IN_TERMS = (
    [b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\x83", b"\x83P\x00\x00\x00\xff", b"w\x04role", b"d\x00\x04user"],
    [b"l\xff\xff\xff\xff", b"m\x7f\xff\xff\xff", b"t\x00\x10\x00\x00", b"k\xff\xff", b"n\xff\x00", b"j"],
    [b"F\x7f\xf0\x00\x00\x00\x00\x00\x00"],
)
TOKENS = st.sampled_from([*chain(*IN_JSON, *IN_TERMS)])
NUMBERS = st.sampled_from([0, -1, 1e300, 2**63, 2**64, -(2**70), 10**4290, 0.1, 5e-324, 2, 253_402_300_800.0])


def nested(depth: int, is_object: bool) -> JsonValue:
    """A value within so many lists or objects."""
    value: JsonValue = 1
    for _ in range(depth):
        value = {"a": value} if is_object else [value]
    return value


DEEP = st.builds(nested, st.sampled_from([100, 120, 127, 128, 129, 134, 138, 141, 300]), st.booleans())
ODD: st.SearchStrategy[Any] = (
    NEARLY | NUMBERS | DEEP | WORDS | TEXTS | st.lists(st.dictionaries(KEYS, NEARLY), max_size=2)
)


def settled(per_round: float, **more: Any) -> settings:
    """So many examples; a longer run takes others each time."""
    count = max(1, int(per_round * ROUNDS))
    return settings(max_examples=count, derandomize=ROUNDS <= 25, database=None, deadline=None, **more)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some of them changed, cut off, inserted, repeated, left out, or in other places."""
    for _ in range(draw(st.integers(1, 3))):
        first, middle, last = sorted(draw(st.integers(0, len(whole))) for _ in range(3))
        head, left, right, tail = whole[:first], whole[first:middle], whole[middle:last], whole[last:]
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "leave", "swap"])):
            case "flip":
                flipped = bytes([left[-1] ^ (1 << draw(st.integers(0, 7)))]) if left else b""
                whole = head + left[:-1] + flipped + right + tail
            case "cut":
                whole = head + left + right
            case "insert":
                whole = head + draw(TOKENS | st.binary(max_size=9)) + left + right + tail
            case "repeat":
                whole = head + left + left + right + tail
            case "leave":
                whole = head + left + tail
            case _:
                whole = head + right + left + tail
    return whole


@st.composite
def respelled(draw: st.DrawFn, value: JsonValue) -> JsonValue:
    """The same JSON with another value, another key, or nothing in one place."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 15)) == 0:
        odd: JsonValue = draw(ODD)
        return odd
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        same = draw(st.integers(0, 9))
        changed = [] if same == 0 else [value[at]] * 2 if same == 1 else [draw(respelled(value[at]))]
        return [*value[:at], *changed, *value[at + 1 :]]
    within = [name for name in ("messages", "content") if name in value]
    key = draw(st.sampled_from([*value, *(within * 6)]))
    others = {other: inner for other, inner in value.items() if other != key}
    match draw(st.integers(0, 9)):
        case 0:
            return others
        case 1:
            return others | {draw(KEYS | st.text(max_size=5)): value[key]}
        case 2:
            return value | {draw(KEYS | st.text(max_size=5)): draw(ODD)}
        case _:
            return value | {key: draw(respelled(value[key]))}


@st.composite
def exports(draw: st.DrawFn, forms: tuple[Any, ...] = (*LOSSLESS, *VENDORS)) -> bytes:
    """A session as we write it."""
    lines, head = draw(moving.sessions), draw(moving.heads)
    return moving.written(draw(st.sampled_from(forms)), lines, head)


@st.composite
def nearly_exports(draw: st.DrawFn) -> bytes:
    """An export with other JSON in it, whose sha256 was taken away so that it is read all the same."""
    whole = draw(exports())
    rows = _rows(whole)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        place = draw(st.integers(0, len(rows) - 1))
        rows[place] = draw(respelled(rows[place]))
        if isinstance(rows[place], dict) and draw(st.integers(0, 9)):
            rows[place].pop("sha256", None)
            rows[place].pop("message_count", None)
    return b"\n".join(_json(row) for row in rows)


@st.composite
def nearly_elements(draw: st.DrawFn) -> bytes:
    """Elements of many formats, or nearly so, in any order and any of the frames that histories have."""
    elements = draw(ELEMENTS) if draw(st.booleans()) else []
    for other in draw(st.lists(exports(VENDORS), max_size=2)):
        elements += json.loads(other)
    elements = draw(st.permutations(elements)) if draw(st.booleans()) else elements
    match draw(st.integers(0, 3)):
        case 0:
            return _json(elements)
        case 1:
            return b"\n".join(map(_json, elements))
        case 2:
            return _json({draw(st.sampled_from(["messages", "input", "items", "output"])): elements})
        case _:
            about = {"format": "eai-mcp", "version": 1, "choices": draw(JSON), "usage": draw(JSON)}
            return _json({**about, "messages": elements})


@st.composite
def snapshots(draw: st.DrawFn) -> bytes:
    """All sessions as we write them, not packed."""
    sessions = draw(st.lists(st.tuples(moving.heads, moving.sessions), max_size=3))
    given = [(head, len(lines), lines) for head, lines in sessions]
    return gzip.decompress(b"".join(writing.snapshot(given, Tally())))


@st.composite
def nearly_snapshots(draw: st.DrawFn) -> bytes:
    """A snapshot with other JSON in its lines, and sums that fit."""
    rows = _rows(draw(snapshots()))[:-1]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(rows) - 1))
        rows[place] = draw(respelled(rows[place]))
    return sealed(rows)


def sealed(rows: list[Any]) -> bytes:
    """The rows of a snapshot, and a last one that fits to them."""
    digest = hashlib.sha256(b"".join(own.canonical(row) + b"\n" for row in rows)).hexdigest()
    heads = sum("role" not in row for row in rows[1:] if isinstance(row, dict))
    closing = {"session_count": heads, "message_count": len(rows) - 1 - heads, "sha256": digest}
    return b"\n".join(map(_json, [*rows, closing]))


@st.composite
def packed(draw: st.DrawFn, whole: bytes) -> bytes:
    """As one gzip file, as several, or as it is."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=2)))
    parts = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    return b"".join(gzip.compress(part, 1) for part in parts) if draw(st.booleans()) else whole


@st.composite
def _damaged_outside(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    return draw(damaged(draw(packed(draw(files)))))


@st.composite
def _damaged_inside(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    return draw(packed(draw(damaged(draw(files)))))


def mutated(files: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files that were packed and then damaged, or the other way round."""
    return _damaged_outside(files) | _damaged_inside(files)


WORDS_IN_TERMS: st.SearchStrategy[Term] = (
    st.binary(max_size=9)
    | TEXTS.map(lambda text: text.encode("utf-8", "replace"))
    | terms.byte_lists
    | st.builds(Atom, st.sampled_from(["nil", "user", "text"]))
)
IDS = st.sampled_from([b"a", b"b"])


def _keyed(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Term]:
    """A keyword list or a map, now and then without one of its names."""
    keywords = st.fixed_dictionaries(fields).map(lambda found: terms.keywords(**found))
    return keywords | st.fixed_dictionaries({}, optional=fields).map(lambda found: terms.record(**found))


_SHOWN = st.builds(terms.block, st.just("text"), WORDS_IN_TERMS) | st.builds(
    terms.block,
    st.just("image"),
    _keyed(format=st.just(b"png"), source=st.tuples(st.just(Atom("bytes")), st.just(b"QQ=="))),
)
_BLOCKS = (
    _SHOWN
    | st.builds(terms.block, st.just("thinking"), WORDS_IN_TERMS)
    | st.builds(
        terms.block,
        st.just("tool_use"),
        _keyed(tool_use_id=IDS, name=st.just(b"look"), input=terms.terms),
    )
    | st.builds(
        terms.block, st.just("tool_result"), _keyed(tool_use_id=IDS, content=st.lists(_SHOWN, max_size=2))
    )
    | st.builds(terms.block, st.sampled_from(["image", "tool_use", "tool_result", "odd"]), terms.terms)
)
_ROLES = st.sampled_from([Atom("user"), Atom("assistant"), b"assistant", Atom("system")])
_CONTENTS = st.lists(_BLOCKS, max_size=3) | WORDS_IN_TERMS
_WHOLE = st.builds(lambda role, content: terms.record(role=role, content=content), _ROLES, _CONTENTS)
_MESSAGES = _WHOLE | _WHOLE | _WHOLE | _keyed(role=_ROLES, content=_CONTENTS)
_FILES: st.SearchStrategy[Any] = (
    st.lists(_WHOLE, max_size=4)
    | st.lists(_WHOLE, min_size=1, max_size=5)
    | st.lists(_MESSAGES, max_size=4)
    | st.lists(_MESSAGES | terms.terms, max_size=3)
    | terms.terms
)
ERLANG: st.SearchStrategy[bytes] = terms.encoded(_FILES).map(lambda found: found[1])


@st.composite
def erlang_snapshots(draw: st.DrawFn) -> bytes:
    """All sessions of a node, each packed, or damaged, by itself."""
    names = draw(st.lists(WORDS_IN_TERMS, max_size=3))
    blob = ERLANG | mutated(ERLANG) | ERLANG.map(gzip.compress)
    chats = Map(tuple((name, draw(blob)) for name in names))
    whole = terms.encode(terms.record(version=draw(st.sampled_from([1, 1, 1, 2])), chat_sessions=chats))
    return terms.compress(whole) if draw(st.booleans()) else whole


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _rows(whole: bytes) -> list[Any]:
    """The values of JSON, or of lines of it."""
    try:
        return [json.loads(whole)]
    except ValueError:
        return [json.loads(row) for row in whole.splitlines()] or [[]]


BYTES = st.binary(max_size=60) | st.lists(TOKENS, max_size=8).map(b"".join)
ANY_JSON = JSON.map(_json) | st.lists(ODD, max_size=3).map(_json) | st.lists(JSON.map(_json)).map(b"\n".join)
SESSIONS = (
    BYTES
    | ANY_JSON
    | nearly_elements()
    | nearly_exports()
    | nearly_exports()
    | mutated(exports())
    | mutated(nearly_exports())
    | ERLANG
    | mutated(ERLANG)
)
"""Whatever may come where one session should."""

SNAPSHOTS = (
    BYTES
    | ANY_JSON
    | nearly_snapshots()
    | nearly_snapshots()
    | mutated(snapshots())
    | erlang_snapshots()
    | mutated(erlang_snapshots())
)
"""Whatever may come where all sessions should."""

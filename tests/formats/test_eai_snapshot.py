import contextlib
import gzip
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits, Repairs
from eai_mcp.formats.eai import Reader, Snapshot
from eai_mcp.formats.erlang import Atom, Map, Term, Terms
from eai_mcp.messages import Message, user
from tests.formats.terms import block, compress, cut, encode, message, record

LIMITS = Limits()


def history(pieces: Iterator[bytes]) -> list[Message]:
    reader = Reader(Repairs())
    elements = Terms(pieces, LIMITS).elements()
    return [said for place, element in enumerate(elements, 1) for said in reader.read(element, place)]


def unpacked(pieces: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    yield gzip.decompress(b"".join(pieces))


def snapshot(**fields: Term) -> Map:
    usual: dict[str, Term] = {
        "version": 1,
        "exported_at": 1_750_000_000_000_000,
        "cache_entries": Map(((b"result:1", record(status=Atom("complete"))),)),
    }
    return record(**{**usual, **fields})


def blob(*texts: bytes) -> bytes:
    return gzip.compress(encode([message("user", block("text", text)) for text in texts]))


def sessions(whole: bytes, limits: Limits = LIMITS) -> list[tuple[str, list[Message]]]:
    found = Snapshot(Terms(iter([whole]), limits), limits, unpacked).sessions()
    return [(name, history(pieces)) for name, pieces in found]


@pytest.mark.parametrize("later", ["version", "chat_sessions", "cache_entries"])
def test_a_snapshot_is_told_session_by_session_in_any_order_of_its_keys(later):
    """Issue 5: genuine Eai exports for session files and whole-system snapshots."""
    chats = Map(((b"default", blob(b"hi", b"there")), ([*b"work"], blob()), (Atom("other"), blob(b"x"))))
    first = snapshot(chat_sessions=chats)
    pairs = sorted(first.pairs, key=lambda pair: pair[0] == later)
    assert Terms(iter([encode(first)]), LIMITS).kind == "map"

    for whole in (encode(Map(tuple(pairs))), compress(encode(first))):
        assert sessions(whole) == [
            ("default", [user("hi"), user("there")]),
            ("work", []),
            ("other", [user("x")]),
        ]


def test_a_session_that_nobody_reads_is_passed_over():
    whole = encode(snapshot(chat_sessions=Map(((b"a", blob(b"1")), (b"b", blob(b"2")), (b"c", blob(b"3"))))))
    names = []
    for name, pieces in Snapshot(Terms(iter([whole]), LIMITS), LIMITS, unpacked).sessions():
        names.append(name)
        if name == "b":
            assert history(pieces) == [user("2")]

    assert names == ["a", "b", "c"]


NO_SESSIONS = Map(())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 2, "chat_sessions": NO_SESSIONS}, "has version 2; 1 can be read"),
        ({"version": b"9" * 99, "chat_sessions": NO_SESSIONS}, 'has version "9{38}…; 1 can'),
        ({}, "no snapshot of Eai: it has no `chat_sessions`"),
        ({"chat_sessions": [b"a"]}, "is no map, but tag 108"),
        ({"chat_sessions": Map(((b"a", Atom("blob")),))}, "is no binary, but tag 119"),
        ({"chat_sessions": Map(((7, blob()),))}, "names a session 7, which is no text"),
        ({"chat_sessions": Map(((b"a", blob()), (Atom("a"), blob())))}, "has two sessions named 'a'"),
    ],
)
def test_what_is_no_snapshot_is_refused(fields, reason):
    with pytest.raises(ImportInvalid, match=reason):
        sessions(encode(snapshot(**fields)))


def test_a_snapshot_without_a_version_is_refused():
    with pytest.raises(ImportInvalid, match="it has no `version`"):
        sessions(encode(record(chat_sessions=NO_SESSIONS)))


def test_all_sessions_together_are_held_to_the_limit():
    """Issue 5: limits on compressed and decompressed size."""
    chats = Map(tuple((b"%d" % number, blob(b"x" * 5000)) for number in range(9)))
    whole = encode(snapshot(chat_sessions=chats))

    assert len(sessions(whole)) == 9
    with pytest.raises(LimitExceeded, match="the sessions in the snapshot are larger than 40000 bytes"):
        sessions(whole, Limits(unpacked=40_000))


@given(st.data())
def test_a_snapshot_with_wrong_bytes_is_read_or_refused(data):
    whole = bytearray(encode(snapshot(chat_sessions=Map(((b"a", b"0123456789"), (b"b", b""))))))
    for place in data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    pieces = data.draw(cut(bytes(whole)))
    with contextlib.suppress(ImportInvalid, LimitExceeded):
        for _, content in Snapshot(Terms(iter(pieces), LIMITS), LIMITS, lambda packed, _: packed).sessions():
            deque(content, maxlen=0)

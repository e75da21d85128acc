"""Files that want to take all memory, made a piece at a time; and a process that reads one of them.

How large they are depends on the limits that they are made against. Started as a program with the name of
one, it tells how much memory reading took.
"""

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from eai_mcp.errors import EaiError
from eai_mcp.formats import MIB, Limits, Tally, reading, snapshots
from eai_mcp.formats.intake import Means
from eai_mcp.formats.spool import Spool
from tests.formats.terms import u32

Pieces: TypeAlias = Iterator[bytes]
PIECE = 128 * 1024
STATUS = Path("/proc/self/status")
"""Where Linux tells how much memory a process had at most."""

SMALL = Limits(packed=64 * MIB, unpacked=64 * MIB, element=4 * MIB, values=62_500, messages=62_500)
"""A sixteenth of the usual limits, so that less has to be read until they are reached."""


def filled(head: bytes, unit: bytes, size: int, tail: bytes = b"") -> Pieces:
    """A unit over and over, until it is about so many bytes, between a head and a tail."""
    times = max(1, PIECE // len(unit))
    yield head
    for _ in range(max(1, size // (len(unit) * times))):
        yield unit * times
    yield tail


def counted(head: bytes, unit: bytes, count: int, tail: bytes = b"", *, between: bytes = b",") -> Pieces:
    """So many of a unit in which `#` is their number."""
    yield head
    held = bytearray()
    for number in range(count):
        held += (between if number else b"") + unit.replace(b"#", b"%d" % number)
        if len(held) > PIECE:
            yield bytes(held)
            held.clear()
    yield bytes(held) + tail


def zipped(pieces: Iterable[bytes]) -> Pieces:
    """The same as gzip."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    yield from filter(None, map(deflate.compress, pieces))
    yield deflate.flush()


def said(content: bytes, tail: bytes = b"}]") -> tuple[bytes, bytes]:
    """What stands before and behind something endless in a user's message."""
    return b'[{"role":"user","content":' + content, tail


def binary(data: bytes) -> bytes:
    """A binary of Erlang's."""
    return b"m" + u32(len(data)) + data


def atom(name: str) -> bytes:
    return b"w" + bytes([len(name)]) + name.encode()


def pair(name: str, value: bytes) -> bytes:
    """One of a keyword list."""
    return b"h\x02" + atom(name) + value


def record(**fields: bytes) -> bytes:
    """A map; its last value may go on behind it."""
    return b"t" + u32(len(fields)) + b"".join(atom(name) + value for name, value in fields.items())


def listed(*terms: bytes) -> bytes:
    return b"l" + u32(len(terms)) + b"".join(terms) + b"j"


def _opened(block: bytes, size: int) -> bytes:
    """A file with one message of one block, which ends in a binary of that size that is still to come."""
    content = b"l" + u32(1) + b"h\x02" + block + b"m" + u32(size)
    return b"\x83l" + u32(1) + record(role=atom("user"), content=content)


def uses(count: int) -> bytes:
    """A message that uses so many tools."""
    use = b'{"type":"tool_use","id":"c%d","name":"a","input":{}}'
    return b'{"role":"assistant","content":[' + b",".join(use % number for number in range(count)) + b"]}"


def _long_results(limits: Limits) -> Pieces:
    """Tools that say a lot, each in a message of its own."""
    length = limits.element // 16
    head = b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"c%d",'
    head += b'"content":[{"type":"text","text":"'
    yield uses(64) + b"\n"
    for number in range(64):
        yield from filled(head % number, b"x" * 1024, length, b'"}]}]}\n')


def _erlang_results(limits: Limits) -> Pieces:
    """The same of Erlang's."""
    length = limits.element // 16
    used = [
        pair("tool_use", listed(pair("tool_use_id", binary(b"%d" % number)), pair("name", binary(b"a"))))
        for number in range(64)
    ]
    yield b"\x83l" + u32(65) + record(role=atom("assistant"), content=listed(*used))
    for number in range(64):
        content = listed(pair("text", binary(b"x" * length)))
        result = pair(
            "tool_result", listed(pair("tool_use_id", binary(b"%d" % number)), pair("content", content))
        )
        yield record(role=atom("user"), content=listed(result))
    yield b"j"


def _undecided(limits: Limits) -> Pieces:
    """Erlang's messages that could be of any format, all of them long."""
    length = limits.element // 16
    yield b"\x83l" + u32(200)
    for _ in range(200):
        yield b"t" + u32(2) + binary(b"role") + binary(b"user") + binary(b"content") + binary(b"x" * length)
    yield b"j"


def _heavy_calls(limits: Limits) -> Pieces:
    """Calls that are one message, whose inputs are small as text and large as values."""
    given = b'{\\"a\\":[' + b"[]," * 1000 + b"[]]}"
    unit = b'{"type":"function_call","call_id":"c#","name":"a","arguments":"' + given + b'"}'
    return counted(b"[", unit, 2 * limits.values // 1000, b"]")


SNAPSHOT = b'{"format":"eai-mcp-snapshot","version":1}\n'


def _eai(sessions: Iterable[bytes], count: int) -> Pieces:
    """A snapshot of a whole Eai system."""
    yield b"\x83t" + u32(2) + atom("version") + b"a\x01" + atom("chat_sessions") + b"t" + u32(count)
    for number, session in enumerate(sessions):
        yield binary(b"%08d" % number) + binary(session)


def _bombs(limits: Limits) -> Pieces:
    """Sessions each of which is gzip of a compressed term, and as large as all may be."""
    message = record(
        role=atom("user"),
        content=listed(pair("odd", binary(bytes(limits.element // 2))), pair("text", binary(b"a"))),
    )
    count = limits.unpacked // len(message)
    deflate = zlib.compressobj(9)
    term = b"".join([deflate.compress(b"l" + u32(count)), *(deflate.compress(message) for _ in range(count))])
    term += deflate.compress(b"j") + deflate.flush()
    blob = gzip.compress(b"\x83P" + u32(5 + count * len(message) + 1) + term)
    return _eai([blob] * 30, 30)


SESSIONS: dict[str, Callable[[Limits], Pieces]] = {
    "1 GiB of zeros": lambda limits: zipped(filled(b"", bytes(MIB), 1024 * MIB)),
    "endless lists": lambda limits: zipped(filled(said(b"[")[0], b"[],", 2 * limits.element)),
    "lists in lists": lambda limits: filled(
        said(b"[")[0], b"[" * 100 + b"]" * 100 + b",", limits.element * 9 // 10, b"1]}]"
    ),
    "endless objects": lambda limits: filled(said(b"[")[0], b'{"a":{}},', 2 * limits.element),
    "endless string": lambda limits: zipped(filled(b'["', b"a" * 1024, limits.unpacked)),
    "endless digits": lambda limits: zipped(filled(b"[", b"1" * 1024, limits.unpacked)),
    "long digits": lambda limits: filled(b"[1.", b"1" * 1024, limits.element * 9 // 10, b"]"),
    "endless white space": lambda limits: zipped(filled(b"[", b" \n\t\r" * 256, limits.unpacked + 2 * MIB)),
    "endless nesting": lambda limits: zipped(filled(b"", b"[" * 1024, limits.unpacked)),
    "endless members": lambda limits: counted(b"{", b'"k#":1', limits.values, b"}"),
    "long names": lambda limits: counted(b"{", b'"' + b"k" * 10_000 + b'#":1', limits.element // 5000, b"}"),
    "one member over and over": lambda limits: zipped(
        filled(b"{", b'"a":"' + b"x" * 1000 + b'",', 2 * limits.element, b'"b":1}')
    ),
    "keys in a message": lambda limits: counted(said(b"[{")[0], b'"k#":1', limits.values // 4, b"}]}]"),
    "a long text": lambda limits: filled(said(b'"')[0], b"a" * 1024, limits.element * 9 // 10, b'"}]'),
    "a long text of faces": lambda limits: filled(
        b'{"messages":[{"at":1,"role":"user","content":[{"type":"text","text":"',
        "\U0001f642".encode() * 256,
        limits.element * 9 // 10,
        b'"}]}]}',
    ),
    "one face in a long text": lambda limits: filled(
        said('"\U0001f642'.encode())[0], b"a" * 1024, limits.element * 9 // 10, b'"}]'
    ),
    "escapes": lambda limits: filled(said(b'"')[0], b"\\u0001\\n" * 256, limits.element * 9 // 10, b'"}]'),
    "many messages": lambda limits: filled(b"", b'{"role":"user","content":"a"}\n', limits.messages * 60),
    "many that are left out": lambda limits: counted(
        b"[", b'{"role":"system","content":"#"}', limits.values // 10, b',{"role":"user","content":"a"}]'
    ),
    "many inputs": _heavy_calls,
    "long results": _long_results,
    "kinds": lambda limits: counted(
        b"[",
        b'{"role":"user","content":[{"type":"kind #","x":1},{"type":"text","text":"a"}]}',
        limits.values // 10,
        b"]",
    ),
    "wrong blocks": lambda limits: counted(
        b'[{"at":1,"role":"user","content":[', b'{"type":"text"}', limits.values // 3 - 9, b"]}]"
    ),
    "wrong pieces": lambda limits: counted(
        b'[{"at":1,"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[',
        b'{"type":"text"}',
        limits.values // 3 - 9,
        b"]}]}]",
    ),
    "wrong names": lambda limits: counted(
        b'[{"at":1,"role":"user","content":[],', b'"k#":1', limits.values // 2 - 9, b"}]"
    ),
    "many gzip files": lambda limits: iter([gzip.compress(b" ") * 99_999, gzip.compress(b"[]")]),
    "too many gzip files": lambda limits: iter([gzip.compress(b" ") * 100_001]),
    "nils": lambda limits: filled(b"\x83l" + u32(limits.unpacked // 2), b"j", limits.unpacked // 2),
    "nils in a message": lambda limits: filled(
        b"\x83l" + u32(1) + b"l" + u32(limits.values), b"j", limits.values
    ),
    "a binary of what is no text": lambda limits: filled(
        _opened(atom("text"), limits.element // PIECE * PIECE * 15 // 16),
        b"\xff" * 1024,
        limits.element // PIECE * PIECE * 15 // 16,
        b"jj",
    ),
    "undecided": _undecided,
    "long results of Eai": _erlang_results,
}
"""Where one session should be."""

SNAPSHOTS: dict[str, Callable[[Limits], Pieces]] = {
    "a million empty sessions": lambda limits: zipped(
        counted(SNAPSHOT, b'{"session":"s#"}', 16 * limits.values, between=b"\n")
    ),
    "long choices": lambda limits: zipped(
        filled(
            SNAPSHOT, b'{"session":"s","choices":{"system":"' + b"x" * PIECE + b'"}}\n', 8 * limits.element
        )
    ),
    "a first line without an end": lambda limits: counted(b"{", b'"k#":1', limits.values, b"}"),
    "long results": lambda limits: chain([SNAPSHOT + b'{"session":"s"}\n'], _long_results(limits)),
    "sessions of Eai": lambda limits: zipped(_eai([b"\x83j"] * 4 * limits.values, 4 * limits.values)),
    "bombs within bombs": _bombs,
}
"""Where all sessions should be."""


def tried(name: str, limits: Limits) -> str:
    """What came of reading it: the code of the error, or how many messages or sessions there are."""
    with Spool() as spool:
        means = Means(spool=spool, limits=limits, tally=Tally(), now=0.0)
        kind, _, of = name.partition(": ")
        try:
            if kind == "session":
                return f"{read_back(SESSIONS[of](limits), means)} messages"
            found = snapshots.sessions(SNAPSHOTS[of](limits), means)
        except EaiError as error:
            return error.code
        return f"{len(found)} sessions"


def read_back(pieces: Pieces, means: Means) -> int:
    """Read a session, and what was kept of it; how many messages there are."""
    return sum(1 for _ in reading.session(pieces, "auto", means).lines)


def _peak() -> int:
    rows = STATUS.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))


if __name__ == "__main__":
    before = _peak()
    came = tried(sys.argv[1], Limits() if sys.argv[2] == "usual" else SMALL)
    print(json.dumps([came, _peak() - before]))

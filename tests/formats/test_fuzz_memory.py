"""Files that want all memory, or all time: what reading takes is bounded by the limits, or by their size.

Beside what each process needs, reading takes at most 16 bytes for each that one message may have, and 64 MiB:
a message is there as text, as values, and as what is kept of it, in which a byte may take six.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import MIB, Limits
from tests.formats import hostile, moving
from tests.formats.hostile import SESSIONS, SMALL, SNAPSHOTS, STATUS
from tests.formats.mutations import ROUNDS

TOP = Path(__file__).parents[2]
IS_LONG = ROUNDS > 25
"""Whether all files are made for the usual limits, which takes minutes."""

EXPECTED = {
    "session: long digits": "import_invalid",
    "session: endless nesting": "import_invalid",
    "session: keys in a message": "import_invalid",
    "session: a long text": "1 messages",
    "session: a long text of faces": "1 messages",
    "session: one face in a long text": "1 messages",
    "session: escapes": "1 messages",
    "session: many that are left out": "1 messages",
    "session: kinds": "{kinds} messages",
    "session: wrong blocks": "import_invalid",
    "session: wrong pieces": "import_invalid",
    "session: wrong names": "import_invalid",
    "session: many gzip files": "0 messages",
    "session: nils": "import_invalid",
    "session: a binary of what is no text": "1 messages",
    "session: undecided": "{undecided}",
}
"""What becomes of those that are not too large."""

AS_USUAL = ["session: 1 GiB of zeros", "session: endless string", "session: a binary of what is no text"]
ALL = [*(f"session: {name}" for name in SESSIONS), *(f"snapshot: {name}" for name in SNAPSHOTS)]

needs_peaks = pytest.mark.skipif(not STATUS.exists(), reason="nothing tells how much memory was in use")


def peak(name: str, which: str) -> tuple[str, int]:
    """What became of a file, and the bytes that reading it took."""
    command = [sys.executable, "-m", hostile.__name__, name, which]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True, timeout=150)
    came, taken = json.loads(done.stdout)
    return came, taken


@needs_peaks
@pytest.mark.timeout(170)
@pytest.mark.parametrize("name", ALL)
def test_no_file_takes_more_memory_than_the_limits_allow(name):
    """Issue 5: a bomb is refused in bounded memory; no input makes the importer use more than its limit."""
    is_usual = IS_LONG or name in AS_USUAL
    limits = Limits() if is_usual else SMALL
    came, taken = peak(name, "usual" if is_usual else "small")

    kinds, undecided = limits.values // 10, "limit_exceeded" if is_usual else "200 messages"
    expected = EXPECTED.get(name, "limit_exceeded").format(kinds=kinds, undecided=undecided)
    assert (came, taken < 64 * MIB + 16 * limits.element) == (expected, True), f"{taken / MIB:.0f} MiB"


def calls(pieces: Iterator[bytes]) -> int:
    """How many functions were called while a session was read."""
    count = 0

    def heard(_frame, event, _called):
        nonlocal count
        count += event in ("call", "c_call")

    with moving.means() as means:
        before = sys.getprofile()
        sys.setprofile(heard)
        try:
            with suppress(ImportInvalid):
                hostile.read_back(pieces, means)
        finally:
            sys.setprofile(before)
    return count


def uses(count: int, *, is_reversed: bool = False) -> Iterator[bytes]:
    """Tools that are used in one message, and say something in a message each."""
    result = b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"c%d","content":"a"}]}'
    places = range(count)[::-1] if is_reversed else range(count)
    return iter([hostile.uses(count), b"\n", b"\n".join(result % place for place in places)])


def items(count: int) -> Iterator[bytes]:
    call = b'{"type":"function_call","call_id":"c#","name":"a","arguments":"{}"}'
    output = b'{"type":"function_call_output","call_id":"c#","output":"a"}'
    yield from hostile.counted(b"[", call, count, b",")
    yield from hostile.counted(b"", output, count, b"]")


def single(whole: bytes) -> Iterator[bytes]:
    return (whole[at : at + 1] for at in range(len(whole)))


LONG = b'[{"role":"user","content":"%s"}]'
GROWING = {
    "results": uses,
    "results from the last": lambda count: uses(count, is_reversed=True),
    "items": items,
    "uses without results": lambda count: iter([b"[", hostile.uses(count), b"]"]),
    "uses of one id": lambda count: iter([b"[", hostile.uses(count).replace(b"0", b""), b"]"]),
    "kinds": lambda count: hostile.counted(b"[", b'{"role":"user","content":[{"type":"k#"}]}', count, b"]"),
    "members": lambda count: hostile.counted(b"{", b'"k#":1', count, b',"messages":[]}'),
    "names": lambda count: hostile.counted(b'[{"role":"user","content":[{', b'"k#":1', count, b"}]}]"),
    "bytes of a text": lambda count: single(LONG % (b"a" * count)),
    "bytes of escapes": lambda count: single(LONG % (b"\\n" * count)),
    "bytes of white space": lambda count: single(b"[" + b" " * count + b"]"),
    "bytes of a number": lambda count: single(b"[" + b"1" * count + b"]"),
    "bytes of messages": lambda count: single(b'{"role":"user","content":"a"}' * (count // 10)),
    "bytes of gzip": lambda count: single(b"".join(hostile.zipped([LONG % (b"a" * 100 * count)]))),
    "gzip files": lambda count: iter([b"".join(hostile.zipped([b" "])) * count]),
}


@pytest.mark.parametrize("kind", GROWING)
def test_twice_as_much_is_not_more_than_twice_the_work(kind):
    """Issue 5: Safety: the work grows as the file does."""
    for count in (400, 2000):
        assert calls(GROWING[kind](2 * count)) < 2.5 * calls(GROWING[kind](count)) + 2000

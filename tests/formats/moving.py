"""Whole files in short, for the tests of formats: sessions written, and read again."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from eai_mcp.formats import Head, Limits, Tally, reading, snapshots, writing
from eai_mcp.formats.intake import Imported, Means
from eai_mcp.formats.spool import Spool
from eai_mcp.messages import Line, Message, Usage, line
from tests.formats.histories import histories

NOW = 1_000.0
LIMITS = Limits()


@dataclass(frozen=True)
class Came:
    """What was read, out of the spool."""

    format: str
    head: Head
    lines: list[Line]
    repairs: tuple[str, ...]

    @property
    def messages(self) -> list[Message]:
        return [each.message for each in self.lines]


def lines(messages: Iterable[Message]) -> list[Line]:
    """Messages with a turn and a time."""
    return [line(each, turn_id=f"t{place}", at=50.5 + place) for place, each in enumerate(messages)]


def written(form: Any, given: Iterable[Line], head: Head = Head(session="work")) -> bytes:  # noqa: B008  # frozen
    """A file, not packed."""
    return b"".join(writing.session(form, head, given, Tally()))


def limited(given: Iterable[Line], **limits: int) -> bytes:
    """A file, if it could be read again within these limits."""
    tally = Tally()
    return b"".join(writing.limited(writing.session("jsonl", Head(), given, tally), Limits(**limits), tally))


def snapshot(*sessions: tuple[Head, Sequence[Line]]) -> bytes:
    """All sessions, packed."""
    return b"".join(writing.snapshot(((head, len(given), given) for head, given in sessions), Tally()))


def read(data: bytes | list[bytes], form: str = "auto", *, limits: Limits = LIMITS) -> Came:
    """A session out of a file, or of its pieces."""
    with means(limits) as given:
        pieces = iter(data if isinstance(data, list) else [data])
        return _came(reading.session(pieces, form, given))


def read_all(data: bytes, *, limits: Limits = LIMITS) -> list[Came]:
    """The sessions out of a snapshot."""
    with means(limits) as given:
        return [_came(each) for each in snapshots.sessions(iter([data]), given)]


@contextmanager
def means(limits: Limits = LIMITS) -> Iterator[Means]:
    with Spool() as spool:
        yield Means(spool=spool, limits=limits, tally=Tally(), now=NOW)


def rewritten(data: bytes, **changes: Any) -> bytes:
    """Our file with other members; None removes one."""
    value = json.loads(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    value.update(changes)
    return json.dumps({name: member for name, member in value.items() if member is not None}).encode()


def _came(imported: Imported) -> Came:
    came = Came(imported.format, imported.head, [*imported.lines], imported.repairs)
    assert imported.message_count == len(came.lines)
    return came


counts = st.integers(0, 2**40)
usages = st.builds(Usage, counts, counts, counts, counts, counts, st.none() | st.floats(0, 1e6))
heads = st.builds(
    Head,
    session=st.from_regex(r"[A-Za-z0-9._:@+-]{1,20}", fullmatch=True),
    updated_at=st.floats(0, 4e9),
    choices=st.dictionaries(
        st.sampled_from(["model", "prompt", "system", "card", "pty_session_id"]), st.text(max_size=9)
    ),
    usage=usages,
)
sessions = histories().flatmap(
    lambda messages: st.tuples(
        *(
            st.builds(
                line, st.just(each), turn_id=st.text(max_size=9), at=st.floats(0, 4e9, allow_subnormal=False)
            )
            for each in messages
        )
    ).map(list)
)

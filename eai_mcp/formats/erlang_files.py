"""Files of Eai: a session as a list of Erlang terms, or a whole system."""

from collections.abc import Iterator
from dataclasses import replace

from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Head, Limits, eai, packed
from eai_mcp.formats.erlang import Terms
from eai_mcp.formats.intake import Imported, Intake, Means, Sessions

MAGIC = b"\x83"
"""The first byte of a term in the External Term Format."""


def session(data: Iterator[bytes], means: Means) -> Imported:
    """Read an export of one session.

    Raises:
        ImportInvalid, LimitExceeded: It is none, or damaged, or too large.
    """
    terms = Terms(data, means.limits)
    if terms.kind == "map":
        raise ImportInvalid("the file is a snapshot of a whole Eai system: `restore` reads it")
    return _taken(terms, means, Head())


def sessions(data: Iterator[bytes], means: Means) -> list[Imported]:
    """Read a snapshot of a whole system.

    Raises:
        ImportInvalid, LimitExceeded: It is none, or damaged, or too large.
    """
    terms = Terms(data, means.limits)
    if terms.kind != "map":
        raise ImportInvalid(
            "the file is an export of one Eai session: `replace_history` (`eai-mcp import`) reads it"
        )

    def unpacked(pieces: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
        return means.tally.watched(packed.unpacked(pieces, limits))

    found, left = Sessions(means.limits), means.limits.unpacked
    for name, pieces in eai.Snapshot(terms, means.limits, unpacked).sessions():
        # A term may be compressed once more, and all of them together must not be longer than one may be.
        session_terms = Terms(pieces, replace(means.limits, unpacked=left))
        found.add(_taken(session_terms, means, Head(session=name)))
        left -= session_terms.length
    return found.all


def _taken(terms: Terms, means: Means, head: Head) -> Imported:
    """All messages; Eai may also have written those of a vendor as they were."""
    intake = Intake("auto", means)
    reader = eai.Reader(intake.repairs)
    for place, element in enumerate(terms.elements(), 1):
        if eai.is_message(element):
            intake.messages(reader.read(element, place), size=terms.size)
        else:
            intake.element(eai.to_json(element), size=terms.size)
    intake.messages(reader.close())
    return replace(intake.done(head), format="eai")

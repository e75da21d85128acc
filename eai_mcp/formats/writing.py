"""Sessions as the bytes of a file, in any format that we write."""

import itertools
from collections.abc import Iterable, Iterator

from eai_mcp import wire
from eai_mcp.errors import LimitExceeded
from eai_mcp.formats import (
    LIMITS,
    Head,
    Limits,
    Tally,
    Writer,
    Written,
    anthropic,
    converse,
    damaged,
    markdown,
    openai,
    own,
    packed,
    responses,
)
from eai_mcp.messages import JsonObject, Line, Message

WRITERS: dict[Written, type[Writer]] = {
    "converse": converse.Writer,
    "openai": openai.Writer,
    "openai-responses": responses.Writer,
    "anthropic": anthropic.Writer,
}
ENDINGS: dict[str, Written] = {".md": "markdown", ".markdown": "markdown", ".jsonl": "jsonl"}
PIECE = 256 * 1024


def session(form: Written, head: Head, lines: Iterable[Line], tally: Tally) -> Iterator[bytes]:
    """A session in a format; `tally` counts its messages.

    Raises:
        StorageUnavailable: A message is damaged.
    """
    match form:
        case "eai-mcp":
            return _gathered(own.session(head, lines, tally))
        case "jsonl":
            return _gathered(own.jsonl(lines, tally))
        case "markdown":
            return _gathered(markdown.transcript(head, _read(lines), tally))
        case _:
            return _gathered(_listed(WRITERS[form](), lines, tally))


def snapshot(
    sessions: Iterable[tuple[Head, int, Iterable[Line]]], tally: Tally, limits: Limits = LIMITS
) -> Iterator[bytes]:
    """All sessions, each with the number of its messages, as our packed snapshot.

    Raises:
        StorageUnavailable: A message is damaged.
        LimitExceeded: It could not be read again.
    """
    return gzipped(limited(_gathered(own.snapshot(sessions, tally)), limits, tally))


def limited(pieces: Iterator[bytes], limits: Limits, tally: Tally) -> Iterator[bytes]:
    """The same pieces, of which there are no more than can be read again.

    Raises:
        LimitExceeded: There are.
    """
    size = 0
    for piece in pieces:
        size += len(piece)
        for actual, limit, what in (
            (size, limits.unpacked, "bytes"),
            (tally.messages, limits.messages, "messages"),
        ):
            if actual > limit:
                raise LimitExceeded(
                    f"there are more than {limit:,} {what}, which could not be read again; export sessions"
                    " one by one, or fork a part of a long one",
                    limit=limit,
                    actual=actual,
                )
        yield piece


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces packed, always into the same bytes."""
    packer = packed.Packer()
    for piece in pieces:
        if ready := packer.add(piece):
            yield ready
    yield packer.close()


def form_of(path: str) -> Written:
    """The format that the name of a file asks for, where nobody names one."""
    name = path.lower().removesuffix(".gz")
    for ending, form in ENDINGS.items():
        if name.endswith(ending):
            return form
    return own.SESSION


def is_packed(form: Written, path: str) -> bool:
    """Whether a file is to be packed: if its name says so, and ours unless its name says that it is not."""
    name = path.lower()
    return name.endswith(".gz") or (form == own.SESSION and not name.endswith(".json"))


def _listed(writer: Writer, lines: Iterable[Line], tally: Tally) -> Iterator[bytes]:
    """A list with an element a line."""

    def elements() -> Iterator[JsonObject]:
        for _, message in _read(lines):
            tally.add()
            yield from writer.write(message)
        yield from writer.close()

    yield b"["
    for separator, element in zip(itertools.chain(["\n"], itertools.repeat(",\n")), elements(), strict=False):
        yield f"{separator}{wire.written(element)}".encode()
    yield b"\n]\n"


def _read(lines: Iterable[Line]) -> Iterator[tuple[Line, Message]]:
    for line in lines:
        try:
            yield line, line.message
        except ValueError as error:
            raise damaged() from error


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Fewer and larger pieces."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)

"""Files with so many messages that reading them takes a while."""

from collections.abc import Iterator
from pathlib import Path

from eai_mcp.formats import Head, Tally, writing
from eai_mcp.messages import Line, assistant, line, user


def history(count: int, word: str) -> Iterator[Line]:
    """Messages that are told apart by their session's word and their number."""
    for number in range(count):
        text = f"{word} {number}"
        yield line(assistant(text) if number % 2 else user(text), at=float(number))


def jsonl(path: Path, count: int) -> None:
    """One session, as JSONL."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(writing.session("jsonl", Head(), history(count, "file"), Tally())))


def snapshot(path: Path, **counts: int) -> None:
    """A snapshot of sessions with so many messages."""
    path.parent.mkdir(exist_ok=True)
    sessions = [(Head(session=name), count, history(count, name)) for name, count in counts.items()]
    path.write_bytes(b"".join(writing.snapshot(sessions, Tally())))

"""What `Eai` for Elixir writes: messages as Erlang terms, and all sessions of a node in one file.

    message   %{role: :user | :assistant, content: [block]}
    block     {:text, s} | {:thinking, s}
              {:image, [format: "png", source: {:bytes, base64}]}
              {:tool_use, [tool_use_id: s, name: s, input: %{}]}
              {:tool_result, [tool_use_id: s, content: [block]]}
    snapshot  %{version: 1, exported_at: n, chat_sessions: %{name => gzip of messages}, cache_entries: %{}}

A name may be an atom or a string; a string a binary, a charlist or iodata; a keyword list may be a map. What
has another name is passed over. A file may also hold maps in the shape of a vendor's JSON: `is_message`
tells them apart.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias, TypeVar

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits, Repairs, media, vendors
from eai_mcp.formats.erlang import Atom, Map, Term, Terms, Value
from eai_mcp.formats.vendors import Notes, Shown
from eai_mcp.messages import (
    Block,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

VERSION: Final = 1
"""The only version of a snapshot that there is."""

ROLES: Final = ("user", "assistant", "system")
DEEPEST: Final = 200
"""Levels of nesting in a term that becomes JSON."""

Unpack: TypeAlias = Callable[[Iterator[bytes], Limits], Iterator[bytes]]

_LONGEST_SHOWN: Final = 40
_Made = TypeVar("_Made", bound=Block)


class Reader:
    """Reads Eai's messages; each has at most one tool result, and they are not joined here."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs

    def read(self, element: Term, place: int) -> Iterator[Message]:
        """The message, unless nothing of it can be kept.

        Raises:
            ImportInvalid: It has no role, or one that is unknown.
        """
        notes = Notes(self._repairs, place)
        fields = _fields(element)
        role = notes.role(_named(fields.get("role")), known=ROLES)
        if role is not None:
            yield from notes.message(role, _blocks(fields.get("content"), _BLOCKS, notes))

    def close(self) -> Iterator[Message]:
        """Nothing waits."""
        yield from ()


class Snapshot:
    """The sessions in a snapshot, each with what is in its gzip, in the order of the file.

    `unpacked` takes the gzip off. It is known to be a whole snapshot of a known version only when the last
    session was followed by the end, so nothing should be kept before.
    """

    def __init__(self, terms: Terms, limits: Limits, unpacked: Unpack) -> None:
        self._terms = terms
        self._limits = limits
        self._unpacked = unpacked
        self._size = 0
        self._names: set[str] = set()

    def sessions(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The name of each session, and the bytes of its term. What is not read of them is passed over.

        Raises:
            ImportInvalid: It is no snapshot, is damaged, or has another version.
            LimitExceeded: All sessions together are too large.
        """
        missing = {"version", "chat_sessions"}
        for key, value in self._terms.pairs():
            name = _named(key)
            if name == "version":
                _check_version(value.term())
            elif name == "chat_sessions":
                yield from self._sessions(value)
            missing.discard(name or "")
        if missing:
            raise ImportInvalid(f"this is no snapshot of Eai: it has no `{min(missing)}`")

    def _sessions(self, value: Value) -> Iterator[tuple[str, Iterator[bytes]]]:
        for key, blob in value.pairs():
            name = _named(key)
            if name is None:
                raise ImportInvalid(f"the snapshot names a session {_shown(key)}, which is no text")
            if name in self._names:
                raise ImportInvalid(f"the snapshot has two sessions named {name[:_LONGEST_SHOWN]!r}")
            self._names.add(name)
            yield name, self._measured(self._unpacked(blob.pieces(), self._limits))

    def _measured(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        most = self._limits.unpacked
        for piece in pieces:
            self._size += len(piece)
            if self._size > most:
                raise LimitExceeded(
                    f"the sessions in the snapshot are larger than {most} bytes, the most that is read",
                    limit=most,
                    actual=self._size,
                )
            yield piece


def is_message(element: Term) -> bool:
    """Whether it is a message of Eai's own, not one in the shape of a vendor's JSON.

    Plain words in a message can be either; then its names decide: Eai's are atoms.
    """
    if not isinstance(element, Map):
        return False
    content = _fields(element).get("content")
    kinds = {type(part) for part in content} if isinstance(content, list) else set()
    if kinds & {tuple, Map}:
        return tuple in kinds and "role" in _fields(element)
    return any(isinstance(key, Atom) and key == "role" for key, _ in element.pairs)


def to_json(term: Term, notes: Notes | None = None) -> JsonValue:
    """The term as JSON: atoms and binaries are strings, tuples are lists, a charlist is a list of numbers.

    What has no place in JSON is left out of it, and noted if there are `notes`.

    Raises:
        ImportInvalid: It is nested too deep.
    """
    return _json(term, notes, DEEPEST)


def _json(term: Term, notes: Notes | None, levels: int) -> JsonValue:
    if not levels:
        raise ImportInvalid(f"an Erlang term is nested deeper than {DEEPEST} levels")
    match term:
        case Atom():
            return _CONSTANTS.get(term, str(term))
        case bytes():
            return _decoded(term, notes)
        case list() | tuple():
            return [_json(part, notes, levels - 1) for part in term]
        case Map():
            keyed = ((_key(key, notes), value) for key, value in term.pairs)
            return {key: _json(value, notes, levels - 1) for key, value in keyed if key is not None}
        case _:
            return term


def _key(term: Term, notes: Notes | None) -> str | None:
    """A name or a number as a key of JSON; None for what is left out."""
    if isinstance(term, Atom) and term == "__struct__":
        return None
    if isinstance(term, int | float):
        return wire.written(term)
    name = _named(term, notes)
    # Not the JSON of any term: quotes in quotes in quotes double with each level.
    if name is None and notes is not None:
        notes.note("a key that is neither a text nor a number was left out")
    return name


def _blocks(
    content: Term | None, kinds: Mapping[str, Callable[[Term, Notes], Iterator[_Made]]], notes: Notes
) -> Iterator[TextBlock | _Made]:
    """The blocks of a content that is a list of them, or, as others have it, just words."""
    words = None if content == [] else _words(content, notes)
    if words is not None:
        yield from _taken(words, notes)
    elif isinstance(content, list):
        for part in content:
            yield from _block(part, kinds, notes)
    elif not _is_nothing(content):
        notes.note("a content that is neither text nor a list was left out")


def _block(
    part: Term, kinds: Mapping[str, Callable[[Term, Notes], Iterator[_Made]]], notes: Notes
) -> Iterator[TextBlock | _Made]:
    words = _words(part, notes)
    if words is not None:
        yield from _taken(words, notes)
    elif not isinstance(part, tuple) or len(part) != 2:
        notes.unknown("a block", None)
    else:
        kind = _named(part[0])
        read = kinds.get(kind or "")
        if read is None:
            notes.unknown("a block", kind)
        else:
            yield from read(part[1], notes)


def _taken(words: str, notes: Notes) -> Iterator[TextBlock]:
    notes.note("string content was taken as text")
    yield from vendors.text(words, notes)


def _text(said: Term, notes: Notes) -> Iterator[TextBlock]:
    yield from vendors.text(_words(said, notes), notes)


def _thinking(said: Term, notes: Notes) -> Iterator[ThinkingBlock]:
    yield from vendors.thought(_words(said, notes), None, notes)


def _image(said: Term, notes: Notes) -> Iterator[ImageBlock]:
    fields = _fields(said)
    kind = (_named(fields.get("format")) or "").lower()
    source = fields.get("source")
    data = _fields([source] if isinstance(source, tuple) else source).get("bytes")
    yield from media.image(media.essence(f"image/{kind}"), _words(data, notes), notes)


def _tool_use(said: Term, notes: Notes) -> Iterator[ToolUseBlock]:
    fields = _fields(said)
    own, name, given = (fields.get(field) for field in ("tool_use_id", "name", "input"))
    value = None if given is None else to_json(given, notes)
    yield from vendors.tool_use(_named(own), _named(name), vendors.arguments(value, notes), notes)


def _tool_result(said: Term, notes: Notes) -> Iterator[ToolResultBlock]:
    fields = _fields(said)
    content = _blocks(fields.get("content"), _SHOWN, notes)
    yield from vendors.tool_result(_named(fields.get("tool_use_id")), content, notes)


def _fields(term: Term | None) -> dict[str, Term]:
    """What a map, or a keyword list, has by name; Elixir takes the first of a name in a keyword list."""
    pairs: Iterable[Term] = ()
    if isinstance(term, Map):
        pairs = term.pairs
    elif isinstance(term, list):
        pairs = reversed(term)
    named = ((_named(pair[0]), pair[1]) for pair in pairs if isinstance(pair, tuple) and len(pair) == 2)
    return {name: value for name, value in named if name is not None}


def _named(term: Term | None, notes: Notes | None = None) -> str | None:
    """A name, which may be an atom or a string; None for anything else."""
    return str(term) if isinstance(term, Atom) else _words(term, notes)


def _words(term: Term | None, notes: Notes | None) -> str | None:
    """The text in a binary, a charlist or iodata; None for what is none of them.

    Small numbers are bytes if that makes UTF-8 of the whole, and characters if not.
    """
    if isinstance(term, bytes):
        return _decoded(term, notes)
    leaves = _leaves(term) if isinstance(term, list) else None
    if leaves is None:
        return None
    if all(isinstance(leaf, bytes) or leaf < 256 for leaf in leaves):
        try:
            return b"".join(leaf if isinstance(leaf, bytes) else bytes((leaf,)) for leaf in leaves).decode()
        except UnicodeDecodeError:
            pass
    return wire.mended(
        "".join(_decoded(leaf, notes) if isinstance(leaf, bytes) else chr(leaf) for leaf in leaves)
    )


def _leaves(term: list[Term]) -> list[bytes | int] | None:
    """The binaries and characters in a list of lists; None if there is anything else in it."""
    leaves: list[bytes | int] = []
    within = [iter(term)]
    while within:
        part = next(within[-1], None)
        if part is None:
            within.pop()
        elif isinstance(part, list):
            within.append(iter(part))
        elif isinstance(part, bytes) or (isinstance(part, int) and 0 <= part <= sys.maxunicode):
            leaves.append(part)
        else:
            return None
    return leaves


def _decoded(data: bytes, notes: Notes | None) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        if notes is not None:
            notes.note("a text that is not UTF-8 was read with \ufffd for what is wrong in it")
        return data.decode("utf-8", "replace")


def _is_nothing(term: Term | None) -> bool:
    return term is None or (isinstance(term, Atom) and _CONSTANTS.get(term, "") is None)


def _check_version(version: Term) -> None:
    if version != VERSION:
        raise ImportInvalid(f"the snapshot of Eai has version {_shown(version)}; {VERSION} can be read")


def _shown(term: Term) -> str:
    shown = wire.written(to_json(term))
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 1] + "…"


_CONSTANTS: Final[Mapping[str, JsonValue]] = {
    "nil": None,
    "null": None,
    "undefined": None,
    "true": True,
    "false": False,
}

_SHOWN: Final[Mapping[str, Callable[[Term, Notes], Iterator[Shown]]]] = {"text": _text, "image": _image}
_BLOCKS: Final[Mapping[str, Callable[[Term, Notes], Iterator[Block]]]] = {
    **_SHOWN,
    "thinking": _thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}

"""One session out of the bytes of a file, in whatever format they are."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import NoReturn

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Head, elements, erlang_files, own, packed
from eai_mcp.formats.elements import Part
from eai_mcp.formats.intake import Imported, Intake, Means
from eai_mcp.formats.own_reading import moment
from eai_mcp.messages import JsonObject, Usage

OUTPUT = "output"
"""Where a reply of Responses has its items; but a tool's result, too, has such a member."""

LONGEST_NAME = 128
MOST_TOKENS = 2**53
"""Of a number with thousands of digits, the sum with another could not be written."""
SYSTEM = ("system", "instructions")
"""Where a request has its system text, beside the messages."""
COUNTS = ("input", "output", "cache_read", "cache_write", "reasoning")


def session(pieces: Iterator[bytes], form: str, means: Means) -> Imported:
    """Read one session.

    Raises:
        ImportInvalid: It is in no format that we read, or damaged, or not in `form`.
        LimitExceeded: It is too large.
        StorageFull, StorageUnavailable: It cannot be kept aside.
    """
    first, data = peeked(means.tally.watched(packed.unpacked(pieces, means.limits)))
    if first.startswith(erlang_files.MAGIC):
        if form not in ("auto", "eai"):
            raise ImportInvalid(f"the file holds Erlang terms, not {form}; take format eai or auto")
        return erlang_files.session(data, means)
    if form == "eai":
        raise ImportInvalid("the file does not hold Erlang terms, as exports of Eai do; take format auto")
    document = _Document(form, means)
    for part in elements.parts(data, means.limits):
        document.take(part)
    return document.done()


def peeked(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first piece that is not empty, and all pieces."""
    first = next((piece for piece in pieces if piece), b"")
    return first, chain([first] if first else [], pieces)


class _Document:
    """JSON as it comes: a list of messages, an object that has one, or a message a line."""

    def __init__(self, form: str, means: Means) -> None:
        self._form = form
        self._intake = Intake("jsonl" if form == own.SESSION else form, means)
        self._digest = own.Digest()
        self._members: JsonObject = {}
        self._elements = 0
        self._lists: list[str] = []
        self._is_whole = False
        self._is_begun = form == "jsonl"  # in which nothing is an empty history

    def take(self, part: Part) -> None:
        """Take the next part."""
        self._is_begun = True
        match part.kind:
            case "element":
                self._element(part)
            case "member":
                if part.key in elements.LISTS and part.key in self._members:
                    raise ImportInvalid(f"the content has `{part.key}` twice; which of them is meant?")
                self._members[part.key] = part.value
            case "end":
                self._end()
            case "value":
                self._value(part)

    def done(self) -> Imported:
        """The session, once there is no more."""
        if not self._is_begun:
            raise ImportInvalid("the content is empty; it should be a history")
        if self._is_own():
            return self._own()
        if self._form == own.SESSION:
            self._refuse_as_own()
        self._check_page()
        for name in SYSTEM:
            if self._members.get(name):
                self._intake.repairs.note(f"`{name}` was left out: talk's `system` sets it", None)
        read = self._intake.done(Head())
        if read.repairs and not read.message_count:
            raise ImportInvalid(f"no message in the content can be taken as {read.format}: {read.repairs[0]}")
        return read

    def _check_page(self) -> None:
        """See that a page of `get_history` is all there is."""
        members = self._members
        if "next_after" in members or members.get("message_count", self._elements) != self._elements:
            count = shown(members.get("message_count"))
            raise ImportInvalid(
                f"the content is a page with {self._elements} of {count} messages; take all of them, as"
                " export_chat_session_context writes them"
            )

    def _is_own(self) -> bool:
        """Whether the object says, so far, that it is an export of ours."""
        is_own = self._members.get("format") == own.SESSION
        if is_own and self._form not in ("auto", own.SESSION):
            raise ImportInvalid(
                f"the content is an {own.SESSION} export, not {self._form}; take format {own.SESSION} or auto"
            )
        return is_own

    def _refuse_as_own(self) -> NoReturn:
        raise ImportInvalid(f"the content is no {own.SESSION} export: no `format` in it says so")

    def _element(self, part: Part) -> None:
        if part.key not in self._lists:
            self._lists.append(part.key)
            if self._form == own.SESSION and not part.key:
                self._refuse_as_own()
            if len(self._lists) > 1:
                raise ImportInvalid(f"the content has several lists of messages: {', '.join(self._lists)}")
            if self._is_own():
                if "version" in self._members:  # else it comes behind, where the keys were sorted
                    check_version(self._members)
                self._intake.settle("jsonl")
        value = part.value
        if part.key == "messages" and self._members.get("format", own.SESSION) == own.SESSION:
            self._digest.add(wire.fields(value))
        self._elements += 1
        self._intake.element(value, size=part.size)

    def _end(self) -> None:
        """The first value is whole."""
        members = self._members
        if members.get("format") == own.SNAPSHOT:
            raise ImportInvalid("the file is a snapshot of all sessions: `restore` reads it")
        if self._is_own():
            check_version(members)
        self._is_whole = bool(self._lists) or any(members.get(name) == [] for name in elements.LISTS)
        if self._is_whole or not members:
            return
        if "role" in members or "type" in members:
            self._intake.element(members)
        elif isinstance(found := members.get(OUTPUT), list):
            self._is_whole = True
            for element in found:
                self._intake.element(element)
        elif isinstance(said := members.get("input"), str):  # a short request for Responses
            self._is_whole = True
            self._intake.element({"role": "user", "content": said})
        else:
            names = ", ".join(wire.mended(name[:40]) for name in [*members][:8])
            raise ImportInvalid(f"the content has no list of messages; it is an object with {names}")

    def _value(self, part: Part) -> None:
        if self._is_whole:
            raise ImportInvalid("the content has more than one history; split it, one a file")
        self._intake.element(part.value, size=part.size)

    def _own(self) -> Imported:
        members = self._members
        if shown(members.get("message_count", self._elements)) != str(self._elements):
            raise ImportInvalid(
                f"the file is incomplete: it should have {shown(members['message_count'])} messages, and has"
                f" {self._elements}"
            )
        choices, usage = wire.fields(members.get("choices")), wire.fields(members.get("usage"))
        if members.get("sha256") not in (None, self._digest.hex(choices, usage)):
            raise ImportInvalid(
                "the file was changed since it was written, its sha256 does not fit; remove `sha256` from it"
                " to take it all the same"
            )
        return replace(self._intake.done(head_of(members)), format=own.SESSION)


def check_version(members: JsonObject) -> None:
    """See that we can read a file of ours.

    Raises:
        ImportInvalid: A newer eai-mcp wrote it.
    """
    if shown(members.get("version")) != str(own.VERSION):
        raise ImportInvalid(
            f"the file is of version {shown(members.get('version'))} of its format, and this eai-mcp reads"
            f" {own.VERSION}; update it"
        )


def shown(value: JsonValue) -> str:
    """What a file says, in short."""
    return json.dumps(value)[:40]


def head_of(members: JsonObject) -> Head:
    """What a session is apart from its messages.

    Raises:
        ImportInvalid: It is not what we write.
    """
    choices = wire.fields(members.get("choices"))
    for name, choice in choices.items():
        if not isinstance(choice, str):
            raise ImportInvalid(
                f"choices.{wire.mended(name[:40])} should be text, not {type(choice).__name__}"
            )
        if name != "system" and len(choice) > LONGEST_NAME:
            raise ImportInvalid(
                f"choices.{wire.mended(name[:40])} has {len(choice):,} characters; {LONGEST_NAME} is the most"
            )
    spent = wire.fields(members.get("usage"))
    cost = wire.amount(spent.get("cost_usd"))
    counts = {name: min(wire.count(spent.get(name)), MOST_TOKENS) for name in COUNTS}
    return Head(
        session=wire.string(members.get("session")),
        updated_at=moment(members.get("updated_at"), "updated_at") or 0.0,
        choices={name: wire.mended(str(choice)) for name, choice in choices.items()},
        usage=Usage(**counts, cost_usd=None if cost is None else max(0.0, cost)),
    )

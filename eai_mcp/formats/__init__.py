"""Histories as files: what can be written and read, and the values that all formats share.

Pieces of bytes flow in and out, a message at a time, so that a long history needs no more memory than a short
one. What is read is somebody else's: `reading` holds it to `Limits`, and tells what it had to mend.

| format           | is                                                  | lossless |
|------------------|-----------------------------------------------------|----------|
| eai-mcp          | gzip of versioned JSON, ours                        | yes      |
| jsonl            | a message a line, with its turn and time            | messages |
| converse         | the `messages` of AWS Bedrock's Converse            | no       |
| openai           | the `messages` of Chat Completions                  | no       |
| openai-responses | the `input` items of Responses                      | no       |
| anthropic        | the `messages` of Anthropic's Messages              | no       |
| markdown         | a transcript for people, which cannot be read back  | no       |
| eai              | gzip of Erlang terms, as `Eai` writes it; read only |          |

What those that are not lossless cannot say, each module tells.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from eai_mcp.errors import StorageUnavailable
from eai_mcp.messages import JsonObject, Message, Usage

Written: TypeAlias = Literal[
    "eai-mcp", "jsonl", "converse", "openai", "openai-responses", "anthropic", "markdown"
]
Read: TypeAlias = Literal[
    "auto", "eai-mcp", "jsonl", "converse", "openai", "openai-responses", "anthropic", "eai"
]

CHECK_EACH = 256
"""Messages between two looks at whether somebody still wants them."""

MOST_REPAIRS = 50
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is read of what somebody else wrote, in bytes.

    `packed` is the file, `unpacked` what is in it, `element` one message of it, and `values` how many JSON or
    Erlang values that may hold (each takes up to 100 bytes once read). `depth` counts levels of nesting.
    """

    packed: int = 2048 * MIB
    unpacked: int = 2048 * MIB
    element: int = 64 * MIB
    values: int = 1_000_000
    depth: int = 140
    messages: int = 2_000_000

    def size(self, length: int, *, values: int) -> int:
        """How much of `element` so many bytes with so many values take: each value takes its share of it."""
        return max(length, values * self.element // self.values)


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a session is apart from its messages; `choices` is what it remembers, by name."""

    session: str = ""
    updated_at: float = 0.0
    choices: Mapping[str, str] = field(default_factory=dict)
    usage: Usage = Usage()


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no more room."""


class Repairs:
    """What had to be changed in what was read, told once for each kind, with how often and where first.

    Only so many kinds are told apart: a file can make up any number.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int | None]] = {}

    def note(self, what: str, place: int | None) -> None:
        """Something was changed at the message, or item, number `place` of the file, counted from 1.

        None is what stands beside the messages.
        """
        if what not in self._found and len(self._found) >= MOST_REPAIRS:
            what = "other repairs of more kinds"
        times, first = self._found.get(what, (0, place))
        self._found[what] = (times + 1, first)

    def told(self) -> tuple[str, ...]:
        """A sentence for each kind."""
        return tuple(_told(what, *found) for what, found in self._found.items())


def _told(what: str, times: int, first: int | None) -> str:
    if first is None:
        return what
    return f"{what} (message {first})" if times == 1 else f"{what} ({times} times, first in message {first})"


class Tally:
    """How many messages went through so far, for another thread to look at.

    `check` is called now and then; it raises when nobody wants the rest.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self.messages = 0
        self._check = check

    def watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces, as long as somebody wants them: what is in them may be no message at all."""
        for piece in pieces:
            self._check()
            yield piece

    def add(self) -> None:
        """Another message went through."""
        self.messages += 1
        if self.messages % CHECK_EACH == 0:
            self._check()


def damaged() -> StorageUnavailable:
    """The error for a message that was stored, and can no longer be read."""
    return StorageUnavailable(
        "the file with the sessions is damaged: a message in it cannot be read", retryable=False
    )


class Writer(Protocol):
    """Puts our messages into another's words, each into as many elements as that takes."""

    def write(self, message: Message) -> Iterator[JsonObject]:
        """The elements that are complete once this message is known."""
        ...

    def close(self) -> Iterator[JsonObject]:
        """Those that waited for a next message."""
        ...


class Reader(Protocol):
    """Reads another's elements as our messages. Tool uses and their results are paired by `pairs`, behind it.

    What it cannot take is left out and noted as a repair.
    """

    def read(self, element: JsonObject, place: int) -> Iterator[Message]:
        """The messages that are complete once element number `place` (from 1) is known.

        Raises:
            ImportInvalid: It is nothing that this format has.
        """
        ...

    def close(self) -> Iterator[Message]:
        """Those that waited for a next element."""
        ...

"""Messages on their way in: read in their own format, brought into pairs, kept aside."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import (
    Head,
    Limits,
    Reader,
    Repairs,
    Tally,
    anthropic,
    converse,
    openai,
    responses,
    sniff,
)
from eai_mcp.formats.own_reading import OwnReader, Said
from eai_mcp.formats.pairs import Pairing, Placed
from eai_mcp.formats.spool import Spool
from eai_mcp.messages import JsonObject, Line, Message

MOST_TOLD = 1000
"""Repairs that are told of all sessions of one snapshot."""
MOST_WAITING = 1000
MOST_WAITING_BYTES = 1024 * 1024
READERS: dict[str, Callable[[Repairs], Reader]] = {
    "converse": converse.Reader,
    "openai": openai.Reader,
    "openai-responses": responses.Reader,
    "anthropic": anthropic.Reader,
}


@dataclass(frozen=True, slots=True)
class Imported:
    """A session as it was read. `format` is the one that it was in; `lines` can be read again and again."""

    format: str
    head: Head
    message_count: int
    lines: Iterable[Line]
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What reading needs: where lines are kept, how much may come, who counts, and what time it is."""

    spool: Spool
    limits: Limits
    tally: Tally
    now: float


class _Source(Protocol):
    """Reads elements of one format."""

    def read(self, element: JsonObject, place: int) -> Iterator[Said]:
        """The messages that are complete once this element is known."""
        ...

    def close(self) -> Iterator[Said]:
        """Those that waited for a next element."""
        ...


class Intake:
    """Takes the elements of one session, in format `form`, or in what they show themselves to be in (auto).

    Those that could be of any format wait for one that shows it, as long as they are few: neighbours may be
    one message in one format, and two in another. If none does, they are read as OpenAI's, or as Anthropic's
    where a tool is asked for as only they and we do.
    """

    def __init__(self, form: str, means: Means) -> None:
        self.form = form
        self.repairs = Repairs()
        self._means = means
        self._begin = means.spool.end
        self._pairing = Pairing(self.repairs)
        self._source = self._reading("openai" if form == "auto" else form)
        self._is_known = form != "auto"
        self._uses_tools = False
        self._place = self._count = 0
        self._waiting: list[JsonObject] = []
        self._waiting_bytes = self._held_bytes = 0

    def settle(self, form: str) -> None:
        """Read what comes from here on in one format, and what waits too."""
        self._keep(self._source.close())
        self._source, self._is_known, self.form = self._reading(form), True, form
        self._read_waiting()

    def element(self, element: JsonValue, *, size: int = 0) -> None:
        """Take the next message or item, of a size as `Limits.size` tells it.

        Raises:
            ImportInvalid: It is none of this format.
            LimitExceeded: There are too many.
        """
        if not isinstance(element, dict):
            place, kind = self._place + len(self._waiting) + 1, type(element).__name__
            raise ImportInvalid(f"message {place} is no object, but {kind}; see README for the formats")
        if not self._is_known and (shape := sniff.shape(element)):
            self.settle(shape)
        self._uses_tools = self._uses_tools or (not self._is_known and sniff.uses_tools(element))
        self._hold(size)
        self._waiting.append(element)
        self._waiting_bytes += size
        if self._is_known or len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
            self._read_waiting()

    def messages(self, read: Iterator[Message], *, size: int = 0) -> None:
        """Take the messages of the next element, which somebody else reads."""
        self._read_waiting()
        self._hold(size)
        self._place += 1
        self._keep(map(Said, read))

    def done(self, head: Head) -> Imported:
        """All that was taken, as a session."""
        self._read_waiting()
        self._keep(self._source.close())
        self._put(self._pairing.close())
        return Imported(
            self.form if self._is_known else "openai",
            head,
            self._count,
            self._means.spool.since(self._begin),
            self.repairs.told(),
        )

    def _reading(self, form: str) -> _Source:
        reader = READERS.get(form)
        return _Foreign(reader(self.repairs)) if reader else OwnReader(self.repairs)

    def _read_waiting(self) -> None:
        if self._uses_tools and not self._is_known:
            self.settle("anthropic")
            return
        for element in self._waiting:
            self._place += 1
            self._keep(self._source.read(element, self._place))
        self._waiting, self._waiting_bytes = [], 0

    def _hold(self, size: int) -> None:
        """Another element that is not part of a message yet: many may become one."""
        self._held_bytes += size
        if self._held_bytes > self._means.limits.element:
            limit = self._means.limits.element
            raise LimitExceeded(
                f"neighbours that make one message have more than {limit:,} bytes, the limit",
                limit=limit,
                actual=self._held_bytes,
            )

    def _keep(self, said: Iterator[Said]) -> None:
        for each in said:
            self._put(self._pairing.take(Placed(each.message, self._place, each.turn_id, each.at)))

    def _put(self, placed: Iterator[Placed]) -> None:
        for each in placed:
            self._held_bytes = 0
            self._count += 1
            if self._means.tally.messages >= self._means.limits.messages:
                limit = self._means.limits.messages
                raise LimitExceeded(
                    f"there are more than {limit:,} messages, the limit", limit=limit, actual=limit + 1
                )
            at = self._means.now if each.at is None else each.at
            self._means.spool.add(messages.line(each.message, turn_id=each.turn_id, at=at))
            self._means.tally.add()


@dataclass(frozen=True, slots=True)
class _Foreign:
    """A reader of another's format, whose messages have no turn and no time."""

    reader: Reader

    def read(self, element: JsonObject, place: int) -> Iterator[Said]:
        return map(Said, self.reader.read(element, place))

    def close(self) -> Iterator[Said]:
        return map(Said, self.reader.close())


class Sessions:
    """The sessions of a snapshot, which are all held at once: so there is a limit to them, too."""

    def __init__(self, limits: Limits) -> None:
        self.all: list[Imported] = []
        self._most = 4 * limits.element
        self._size = self._told = 0

    def add(self, session: Imported) -> None:
        """Another session.

        Raises:
            LimitExceeded: They are too many.
        """
        self._size += _size(session.head)
        if self._size > self._most:
            raise LimitExceeded(
                f"the sessions take more than {self._most:,} bytes without their messages, the limit",
                limit=self._most,
                actual=self._size,
            )
        left = MOST_TOLD - self._told
        self._told += len(session.repairs)
        if self._told > MOST_TOLD:
            session = replace(session, repairs=session.repairs[: max(0, left)])
        self.all.append(session)


def _size(head: Head) -> int:
    """About how many bytes it takes, with all that belongs to a session but its messages."""
    choices = sum(100 + len(name) + len(choice) for name, choice in head.choices.items())
    return 1000 + len(head.session) + choices

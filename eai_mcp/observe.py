"""Facts: records of what happened inside, and the one hook that hears them.

Facts hold ids, names and sizes, and what the caller gave as `metadata`, never what was said. Those of one
turn come in this order; `…` marks what may repeat, and each carries the session, the turn and the caller's
request:

    session.opened
    session.closed
    session.replaced        sessions?                    its history; without a session: so many in a space
    sandbox.missing         reason                       commands of the chat model are not confined
    terminal.opened         pty_session_id
    terminal.closed         pty_session_id, why
    run.started …           task_id                      a script in a terminal, which may outlast its turn
    run.completed           task_id, seconds, exit_code, bytes, status
    turn.received           model, characters
    turn.started            model, metadata?             or, when it is given the answer to its question:
    turn.resumed            model, metadata?
      call.started …        model, messages, tools
        rate.waited         model, seconds
        rate.rejected       model, seconds
        circuit.half_open   model
        circuit.rejected    model, retry_after_s
        provider.attempt …  model, provider, wire_model, attempt
        provider.answered   attempt, seconds, first_chunk_s, stop, input, output, cache_read, reasoning   or:
        provider.failed     attempt, seconds, code, status
        provider.cancelled  attempt, seconds
        circuit.opened      model, failures, seconds
        circuit.closed      model
        provider.retry      attempt, wait_s, code
        provider.fallback   from, to, code
      call.completed        seconds, served_by, attempts, stop, input, output   or:
      call.failed           seconds, code
      call.cancelled        seconds
      tool.started …        name, number                 those of one step overlap
      tool.completed        name, number, seconds, failed
      resource.pushed …     kind, uri, bytes
      output.delta …        characters                   only while the log is at debug
    turn.completed          seconds, model, stop?, input?, output?, cost_usd?   or:
    turn.yielded            the same
    turn.failed             seconds, model, code, …
    turn.cancelled          seconds, model, …

`input`, `output`, `cache_read` and `reasoning` count tokens, `seconds` and what ends in `_s` are durations,
and `code` is that of an error. The end of whatever started is told, also when it was cancelled.
"""

import itertools
import json
import logging
import math
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from eai_mcp.errors import Internal

Value: TypeAlias = str | int | float | bool | None

LONGEST_SHOWN = 1_000
LEVELS = {
    "output.delta": logging.DEBUG,
    "circuit.opened": logging.WARNING,
    "sandbox.missing": logging.WARNING,
}
_log = logging.getLogger("eai_mcp")
_numbers = itertools.count(1)
_failures: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, as in `turn.completed`; `fields` are flat and small.

    `seq` rises by one with each fact that is heard in a process, and `at` is in seconds since 1970; both are
    0 until the fact was told. `space` is whose session it is, '' where there is but one.
    """

    name: str
    session: str = ""
    turn_id: str = ""
    request_id: str = ""
    fields: Mapping[str, Value] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0
    space: str = ""


Observer: TypeAlias = Callable[[Fact], None]


def ignore(fact: Fact) -> None:
    """The observer that hears nothing."""


def is_heard(observer: Observer, name: str) -> bool:
    """Whether a fact of that name has to be made: an observer may have a method `hears` that says so."""
    if observer is ignore:
        return False
    hears: Callable[[str], bool] | None = getattr(observer, "hears", None)
    try:
        return hears is None or hears(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whoever listens must not end the turn
        _note(_failures, observer, error)
        return True


def tell(
    observer: Observer,
    name: str,
    /,
    *,
    session: str = "",
    turn_id: str = "",
    request_id: str = "",
    space: str = "",
    **fields: Value,
) -> None:
    """Let `observer` hear a fact. Whatever goes wrong there is logged once and then counted, never raised."""
    if not is_heard(observer, name):
        return
    try:
        observer(Fact(name, session, turn_id, request_id, fields, space=space))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whoever listens must not end the turn
        _note(_failures, observer, error)


class Observers:
    """An observer that stamps each fact with its number and the time, and tells it to several, in order.

    One that raises misses that fact; the others hear it. A fact that is told while another one is heard
    waits for its end, so that all hear the same order; what those in turn cause is dropped, since it might
    never end. `failures` and `dropped` count what was lost.
    """

    def __init__(self, sinks: Sequence[Observer]) -> None:
        self._set(sinks)
        self.failures: Counter[str] = Counter()
        self.dropped = 0
        self._waiting: deque[Fact] = deque()
        self._depth = 0
        # Tools and adapters may tell from a worker thread.
        self._lock = threading.RLock()

    def add(self, sink: Observer) -> None:
        """Tell it too, from now on, after the others."""
        self._set((*self.sinks, sink))

    def _set(self, sinks: Sequence[Observer]) -> None:
        self.sinks = tuple(sinks)
        # Each turn asks many times, and most often hears a no.
        self._asked = [getattr(sink, "hears", _always) for sink in sinks if sink is not ignore]

    def hears(self, name: str) -> bool:
        """Whether any of them wants to hear of facts of that name."""
        try:
            for hears in self._asked:
                if hears(name):
                    return True
        except (Exception, SystemExit):  # noqa: BLE001  # one by one, so that whoever failed is counted
            return any(is_heard(sink, name) for sink in self.sinks)
        return False

    def __call__(self, fact: Fact) -> None:
        """Tell the fact to each."""
        if not self.sinks:
            return
        with self._lock:
            if self._depth > 1:
                self.dropped += 1
            elif self._depth:
                self._waiting.append(_stamped(fact))
            else:
                self._tell_all(_stamped(fact))

    def _tell_all(self, fact: Fact) -> None:
        try:
            self._depth = 1
            self._tell(fact)
            self._depth = 2
            while self._waiting:
                self._tell(self._waiting.popleft())
        finally:
            self._depth = 0
            self._waiting.clear()

    def _tell(self, fact: Fact) -> None:
        for sink in self.sinks:
            try:
                sink(fact)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # the others still hear it
                _note(self.failures, sink, error)


class Logged:
    """The observer that writes each fact to the log, one line each, as name=value.

    A log that is written as JSON shows it as an object instead; see `as_object`.
    """

    def hears(self, name: str) -> bool:
        """Whether the log shows facts of that name."""
        return _log.isEnabledFor(_level(name))

    def __call__(self, fact: Fact) -> None:
        """Write it."""
        if self.hears(fact.name):
            shown = " ".join(f"{_plain(name)}={_plain(value)}" for name, value in as_object(fact).items())
            _log.log(_level(fact.name), "%s", shown, extra={"fact": fact})


logged: Observer = Logged()


def as_object(fact: Fact) -> dict[str, Value]:
    """The fact as a JSON object, with its time as ISO 8601 has it; empty ids are left out."""
    shown: dict[str, Value] = {
        "at": datetime.fromtimestamp(fact.at or time.time(), UTC).isoformat(timespec="microseconds"),
        "seq": fact.seq,
        "fact": fact.name,
    }
    ids = {
        "space": fact.space,
        "session": fact.session,
        "turn_id": fact.turn_id,
        "request_id": fact.request_id,
    }
    shown |= {name: _bounded(text) for name, text in ids.items() if text}
    for name, value in fact.fields.items():
        shown.setdefault(name, _bounded(value))
    return shown


def internal(bug: Exception) -> Internal:
    """The error that stands for a bug of ours; its traceback goes to the log under the same id."""
    error_id = secrets.token_hex(4)
    _log.error("internal error %s", error_id, exc_info=bug)
    return Internal(f"internal error {error_id}; the server's log has the details", error_id=error_id)


def _always(name: str) -> bool:
    return True


def _stamped(fact: Fact) -> Fact:
    if fact.seq:
        return fact  # it came through others that stamped it
    return Fact(
        fact.name,
        fact.session,
        fact.turn_id,
        fact.request_id,
        fact.fields,
        next(_numbers),
        time.time(),
        fact.space,
    )


def _note(failures: Counter[str], observer: Observer, error: Exception | SystemExit) -> None:
    name = _name(observer)
    failures[name] += 1
    if failures[name] == 1:
        _log.error("the observer %s failed; if it does so again, it is only counted", name, exc_info=error)


def _name(observer: Observer) -> str:
    named: object = observer if hasattr(observer, "__qualname__") else type(observer)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"


def _level(name: str) -> int:
    # A circuit that opens is what an operator wants to see without having asked for anything.
    return LEVELS.get(name, logging.INFO)


def _bounded(value: Value) -> Value:
    """A field as it may stand in a line: no text without end, and no number that JSON cannot say."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _plain(value: Value) -> str:
    """A value that can forge neither a line nor a second value."""
    text = str(value)
    if text and text.isprintable() and not {" ", "=", '"', "\\"} & set(text):
        return text
    return json.dumps(text)

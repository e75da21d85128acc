"""Facts, and what becomes of them when a sink fails, causes more of them, or writes them down."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.cli.logs import JsonLines
from eai_mcp.observe import Fact, Observers, as_object, ignore, is_heard, logged, tell


class Lines(logging.Handler):
    """What the log would show, one string a record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def log() -> Iterator[Lines]:
    logger, lines = logging.getLogger("eai_mcp"), Lines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(lines)
    logger.setLevel(before)


def test_a_fact_is_told_with_its_ids_and_fields():
    heard: list[Fact] = []
    tell(heard.append, "tool.completed", session="work", turn_id="t", request_id="r", name="ls", failed=True)
    assert heard == [Fact("tool.completed", "work", "t", "r", {"name": "ls", "failed": True})]


def test_nobody_hears_what_is_told_to_nobody():
    tell(ignore, "turn.started")
    ignore(Fact("turn.started"))


def test_a_failing_observer_is_logged_once_and_never_raised(log):
    """Issue 6: a failing sink never fails a turn."""

    def fails(fact: Fact) -> None:
        raise ZeroDivisionError

    for _ in range(3):
        tell(fails, "turn.started")
    [record] = log.records
    assert "fails failed; if it does so again, it is only counted" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


async def test_cancellation_passes_through_whoever_tells():
    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as error:
                raised = error

                def raises(fact: Fact) -> None:
                    raise raised

                for observer in (raises, Observers([raises])):
                    with pytest.raises(anyio.get_cancelled_exc_class()):
                        tell(observer, "turn.started")
                raise

    with anyio.fail_after(5):
        await cancelled()


def test_all_hear_every_fact_in_order_with_rising_numbers():
    """Issue 6: facts in order, with session, turn and request ids and sequence numbers."""
    one: list[Fact] = []
    other: list[Fact] = []
    observers = Observers([one.append, other.append])
    for name in "abc":
        tell(observers, name)
    assert one == other
    assert [fact.name for fact in one] == ["a", "b", "c"]
    assert [fact.seq - one[0].seq for fact in one] == [0, 1, 2]
    assert one[0].seq > 0
    assert 0 < one[0].at <= one[1].at <= one[2].at


@pytest.mark.parametrize("failure", [ValueError("oops"), SystemExit(3)])
def test_the_others_hear_what_one_fails_at(log, failure):
    heard: list[str] = []

    def fails(fact: Fact) -> None:
        raise failure

    observers = Observers([fails, lambda fact: heard.append(fact.name)])
    for name in "abc":
        observers(Fact(name))
    assert heard == ["a", "b", "c"]
    assert [*observers.failures.values()] == [3]
    assert len(log.records) == 1


def test_what_a_sink_tells_while_it_hears_is_heard_afterwards_by_all_and_goes_no_further():
    heard: list[str] = []
    observers: Observers

    def echoes(fact: Fact) -> None:
        tell(observers, f"{fact.name}'")

    observers = Observers([echoes, lambda fact: heard.append(fact.name)])
    tell(observers, "a")
    tell(observers, "b")
    assert heard == ["a", "a'", "b", "b'"]
    assert observers.dropped == 2


def test_a_fact_keeps_the_number_that_others_gave_it():
    heard: list[Fact] = []
    Observers([Observers([heard.append])])(Fact("a", seq=7, at=1.5))
    assert heard == [Fact("a", seq=7, at=1.5)]


def test_whoever_comes_later_hears_what_comes_later():
    heard: list[str] = []
    observers = Observers([])
    tell(observers, "a")
    observers.add(lambda fact: heard.append(fact.name))
    tell(observers, "b")
    assert heard == ["b"]


def test_without_sinks_nothing_is_stamped():
    Observers([])(Fact("a"))


TURN = Fact("turn.completed", "work", "t1", "", {"seconds": 0.5, "stop": None, "cost_usd": 1e-7}, 3, 1.5)


def test_a_fact_is_one_line_of_names_and_values(log):
    logged(TURN)
    [line] = log.lines
    assert line == (
        "at=1970-01-01T00:00:01.500000+00:00 seq=3 fact=turn.completed session=work turn_id=t1"
        " seconds=0.5 stop=None cost_usd=1e-07"
    )
    assert log.records[0].levelno == logging.INFO


def test_a_fact_is_one_object_of_json(log):
    """Issue 6: JSON or plain log on stderr."""
    logged(TURN)
    assert json.loads(JsonLines().format(log.records[0])) == {
        "at": "1970-01-01T00:00:01.500000+00:00",
        "seq": 3,
        "fact": "turn.completed",
        "session": "work",
        "turn_id": "t1",
        "seconds": 0.5,
        "stop": None,
        "cost_usd": 1e-07,
    }


def test_what_comes_with_every_word_is_for_debugging_alone(log):
    logged(Fact("output.delta", fields={"characters": 3}))
    assert log.lines == []
    logging.getLogger("eai_mcp").setLevel(logging.DEBUG)
    logged(Fact("output.delta", fields={"characters": 3}))
    assert [record.levelno for record in log.records] == [logging.DEBUG]


def test_a_field_cannot_pass_for_an_id_and_no_text_is_written_without_end():
    shown = as_object(
        Fact("a", "work", fields={"session": "other", "note": "x" * 5000, "rate": float("nan")})
    )
    assert shown["session"] == "work"
    assert shown["note"] == "x" * 1000 + "…"
    assert shown["rate"] == "nan"


ODD = st.text() | st.sampled_from(["a\nb", "\x1b[2J", "a seq=9", '"', "\u2028", "\u202e", "\ud800", ""])


@given(session=ODD, key=ODD, value=ODD | st.floats() | st.integers() | st.booleans() | st.none())
def test_no_name_and_no_value_can_forge_a_line_or_another_value(session, key, value):
    """Issue 6: JSON or plain log on stderr."""
    fact = Fact("turn.started", session, fields={key: value}, seq=1, at=1.0)
    logger, lines = logging.getLogger("eai_mcp"), Lines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        logged(fact)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
    plain, as_json = lines.lines[0], JsonLines().format(lines.records[0])
    assert plain.isprintable()
    assert plain.split(" ")[1:3] == ["seq=1", "fact=turn.started"]
    assert as_json.isprintable()
    assert datetime.fromisoformat(json.loads(as_json)["at"]).timestamp() == 1.0
    if session:
        assert json.loads(as_json)["session"] == session[:1000] + ("…" if len(session) > 1000 else "")


def test_a_fact_says_whose_session_it_is():
    """Issue 8: no principal can name, list, read, interrupt, export or subscribe to another's."""
    heard: list[Fact] = []
    tell(Observers([heard.append]), "turn.completed", session="work", space="ann")
    (fact,) = heard
    assert (fact.space, as_object(fact)["space"]) == ("ann", "ann")


class Choosy:
    """An observer that hears of turns alone."""

    def __init__(self):
        self.heard = []

    def hears(self, name):
        return name.startswith("turn.")

    def __call__(self, fact):
        self.heard.append(fact.name)


def test_no_fact_is_made_that_nobody_wants_to_hear():
    choosy, observers = Choosy(), Observers([Choosy()])
    tell(choosy, "turn.started")
    tell(choosy, "call.started")
    assert choosy.heard == ["turn.started"]
    assert [is_heard(observers, name) for name in ("turn.started", "call.started")] == [True, False]
    observers.add(choosy)
    observers.add(ignore)
    assert not is_heard(observers, "call.started")
    observers.add(choosy.heard.append)
    assert is_heard(observers, "call.started")


def test_an_observer_that_cannot_say_what_it_hears_is_told_all(log):
    class Broken(Choosy):
        def hears(self, name):
            raise SystemExit

    broken = Broken()
    tell(Observers([broken]), "call.started")
    assert broken.heard == ["call.started"]
    assert "failed; if it does so again, it is only counted" in log.records[0].getMessage()


def test_the_log_hears_what_it_shows(log):
    assert is_heard(logged, "turn.started")
    assert not is_heard(logged, "output.delta")
    logging.getLogger("eai_mcp").setLevel(logging.WARNING)
    assert [is_heard(logged, name) for name in ("turn.started", "circuit.opened")] == [False, True]

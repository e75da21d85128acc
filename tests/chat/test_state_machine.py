"""Sessions under any order of talks, failures, interrupts, replaced histories, forks and restarts."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eai_mcp.calls import Emit, ModelRequest, ModelResponse, TextDelta
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.chat.layers import NO_LAYERS
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import DEFAULT_SESSION, Talk, TurnResult
from eai_mcp.errors import EaiError, StorageUnavailable, Unavailable
from eai_mcp.messages import Message, TextBlock, assistant, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import asks, replaced, result, uses
from tests.conftest import FILES
from tests.fakes import said
from tests.store.taking import unpaired

NAMES = st.sampled_from([DEFAULT_SESSION, "work", "play"])
WITHDRAWN = result("q1", "there is no answer: the question was withdrawn", failed=True)


class Mortal(SqliteStore):
    """A store whose process can die: from then on nothing is written, and its lock is let go."""

    is_dead = False

    async def settle(self, claim, settlement):
        if self.is_dead:
            raise StorageUnavailable("this process is dead")
        await super().settle(claim, settlement)

    async def renew(self, said):
        if not self.is_dead:
            await super().renew(said)


@dataclass
class Expected:
    """What must be there of a session: its history, what waits to be answered, what runs."""

    history: list[Message] = field(default_factory=list)
    asked: list[Message] = field(default_factory=list)
    running: list[Message] = field(default_factory=list)

    @property
    def status(self) -> str:
        return "busy" if self.running else "awaiting_input" if self.asked else "idle"


class Machine(RuleBasedStateMachine):
    """One process after the other on one store, and what is expected of it beside."""

    on_file = True
    layers = NO_LAYERS

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        for name, text in FILES["models"].items():
            (folder / "models").mkdir(exist_ok=True)
            (folder / "models" / name).write_text(text, encoding="utf-8")
        self.catalog = Catalog(roots=(folder,))
        self.path = folder / "sessions.db" if self.on_file else None
        self.portal = self.stack.enter_context(start_blocking_portal())
        self.store = Mortal(self.path)
        self.step: object = None
        self.let_go: dict[str, anyio.Event] = {}
        self.expected = {DEFAULT_SESSION: Expected()}
        self.number = 0
        self.open()

    def teardown(self) -> None:
        self.close_process()
        self.portal.call(self.store.aclose)
        self.stack.close()

    def open(self) -> None:
        self.running = self.portal.wrap_async_context_manager(process(self))
        self.registry: Registry = self.running.__enter__()

    def close_process(self) -> None:
        self.running.__exit__(None, None, None)

    async def call(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        assert unpaired(request.messages) == []
        step = self.step
        if isinstance(step, ModelResponse):
            return step
        if step != "refuse":
            await emit(TextDelta("half"))
        if step == "hang":
            event = self.let_go[request.session] = anyio.Event()
            await event.wait()
            return said("whole")
        raise Unavailable("broke off")

    def words(self) -> str:
        self.number += 1
        return f"words {self.number}"

    def take(self, name: str, text: str, step: object) -> TurnResult | EaiError:
        """A talk, as it ended or as it stands once the model said something."""
        self.step = step

        async def ask() -> TurnResult | EaiError:
            try:
                with anyio.fail_after(10):
                    turn = await self.registry.begin("", Talk(content=text, session=name))
                    while not turn.done.is_set() and not (step == "hang" and turn.heard.characters):
                        await turn.heard.changed()
                    return await self.registry.reply(turn, 0)
            except EaiError as error:
                return error

        return self.portal.call(ask)

    def said_to(self, name: str, text: str) -> tuple[Expected, list[Message]]:
        """The session, and what this says in it: an answer if a question waits."""
        expected = self.expected.setdefault(name, Expected())
        if expected.asked:
            return expected, [*expected.asked, Message("user", (result("q1", text),))]
        return expected, [user(text)]

    @rule(name=NAMES)
    def talk(self, name):
        text = self.words()
        if self.is_running(name):
            assert self.code(self.take(name, text, said("no"))) == "busy"
            return
        expected, mine = self.said_to(name, text)
        told = self.take(name, text, said(f"to {text}"))
        assert isinstance(told, TurnResult)
        assert (told.status, told.reply) == ("completed", f"to {text}")
        expected.history += [*mine, assistant(f"to {text}")]
        expected.asked = []

    @rule(name=NAMES, step=st.sampled_from(["refuse", "break"]))
    def fail(self, name, step):
        """With nothing said, nothing stays and a question is open again; words that came are kept."""
        if self.is_running(name):
            return
        text = self.words()
        expected, mine = self.said_to(name, text)
        assert self.code(self.take(name, text, step)) == "provider_unavailable"
        if step == "break":
            expected.history += [*mine, assistant("half", partial=True)]
            expected.asked = []

    @rule(name=NAMES)
    def ask_back(self, name):
        if self.is_running(name):
            return
        text = self.words()
        expected, mine = self.said_to(name, text)
        step = uses(TextBlock("let me ask"), asks())
        told = self.take(name, text, step)
        assert isinstance(told, TurnResult)
        assert (told.status, told.reply) == ("awaiting_input", "which one?")
        expected.asked = [*mine, step.message]

    @rule(name=NAMES)
    def hang(self, name):
        if self.is_running(name):
            return
        text = self.words()
        expected, mine = self.said_to(name, text)
        told = self.take(name, text, "hang")
        assert isinstance(told, TurnResult)
        assert told.status == "running"
        expected.running = mine

    @precondition(lambda self: any(each.running for each in self.expected.values()))
    @rule(data=st.data())
    def finish(self, data):
        name = data.draw(st.sampled_from(self.hanging()))

        async def finished() -> TurnResult:
            self.let_go[name].set()
            return await self.registry.reply(await self.registry.find("", name), 10)

        assert self.portal.call(finished).reply == "whole"
        self.ended(name, assistant("whole"))

    @rule(name=NAMES)
    def interrupt(self, name):
        expected = self.expected.get(name)

        async def stop() -> TurnResult | EaiError:
            try:
                return await self.registry.interrupt("", name)
            except EaiError as error:
                return error

        told = self.portal.call(stop)
        if expected is None or expected.status == "idle":
            assert self.code(told) == ("no_task" if expected else "not_found")
        else:
            assert isinstance(told, TurnResult)
            assert told.status == "interrupted"
            if expected.running:
                self.ended(name, assistant("half", partial=True))
            else:
                expected.history += [*expected.asked, self.withdrawn(name)]
                expected.asked = []

    def withdrawn(self, name: str) -> Message:
        """What stands in the place of the answer to a question that was dropped."""
        return Message("user", (WITHDRAWN,))

    @rule(name=NAMES)
    def replace(self, name):
        messages = [user(self.words()), assistant(self.words())]

        async def put() -> int | EaiError:
            try:
                return (await replaced(self.registry, name, messages)).revision
            except EaiError as error:
                return error

        told = self.portal.call(put)
        if self.is_running(name):
            assert self.code(told) == "busy"
        else:
            assert isinstance(told, int)
            self.expected[name] = Expected(messages)

    @rule(name=NAMES, new=NAMES)
    def fork(self, name, new):
        async def copy() -> object:
            try:
                return await self.registry.fork("", name, new)
            except EaiError as error:
                return error

        told = self.portal.call(copy)
        if new in self.expected or name not in self.expected:
            assert self.code(told) in ("already_exists", "not_found")
        else:
            self.expected[new] = Expected([*self.expected[name].history])

    @rule(name=NAMES)
    def close(self, name):
        async def remove() -> EaiError | None:
            try:
                await self.registry.close("", name)
            except EaiError as error:
                return error
            return None

        told = self.portal.call(remove)
        if name == DEFAULT_SESSION:
            assert self.code(told) == "cannot_close_default"
        elif name not in self.expected:
            assert self.code(told) == "not_found"
        elif self.is_running(name):
            assert self.code(told) == "busy"
        else:
            assert told is None
            del self.expected[name]

    @rule()
    def restart(self):
        """What runs is interrupted and saved."""
        self.close_process()
        for name in self.hanging():
            self.ended(name, assistant("half", partial=True))
        if self.on_file:
            self.portal.call(self.store.aclose)
            self.store = Mortal(self.path)
        self.open()

    @precondition(lambda self: self.on_file)
    @rule()
    def crash(self):
        """What runs leaves no trace, for no text of it was saved; an answered question is open again."""
        self.store.is_dead = True
        self.close_process()
        self.portal.call(self.store.aclose)
        for name in self.hanging():
            self.expected[name].running = []
        self.store = Mortal(self.path)
        self.open()

    @invariant()
    def everything_is_there(self):
        async def look() -> dict[str, tuple[str, list[Message]]]:
            rows = await self.registry.sessions("")
            return {
                row.name: (
                    "busy" if row.running else "awaiting_input" if row.question else "idle",
                    [entry.message for entry in await self.registry.history("", row.name, limit=None)],
                )
                for row in rows
            }

        seen = self.portal.call(look)
        assert seen == {name: (each.status, each.history) for name, each in self.expected.items()}
        for _, history in seen.values():
            assert unpaired(history) == []

    def is_running(self, name: str) -> bool:
        return name in self.expected and bool(self.expected[name].running)

    def hanging(self) -> list[str]:
        return sorted(name for name, each in self.expected.items() if each.running)

    def ended(self, name: str, last: Message) -> None:
        expected = self.expected[name]
        expected.history += [*expected.running, last]
        expected.running, expected.asked = [], []

    @staticmethod
    def code(told: object) -> str:
        assert isinstance(told, EaiError), told
        return told.code


@asynccontextmanager
async def process(machine: Machine) -> AsyncIterator[Registry]:
    """The registry of one process of the machine."""
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=machine.store,
            catalog=machine.catalog,
            call_for=lambda model: machine.call,
            tasks=tasks,
            default_model="plain",
            layers=machine.layers,
            renew_s=60,
        )
        yield registry
        await registry.aclose()
        tasks.cancel_scope.cancel()


class InMemory(Machine):
    on_file = False


pytestmark = pytest.mark.timeout(90)

SETTINGS = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestOnAFile(Machine.TestCase):  # type: ignore[misc,valid-type]
    """Issue 4: Hypothesis state machine over the registry and every store (talk, fail, interrupt, replace,
    fork, close, crash, restart).
    """

    settings = SETTINGS


class TestInMemory(InMemory.TestCase):  # type: ignore[misc,valid-type]
    """Issue 4: the same without a file, where nothing can crash."""

    settings = SETTINGS

"""Sessions whose turns ask in every way there is: answered, refused, failed, dropped, expired, restarted."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from eai_mcp.calls import Emit, ModelRequest, ModelResponse
from eai_mcp.chat.layers import Layers
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import EaiError
from eai_mcp.messages import Message, TextBlock, ToolUseBlock, assistant, user
from eai_mcp.middleware import Ask, Refuse, ToolOutcome, named
from tests.chat.layering import RoundTool, RoundTurn
from tests.chat.taking import asks, outcome, result, uses
from tests.chat.test_state_machine import NAMES, Expected, Machine
from tests.fakes import said
from tests.store.taking import unpaired

WITHDRAWN = "there is no answer: the question was withdrawn"
RM = ToolUseBlock("u1", "rm", {"path": "/tmp/x"})
BY_MODEL = uses(TextBlock("let me ask"), asks())
BY_TOOL = uses(TextBlock("let me remove it"), RM)


class Yields(Machine):
    """The machine, with middleware that asks before turns and tools.

    Of each session that waits: who asked, "" for the model, and the id of its turn. `answer` is what
    middleware makes of an answer.
    """

    def __init__(self) -> None:
        self.asked_by: dict[str, str] = {}
        self.turn_ids: dict[str, str] = {}
        self.settled: dict[str, tuple[str, TurnResult]] = {}
        self.shown: list[Message] = []
        self.asks_first, self.answer = False, "yes"
        self.expires_s: float | None = None
        # A name that the base class reads when it opens the first process.
        self.layers = Layers(named([RoundTurn(self.round_turn), RoundTool(self.round_tool)]))
        super().__init__()

    async def round_turn(self, given: Any, go_on: Any) -> Any:
        if given.asked is None:
            if self.asks_first and not given.is_resumed:
                return Ask("shall I?", {"said": given.message.text}, self.expires_s)
            return await go_on(given)
        assert given.is_resumed
        assert list(given.asked.state) == ["said"]
        if self.answer == "again":
            return Ask("shall I, really?", given.asked.state)
        return Refuse("no") if self.answer == "no" else await go_on(given)

    async def round_tool(self, run: Any, go_on: Any) -> Any:
        if run.asked is None:
            return Ask("may I?", {"input": run.input}, self.expires_s)
        assert run.asked.state == {"input": RM.input}
        if self.answer == "again":
            return Ask("may I, really?", run.asked.state)
        return Refuse("no") if self.answer == "no" else ToolOutcome((TextBlock("ran"),))

    async def call(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        assert [*request.messages] == self.shown
        return await super().call(request, emit)

    def said_to(self, name: str, text: str) -> tuple[Expected, list[Message]]:
        expected, mine = super().said_to(name, text)
        if expected.asked:
            mine = [*expected.asked, self.answered(name, text)]
        self.shown = [*expected.history, *mine]
        return expected, mine

    def answered(self, name: str, text: str) -> Message:
        """What the history keeps of an answer."""
        match self.asked_by[name]:
            case "turn":
                return user(text)
            case "tool":
                no = self.answer == "no"
                return Message("user", (result("u1", "refused: no" if no else "ran", failed=no),))
            case _:
                return Message("user", (result("q1", text),))

    def withdrawn(self, name: str) -> Message:
        match self.asked_by[name]:
            case "turn":
                return user(WITHDRAWN)
            case "tool":
                return Message("user", (result("u1", WITHDRAWN, failed=True),))
            case _:
                return super().withdrawn(name)

    def take(self, name: str, text: str, step: object) -> TurnResult | EaiError:
        """An answer goes to the turn that asked, whatever comes of it."""
        waits = self.expected[name].status == "awaiting_input" if name in self.expected else False
        told = super().take(name, text, step)
        if waits:
            turn_id = told.details.get("turn_id") if isinstance(told, EaiError) else told.turn_id
            assert turn_id == self.turn_ids[name]
        if isinstance(told, TurnResult):
            self.turn_ids[name] = told.turn_id
            self.settled.pop(name, None)
            if told.status != "running":
                self.settled[name] = (told.turn_id, told)
        return told

    def taken(self, name: str, text: str, step: object) -> TurnResult:
        """A talk that does not fail."""
        told = self.take(name, text, step)
        assert isinstance(told, TurnResult), told
        return told

    def asked(self, name: str, by: str, messages: list[Message]) -> None:
        self.asked_by[name] = by
        self.expected[name].asked = messages

    @rule(name=NAMES)
    def ask_back(self, name):
        if self.is_running(name):
            return
        text = self.words()
        _, mine = self.said_to(name, text)
        assert self.taken(name, text, BY_MODEL).status == "awaiting_input"
        self.asked(name, "", [*mine, BY_MODEL.message])

    @rule(name=NAMES, expires=st.booleans())
    def ask_by_tool(self, name, expires):
        if self.is_running(name):
            return
        text = self.words()
        _, mine = self.said_to(name, text)
        self.expires_s = -1 if expires else None
        told = self.taken(name, text, BY_TOOL)
        self.expires_s = None
        assert (told.status, told.reply) == ("awaiting_input", "may I?")
        self.asked(name, "tool", [*mine, BY_TOOL.message])
        if expires:
            self.comes_too_late(name)

    @rule(name=NAMES, expires=st.booleans())
    def ask_first(self, name, expires):
        if self.is_running(name) or (name in self.expected and self.expected[name].asked):
            return
        text = self.words()
        _, mine = self.said_to(name, text)
        self.asks_first, self.expires_s = True, -1 if expires else None
        told = self.taken(name, text, said("never"))
        self.asks_first, self.expires_s = False, None
        assert (told.status, told.reply) == ("awaiting_input", "shall I?")
        self.asked(name, "turn", [*mine, assistant("shall I?")])
        if expires:
            self.comes_too_late(name)

    def comes_too_late(self, name: str) -> None:
        assert "has expired and was dropped" in str(self.take(name, self.words(), said("never")))
        expected = self.expected[name]
        expected.history += [*expected.asked, self.withdrawn(name)]
        expected.asked = []
        del self.settled[name]

    @rule(name=NAMES, step=st.sampled_from(["refuse", "break"]))
    def fail(self, name, step):
        """A tool that has run is not forgotten when the model fails behind it."""
        if self.is_running(name):
            return
        text = self.words()
        expected, mine = self.said_to(name, text)
        has_run = expected.asked and self.asked_by[name] == "tool"
        assert self.code(self.take(name, text, step)) == "provider_unavailable"
        self.settled.pop(name, None)
        if step == "break" or has_run:
            half = [assistant("half", partial=True)] if step == "break" else []
            expected.history += [*mine, *half]
            expected.asked = []

    @precondition(lambda self: self.waiting("turn"))
    @rule(data=st.data())
    def refuse_turn(self, data):
        name = data.draw(st.sampled_from(self.waiting("turn")))
        self.answer = "no"
        assert "the question is still open" in str(self.take(name, "no", said("never")))
        self.answer = "yes"
        self.settled.pop(name, None)

    @precondition(lambda self: self.waiting("tool"))
    @rule(data=st.data())
    def refuse_tool(self, data):
        name = data.draw(st.sampled_from(self.waiting("tool")))
        self.answer = "no"
        expected, mine = self.said_to(name, "no")
        assert self.taken(name, "no", said("a pity")).reply == "a pity"
        self.answer = "yes"
        expected.history += [*mine, assistant("a pity")]
        expected.asked = []

    @precondition(lambda self: self.waiting("tool") or self.waiting("turn"))
    @rule(data=st.data())
    def ask_again(self, data):
        """The question of a tool takes the place of the one before; that of a turn follows it."""
        name = data.draw(st.sampled_from(sorted((*self.waiting("tool"), *self.waiting("turn")))))
        self.answer = "again"
        told = self.taken(name, "what?", said("never"))
        self.answer = "yes"
        assert told.status == "awaiting_input"
        if self.asked_by[name] == "turn":
            self.expected[name].asked += [user("what?"), assistant("shall I, really?")]

    @rule()
    def crash(self):
        """A tool that has run is kept with its result, and is not asked about again."""
        ran = {name for name in self.hanging() if self.expected[name].asked and self.asked_by[name] == "tool"}
        for name in ran:
            expected = self.expected[name]
            expected.history += expected.running
            expected.asked = []
        super().crash()

    @rule(name=NAMES)
    def interrupt(self, name):
        super().interrupt(name)
        self.settled.pop(name, None)

    @rule(name=NAMES)
    def replace(self, name):
        super().replace(name)
        self.settled.pop(name, None)

    @rule(name=NAMES)
    def close(self, name):
        super().close(name)
        if name not in self.expected:
            self.settled.pop(name, None)

    @invariant()
    def what_was_told_is_told_again(self):
        """Nothing that was acknowledged is lost, and a question is open exactly when that was the outcome."""
        for name, (turn_id, told) in self.settled.items():
            assert self.portal.call(outcome, self.registry, turn_id, name) == told
            assert (told.status == "awaiting_input") == bool(self.expected[name].asked)

    @invariant()
    def what_waits_is_paired_but_for_its_end(self):
        for each in self.expected.values():
            assert unpaired([*each.history, *each.asked[:-1]]) == []

    def waiting(self, by: str) -> list[str]:
        return sorted(
            name
            for name, each in self.expected.items()
            if each.status == "awaiting_input" and self.asked_by[name] == by
        )

    def ended(self, name: str, last: Message) -> None:
        super().ended(name, last)
        self.settled.pop(name, None)


pytestmark = pytest.mark.timeout(60)


class TestYields(Yields.TestCase):  # type: ignore[misc,valid-type]
    """Issue 6: yield and resume, chained, refused, failed, expired and dropped, in any order."""

    settings = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )

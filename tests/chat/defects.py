"""Defects that do not happen here: how a row is written down, and which of them have a test elsewhere."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.errors import EaiError
from eai_mcp.middleware import Ask
from eai_mcp.observe import ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.fakes import Scripted
from tests.pipeline.asking import model
from tests.pipeline.clock import Hasty

Scenario: TypeAlias = Callable[[Catalog], Awaitable[None]]

ELSEWHERE = {
    "1.3 a result may be anything": "chat.test_middleware:test_what_a_middleware_returns_must_be_an_outcome",
    "1.3 what belongs to a response reaches no history": "chat.test_limits:"
    "test_metadata_is_told_in_the_result_and_in_the_facts",
    "1.3 a question whose asker is gone is a fresh turn": "chat.test_middleware:"
    "test_a_middleware_that_asked_and_is_gone_keeps_its_question",
    "1.3 a continuation cannot be stored": "chat.test_yields:"
    "test_a_question_of_a_middleware_survives_a_restart",
    "1.3 it cannot be moved to another process": "chat.test_questions:"
    "test_a_question_is_answered_once_where_two_processes_try",
    "1.3 it cannot expire": "chat.test_yields:test_an_expired_question_cannot_be_answered_and_is_dropped",
    "1.3 it cannot be cancelled": "chat.test_yields:test_an_interrupt_drops_the_question_of_a_middleware",
    "1.3 it cannot be addressed": "server.test_asking:"
    "test_an_answer_to_a_question_that_others_answered_meanwhile_is_refused",
    "1.4 nothing is ever pushed": "chat.test_middleware:"
    "test_what_is_pushed_is_in_the_result_once_and_told_again",
    "1.4 who emits after the close is told nothing": "chat.test_middleware:"
    "test_nothing_can_be_said_or_pushed_in_a_turn_that_has_ended",
    "1.4 completed is told before it is so": "chat.test_faults:"
    "test_a_reply_that_cannot_be_saved_is_in_the_error",
    "1.5 the history keeps what middleware changed": "chat.test_middleware:"
    "test_what_a_middleware_changes_is_what_the_model_sees_and_the_history_keeps",
    "1.5 nothing can be done to a result": "chat.test_middleware:"
    "test_a_middleware_sees_and_changes_the_response",
    "1.5 the text of a panic reaches the caller": "chat.test_replies:"
    "test_a_bug_ends_its_own_turn_and_its_text_stays_in_the_log",
    "1.6 what lies outside the layers is never tried again": "chat.test_faults:"
    "test_the_end_of_a_turn_is_saved_once_the_fault_ends",
    "1.6 what lies outside the layers has no limit": "chat.test_faults:"
    "test_a_store_that_never_answers_does_not_hold_the_turn",
    "1.8 a failed turn leaves its input, and a retry doubles it": "chat.test_replies:"
    "test_a_failed_turn_leaves_no_trace_so_that_a_retry_says_it_once",
    "1.8 a failed resume loses the continuation": "chat.test_yields:test_a_failed_answer_keeps_the_question",
    "1.8 a failed answer to the model loses its question": "chat.test_questions:"
    "test_an_answer_that_fails_leaves_the_question_open",
    "1.8 what middleware rejects stays in the history": "chat.test_middleware:"
    "test_a_middleware_refuses_with_a_reason_and_nothing_is_kept",
    "1.8 a rejected answer throws the whole flow away": "chat.test_yields:"
    "test_a_refused_answer_keeps_the_question",
    "1.8 an end that cannot be told is kept all the same": "chat.test_faults:"
    "test_an_answer_that_cannot_be_saved_leaves_the_question_open",
    "1.9 turns of a session do not wait for each other": "chat.test_busy:"
    "test_those_who_wait_get_their_turns_in_the_order_in_which_they_came",
    "1.9 an input that waited is taken for an answer": "chat.test_odd_moments:"
    "test_what_waited_behind_a_turn_is_no_answer_to_its_question",
    "1.11 emitted is told before it is so": "chat.test_odd_moments:"
    "test_a_turn_that_could_not_be_saved_is_told_as_failed",
    "1.11 a cancelled turn leaves its spans open": "telemetry.test_pipeline:"
    "test_a_turn_that_is_interrupted_leaves_no_span_open",
    "1.11 nobody learns that a listener failed": "test_observe:"
    "test_a_failing_observer_is_logged_once_and_never_raised",
    "1.11 there is no order between signals": "test_observe:"
    "test_all_hear_every_fact_in_order_with_rising_numbers",
}


class Rows:
    """A table of scenarios; `ids` say of each in which section it is told, and what goes wrong there."""

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []
        self.ids: list[str] = []

    def row(self, section: str, name: str) -> Callable[[Scenario], None]:
        def add(scenario: Scenario) -> None:
            self.scenarios.append(scenario)
            self.ids.append(f"{section} {name}")

        return add


def guarded(*steps, clock=None, **reliability) -> tuple[Any, Scripted]:
    """A call through every guard, and what is behind it."""
    clock, call = clock or Hasty(0.0), Scripted([*steps])
    table = Guards(clock=clock, sleep=clock.sleep, chance=lambda: 0.5)
    inside = table.guarded(model("a", **reliability), call)
    return whole([("a", inside)], observe=ignore, clock=clock), call


async def confirms(given, go_on):
    return Ask("sure?") if given.asked is None else await go_on(given)


async def ended(registry, turn):
    """How a turn ended, be it with an error."""
    try:
        return (await registry.reply(turn, 5)).status
    except EaiError as error:
        return error.code

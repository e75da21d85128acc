"""How much a model is to think, and which samplers that rules out.

A choice that rules another out wins if it is the caller's and the other is not; else reasoning goes before
temperature, and temperature before top_p.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eai_mcp.calls import Effort, Samplers
from eai_mcp.messages import JsonObject
from eai_mcp.providers.anthropic_quirks import Quirks

SMALLEST_BUDGET = 1024

ROOM: Mapping[Effort, int] = {
    "none": 0,
    "minimal": SMALLEST_BUDGET,
    "low": 2_000,
    "medium": 6_000,
    "high": 12_000,
    "xhigh": 18_000,
    "max": 23_000,
}
"""Tokens of thinking by effort. With the default limit of a reply they stay below 32,000, the most that the
oldest models still served can say."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the body says about thinking, and how many tokens are to be added to a limit of our own."""

    body: JsonObject
    room: int = 0
    warnings: tuple[str, ...] = ()


def thinking(effort: Effort, quirks: Quirks, *, max_tokens: int | None) -> Thinking:
    """The effort in the words of the model; `max_tokens` is None where nobody chose a limit."""
    if effort != "none":
        return _on(effort, quirks, max_tokens)
    if quirks.can_disable_thinking:
        return Thinking({"thinking": {"type": "disabled"}})
    if quirks.between_tools:
        return Thinking({"thinking": {"type": "between_tools"}}, 0, (_weakened("thinking between tools"),))
    least = _on("low", quirks, max_tokens)
    return Thinking(least.body, least.room, (_weakened("low"),))


def ruled_out(
    caller: Samplers,
    defaults: Samplers,
    quirks: Quirks,
    refused: frozenset[str],
    *,
    begun_without: bool = False,
) -> dict[str, str]:
    """The samplers that cannot be said beside the others, by name, with a sentence for the caller of each.

    `refused` names those of the model's file that are not sent anyway. With `begun_without` the turn began
    without thinking, and has to go on so.
    """
    own, merged = frozenset(caller.given()), caller.over(defaults)
    said = own | {name for name in merged.given() if name not in refused}
    said &= quirks.sampler_fields.keys()
    thinks = merged.reasoning_effort != "none" or not quirks.can_disable_thinking
    out: dict[str, str] = {}
    if "reasoning_effort" in said and thinks:
        reason = _unthinkable(merged, quirks, begun_without=begun_without)
        out = {"reasoning_effort": reason} if reason else _beside_thinking(said, own, merged, quirks)
    if quirks.exclusive_samplers and {"temperature", "top_p"} <= said - out.keys():
        loser, winner = "top_p", "temperature"
        if winner not in own and loser in own:
            loser, winner = winner, loser
        out[loser] = _not_with(loser, winner)
    return out


def _unthinkable(merged: Samplers, quirks: Quirks, *, begun_without: bool) -> str | None:
    if begun_without:
        return "reasoning_effort was not sent: the turn began without reasoning of this model"
    limit = merged.max_tokens
    if quirks.thinking == "budget" and limit is not None and limit <= SMALLEST_BUDGET:
        return f"reasoning_effort was not sent: it needs max_tokens of more than {SMALLEST_BUDGET} here"
    return None


def _beside_thinking(
    said: frozenset[str], own: frozenset[str], merged: Samplers, quirks: Quirks
) -> dict[str, str]:
    clashing = [name for name in quirks.samplers if name in said and _clashes(name, merged)]
    if not quirks.exclusive_samplers or not clashing:
        return {}
    chosen = [name for name in clashing if name in own]
    if chosen and "reasoning_effort" not in own:
        return {"reasoning_effort": _not_with("reasoning_effort", chosen[0])}
    return {name: _not_with(name, "reasoning_effort") for name in clashing}


def _on(effort: Effort, quirks: Quirks, max_tokens: int | None) -> Thinking:
    if quirks.thinking == "adaptive":
        config: JsonObject = {"effort": "low" if effort == "minimal" else effort}
        # The newest models keep their thoughts to themselves unless they are asked for a summary.
        return Thinking(
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": config},
            ROOM[effort],
        )
    budget = ROOM[effort]
    if max_tokens is not None:
        budget = max(SMALLEST_BUDGET, min(budget, max_tokens * 3 // 4))  # the reply needs some of it
    return Thinking({"thinking": {"type": "enabled", "budget_tokens": budget}}, budget)


def _clashes(name: str, merged: Samplers) -> bool:
    match name:
        case "temperature":
            return merged.temperature != 1
        case "top_p":
            return merged.top_p is not None and merged.top_p < 0.95
        case _:
            return True


def _not_with(name: str, other: str) -> str:
    return f"{name} was not sent: this endpoint does not take it together with {other}"


def _weakened(said: str) -> str:
    return f"reasoning_effort none was sent as {said}: this model cannot be told not to think"

"""The numbers that guards work by: a model's own, over the server's defaults, over the ones here."""

import math
from dataclasses import dataclass, field
from typing import TypeVar

from eai_mcp.catalog.entries import Breaker, Reliability

T = TypeVar("T")

ATTEMPTS = 3
BACKOFF_FIRST_S = 0.5
BACKOFF_LONGEST_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """See `Reliability`; here each number is settled, and None means that there is no such limit."""

    attempts: int = ATTEMPTS
    attempt_timeout_s: float | None = None
    backoff_first_s: float = BACKOFF_FIRST_S
    backoff_longest_s: float = BACKOFF_LONGEST_S
    breaker: Breaker = field(default_factory=Breaker)
    rate: float | None = None
    burst: int = 1
    concurrency: int | None = None


def settled(own: Reliability, defaults: Reliability) -> Numbers:
    """The numbers for a model whose file says `own`."""
    first_s = _first(own.backoff_first_s, defaults.backoff_first_s, BACKOFF_FIRST_S)
    longest_s = _first(own.backoff_longest_s, defaults.backoff_longest_s, BACKOFF_LONGEST_S)
    rate = _either(own.rate, defaults.rate)
    return Numbers(
        attempts=_first(own.attempts, defaults.attempts, ATTEMPTS),
        # A long reply may take all that the turn has; silence is what the adapters' own limits end.
        attempt_timeout_s=_either(own.attempt_timeout_s, defaults.attempt_timeout_s),
        backoff_first_s=first_s,
        # A file may raise the first pause alone.
        backoff_longest_s=max(first_s, longest_s),
        breaker=_first(own.breaker, defaults.breaker, Breaker()),
        rate=rate,
        burst=_first(own.burst, defaults.burst, max(1, math.ceil(rate or 0))),
        concurrency=_either(own.concurrency, defaults.concurrency),
    )


def _either(own: T | None, default: T | None) -> T | None:
    return default if own is None else own


def _first(own: T | None, default: T | None, built_in: T) -> T:
    if own is not None:
        return own
    return built_in if default is None else default

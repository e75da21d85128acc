"""Who hears the facts of a server: its log, OpenTelemetry, and whatever else the operator names."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from eai_mcp import middleware
from eai_mcp.errors import ConfigError
from eai_mcp.observe import Fact, Observer, Observers, logged

if TYPE_CHECKING:
    from eai_mcp.telemetry.observer import Telemetry

FLUSH_S = 1.0
BEGINNINGS = ("turn.received", "call.started")
API = ("opentelemetry.trace", "opentelemetry.metrics")


@asynccontextmanager
async def opened(
    *, otel: bool = False, observers: Sequence[str] = (), log: Observer = logged, flush_s: float = FLUSH_S
) -> AsyncIterator[Observers]:
    """All who hear, as one observer; at the end what was not sent yet gets `flush_s` seconds.

    `otel` sets the SDK up as the variables OTEL_* say. Without it, spans go to the SDK that the process has
    set, if it has one. `observers` are like `module:attribute`.

    Raises:
        ConfigError: One of them cannot be had, or the SDK is not installed.
    """
    named = [_loaded(name) for name in observers]
    if not otel:
        yield Observers([log, _Later(), *named])
        return
    from eai_mcp.telemetry import exporting  # costs 0.3 s
    from eai_mcp.telemetry.observer import Telemetry

    async with exporting.opened(flush_s=flush_s) as (tracer_provider, meter_provider):
        telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
        yield Observers([log, telemetry, *named])


class _Later:
    """Telemetry that is made when an SDK is there to hear it: before, it would only cost time."""

    def __init__(self) -> None:
        self._made: Telemetry | None = None
        self._is_set_up = False

    def hears(self, name: str) -> bool:
        """Whether an SDK is set up; it is looked for where something begins, for that takes its time."""
        if name in BEGINNINGS and self._made is None:
            self._is_set_up = _has_sdk()
        return self._is_set_up

    def __call__(self, fact: Fact) -> None:
        if self._made is None:
            from eai_mcp.telemetry.observer import Telemetry

            self._made = Telemetry()
        self._made(fact)


def _has_sdk() -> bool:
    """Whether the process has set up more than OpenTelemetry's API, which does nothing by itself."""
    from opentelemetry import metrics, trace  # not at the start

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    return any(not type(provider).__module__.startswith(API) for provider in providers)


def _loaded(name: str) -> Observer:
    found = middleware.loaded("observer", name)
    if not callable(found):
        raise ConfigError(f"observer {name!r} is no function of a fact, but {type(found).__name__}")
    return found

"""The metrics: how long, how many tokens, how often."""

from collections.abc import Mapping

from opentelemetry.metrics import Histogram, MeterProvider, get_meter

import eai_mcp
from eai_mcp.observe import Fact
from eai_mcp.telemetry.naming import Attributes, attributes, number

# Bounds as the GenAI conventions advise them.
SECONDS = [0.01 * 2**step for step in range(14)]
FIRST_CHUNK = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
TOKENS = [float(4**step) for step in range(14)]

COUNTED: Mapping[str, tuple[str, str]] = {
    "provider.retry": ("eai.retries", "Attempts that were repeated."),
    "provider.fallback": ("eai.fallbacks", "Calls that went on to another model."),
    "circuit.opened": ("eai.circuit.opened", "Circuits that opened."),
    "circuit.half_open": ("eai.circuit.half_open", "Circuits that let one attempt through."),
    "circuit.closed": ("eai.circuit.closed", "Circuits that closed again."),
    "circuit.rejected": ("eai.circuit.rejected", "Attempts that an open circuit refused."),
    "rate.rejected": ("eai.rate.rejected", "Attempts that would have waited for too long."),
    "resource.pushed": ("eai.resources.pushed", "Resources that turns pushed."),
}


class Meters:
    """Every instrument, made once; `provider` is None for the one that the process has set."""

    def __init__(self, provider: MeterProvider | None) -> None:
        self._meter = get_meter("eai_mcp", eai_mcp.__version__, provider)
        self._operation = self._histogram(
            "gen_ai.client.operation.duration", "GenAI operation duration.", bounds=SECONDS
        )
        self._first_chunk = self._histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "Time to the first chunk of the answer.",
            bounds=FIRST_CHUNK,
        )
        self._tokens = self._histogram(
            "gen_ai.client.token.usage", "Tokens read and written.", unit="{token}", bounds=TOKENS
        )
        self._turn = self._histogram("eai.turn.duration", "How long turns took.", bounds=SECONDS)
        self._waited = self._histogram("eai.rate.wait", "How long attempts waited for their turn.")
        self._counters = {
            name: self._meter.create_counter(said, "1", why) for name, (said, why) in COUNTED.items()
        }

    def turn(self, fact: Fact, measured: Attributes) -> None:
        """A turn came to its end."""
        _record(self._turn, fact, "seconds", measured)

    def operation(self, fact: Fact, measured: Attributes) -> None:
        """An attempt, or a tool's run, came to its end."""
        _record(self._operation, fact, "seconds", measured)
        _record(self._first_chunk, fact, "first_chunk_s", measured)
        for kind in ("input", "output"):
            if kind in fact.fields:
                _record(self._tokens, fact, kind, {**measured, "gen_ai.token.type": kind})

    def happened(self, fact: Fact) -> None:
        """Something happened that is only counted, or measured as a wait."""
        if fact.name in self._counters:
            self._counters[fact.name].add(1, attributes(fact, "model", "provider", "from", "to", "code"))
        elif fact.name == "rate.waited":
            _record(self._waited, fact, "seconds", attributes(fact, "model"))

    def _histogram(
        self, name: str, why: str, *, unit: str = "s", bounds: list[float] | None = None
    ) -> Histogram:
        return self._meter.create_histogram(name, unit, why, explicit_bucket_boundaries_advisory=bounds)


def _record(histogram: Histogram, fact: Fact, name: str, measured: Attributes) -> None:
    value = fact.fields.get(name)
    if value is not None:
        histogram.record(number(value), measured)

"""What an answer cost, where the extra `prices` is installed and its list knows the model.

The list is the one that came with the library: nothing is fetched. Loading it costs a third of a second, so a
thread does that, once, after the first answer from somewhere that may have a price.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeAlias

import anyio
import anyio.to_thread
import httpx2

from eai_mcp.calls import ModelResponse
from eai_mcp.messages import Usage

WAIT_S = 5.0
"""How long an answer waits for the list to be loaded; after that it goes out without its cost."""


class Price(Protocol):
    """The dollars for this usage of a wire model at this address.

    Raises:
        LookupError: No price is known.
    """

    def __call__(self, usage: Usage, model: str, url: str) -> float: ...


Load: TypeAlias = Callable[[], Price | None]


class PriceList:
    """Prices, loaded when the first one is asked for; none at all where `load` finds no list."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._price: Price | None = None
        self._loaded = False

    async def cost_usd(self, usage: Usage, *, model: str, url: httpx2.URL) -> float | None:
        """The dollars for this usage of the wire model, asked at `url`; None when nobody knows."""
        # What is not asked over TLS is on this machine or in this house, and has no price.
        if url.scheme != "https" or not (usage.input or usage.output):
            return None
        if not self._loaded:
            with anyio.move_on_after(WAIT_S):
                self._price = await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
                self._loaded = True
        # Without the query, which may hold a key.
        place = f"{url.scheme}://{url.host}{url.path}"
        return None if self._price is None else _asked(self._price, usage, model, place)


def installed() -> Price | None:
    """The prices of the library, None where it is not installed. Slow at its first use."""
    try:
        import genai_prices
        from genai_prices import data_snapshot
    except ImportError:
        return None
    data_snapshot.get_snapshot()  # else the first price would load the list itself, on the event loop

    def price(usage: Usage, model: str, url: str) -> float:
        # There as here the input holds the cached tokens, and the output those of reasoning.
        tokens = genai_prices.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
        )
        return float(genai_prices.calc_price(tokens, model, provider_api_url=url).total_price)

    return price


_PRICES = PriceList(installed)


async def with_cost(
    response: ModelResponse, *, model: str, url: httpx2.URL, prices: PriceList = _PRICES
) -> ModelResponse:
    """The response with what it cost, unless the provider has said so or nobody knows."""
    if response.usage.cost_usd is not None:
        return response
    cost = await prices.cost_usd(response.usage, model=model, url=url)
    return response if cost is None else replace(response, usage=replace(response.usage, cost_usd=cost))


def _asked(price: Price, usage: Usage, model: str, place: str) -> float | None:
    try:
        cost = price(usage, model, place)
    except (LookupError, ValueError, ArithmeticError, TypeError, AttributeError):
        # All but the first mean that the list's own facts do not fit this usage.
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None

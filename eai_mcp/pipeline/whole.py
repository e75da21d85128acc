"""What stands round the guarded calls of a model and its fallbacks: see the package for the order."""

from collections.abc import Sequence

import anyio

from eai_mcp.calls import Call
from eai_mcp.middleware import Named
from eai_mcp.observe import Observer
from eai_mcp.pipeline.fallback import Fallback
from eai_mcp.pipeline.hearing import Clock
from eai_mcp.pipeline.middleware import round_call
from eai_mcp.pipeline.told import Told


def whole(
    links: Sequence[tuple[str, Call]],
    *,
    layers: Sequence[Named] = (),
    observe: Observer,
    clock: Clock = anyio.current_time,
) -> Call:
    """The call that turns make.

    `links` are the names and guarded calls of the model and, in order, those that stand in for it. The first
    of `layers` is the outermost.
    """
    name, call = links[0]
    if len(links) > 1:
        call = Fallback(links, observe=observe, clock=clock)
    for layer in reversed(layers):
        call = round_call(call, layer)
    return Told(call, name, observe=observe, clock=clock)

"""The messages that a card brings along, its `pre_context`: they stand before all that a session says.

It is an export, in any format that we read, of a session that went well. It is never stored, only shown.
"""

import base64
import functools

from eai_mcp.catalog.entries import Card
from eai_mcp.errors import ConfigError, EaiError
from eai_mcp.messages import Message

MIB = 1024 * 1024


def messages(card: Card) -> tuple[Message, ...]:
    """The messages of a card, none if it brings none.

    Raises:
        ConfigError: They cannot be read.
    """
    if card.pre_context is None:
        return ()
    try:
        return _read(card.pre_context)
    except (EaiError, ValueError) as error:
        raise ConfigError(
            f"card {card.name!r}: extensions.eai.pre_context cannot be used: {error}; put in the base64 of a "
            "file that export_chat_session_context wrote",
            kind="card",
            name=card.name,
        ) from error


@functools.lru_cache(maxsize=8)
def _read(encoded: str) -> tuple[Message, ...]:
    # Not at the start: the formats cost time, and few cards need them.
    from eai_mcp import formats
    from eai_mcp.formats import reading
    from eai_mcp.formats.intake import Means
    from eai_mcp.formats.spool import Spool

    limits = formats.Limits(packed=MIB, unpacked=8 * MIB, element=4 * MIB, values=100_000, messages=10_000)
    with Spool() as spool:
        means = Means(spool=spool, limits=limits, tally=formats.Tally(), now=0.0)
        read = reading.session(iter([base64.b64decode(encoded)]), "auto", means)
        found = tuple(line.message for line in read.lines)
    return tuple(message for message in found if message.content)

"""How long a request is, and how much of its history to leave out, in tokens that are estimated.

Each model counts tokens in its own way, and most providers count only what they are sent. So there are two
estimates: the careful one is rarely less than the truth, the hopeful one never more.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from pydantic import JsonValue

from eai_mcp.calls import ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

LONGEST_REPLY = 8192
"""Tokens kept free for a reply whose length nobody limits, unless that is over a quarter of the window."""

STRIDES = 5
"""In what may be sent: a cut leaves up to a fifth of it free, for the turns to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What things come to in tokens.

    Text: `character` for each one, and `byte` for each byte that it needs in UTF-8 beyond the first. Files:
    `file_byte` for each byte, unless they are text. `frame` is what stands round a message, a tool and its
    result.
    """

    character: float
    byte: float
    image: int
    file_byte: float
    frame: int
    with_thoughts: bool


# English has 4 characters to a token and code 3; Chinese and Japanese have 1 to 1.5 tokens to a character
# of 3 bytes. A large picture is 1,600 tokens, a page of a PDF some 2,500 and 50 KB.
CAREFUL = Rates(character=1 / 3, byte=1 / 2, image=1600, file_byte=1 / 24, frame=4, with_thoughts=True)
# Long runs of blanks make the densest text. An icon is a few tokens, a scanned page of 1 MB 258.
HOPEFUL = Rates(character=1 / 16, byte=0, image=4, file_byte=1 / 4096, frame=0, with_thoughts=False)


def tokens(request: ModelRequest, rates: Rates, *, start: int = 0) -> int:
    """What a request comes to with its messages from `start` on."""
    return _around(request, rates) + sum(_message(one, rates) for one in request.messages[start:])


def budget(request: ModelRequest, model: Model, window: int) -> int:
    """What may be sent, so that there is room for the reply."""
    reply = request.samplers.over(model.samplers).max_tokens
    if reply is None:
        reply = min(window // 4, LONGEST_REPLY)
    # Many callers give a limit that no reply comes near, as large as the window even.
    return max(window - reply, window // 4)


def places(messages: Sequence[Message]) -> list[int]:
    """Where a history may be cut: in front of what a user said.

    So no tool use is parted from its result, and what is shown begins with a user's message.
    """
    return [at for at, message in enumerate(messages) if message.role == "user" and not _has_result(message)]


def input_at(messages: Sequence[Message]) -> int:
    """Where the current input begins: at the last place."""
    return next(reversed(places(messages)), 0)


class Sized:
    """A request with each of its messages measured, by the careful estimate."""

    def __init__(self, request: ModelRequest) -> None:
        sizes = (_message(message, CAREFUL) for message in request.messages)
        self._request = request
        self._around = _around(request, CAREFUL)
        self._before = list(itertools.accumulate(sizes, initial=0))

    def tokens(self, cut: int = 0) -> int:
        """What is sent without the oldest `cut` messages."""
        return self._around + self._before[-1] - self._before[cut]

    @property
    def input_at(self) -> int:
        """Where the current input begins."""
        return input_at(self._request.messages)

    def cut(self, most: int) -> int:
        """How many of the oldest messages to leave out for the rest to come to `most` tokens.

        What is left may still be too long, for the current input is never cut.
        """
        over = self.tokens() - most
        if over <= 0:
            return 0
        allowed = places(self._request.messages)
        # Providers keep the beginning of a history in a cache, so it should stay the same for many turns.
        # Whole strides are left out, counted from the first message that ever was: the next turns grow into
        # the rest of the last stride, and find the same place without anybody having remembered it.
        stride = max(1, most // STRIDES)
        strides = -(-over // stride) * stride
        for least in (strides, over):
            for place in allowed:
                if self._before[place] >= least:
                    return place
        return self.input_at


def _around(request: ModelRequest, rates: Rates) -> int:
    tools = (
        rates.frame + _text(tool.name + tool.description, rates) + _json(tool.parameters, rates)
        for tool in request.tools
    )
    return _text(request.system or "", rates) + sum(tools)


def _message(message: Message, rates: Rates) -> int:
    # Thoughts go back to the model that had them, in its provider's own form. That form is not measured:
    # it holds the same words again, and seals that cost nothing.
    with_thoughts = rates.with_thoughts and message.state is not None
    size = rates.frame
    for block in message.content:
        if with_thoughts or not isinstance(block, ThinkingBlock):
            size += _block(block, rates)
    return size


def _block(block: Block, rates: Rates) -> int:
    match block:
        case TextBlock(text=text) | ThinkingBlock(text=text):
            return _text(text, rates)
        case ImageBlock():
            return rates.image
        case DocumentBlock():
            return _document(block, rates)
        case ToolUseBlock():
            return rates.frame + _text(block.name, rates) + _json(block.input, rates)
        case ToolResultBlock():
            return rates.frame + sum(_block(inner, rates) for inner in block.content)
        case _:
            assert_never(block)


def _text(text: str, rates: Rates) -> int:
    characters = len(text)
    beyond = 0 if text.isascii() else len(text.encode("utf-8", "surrogatepass")) - characters
    return int(characters * rates.character + beyond * rates.byte)


def _document(block: DocumentBlock, rates: Rates) -> int:
    size = len(block.data) * 3 // 4  # it is base64
    return int(size * (rates.character if block.media_type.startswith("text/") else rates.file_byte))


def _json(value: JsonValue, rates: Rates) -> int:
    return _text(json.dumps(value, ensure_ascii=False), rates)


def _has_result(message: Message) -> bool:
    return any(isinstance(block, ToolResultBlock) for block in message.content)

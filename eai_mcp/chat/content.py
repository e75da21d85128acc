"""What a caller says, checked before anything begins: its blocks, its characters and its size."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import assert_never

from pydantic import JsonValue

from eai_mcp.chat.values import Talk
from eai_mcp.errors import InvalidArgument, LimitExceeded
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    user,
)

LONGEST_METADATA = 16 * 1024
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}")


def message(talk: Talk, *, longest: int) -> Message:
    """The user's message of a turn; with the system text it has at most `longest` bytes.

    Raises:
        InvalidArgument: It is empty, or holds what no user can say.
        LimitExceeded: It is too long.
    """
    said = user(talk.content)
    size = sum(_size(block) for block in said.content) + _utf8_size(talk.system or "", "system")
    if not any(not isinstance(block, TextBlock) or block.text.strip() for block in said.content):
        raise InvalidArgument("content is empty; say something", field="content")
    if size > longest:
        raise LimitExceeded(
            f"content and system have {size:,} bytes; the limit is {longest:,}",
            field="content",
            limit=longest,
            actual=size,
        )
    return said


def check_metadata(metadata: Mapping[str, JsonValue]) -> None:
    """See that what a caller wants to be kept with the turn is small: it comes back in each result.

    Raises:
        LimitExceeded: It is too long.
    """
    size = len(json.dumps(metadata)) if metadata else 0
    if size > LONGEST_METADATA:
        raise LimitExceeded(
            f"metadata has {size:,} bytes as JSON; the limit is {LONGEST_METADATA:,}",
            field="metadata",
            limit=LONGEST_METADATA,
            actual=size,
        )


def _size(block: Block) -> int:
    match block:
        case TextBlock(text=text):
            return _utf8_size(text, "content")
        case ImageBlock(media_type=media_type, data=data):
            return _media_size(media_type, data)
        case DocumentBlock(media_type=media_type, data=data, name=name):
            return _media_size(media_type, data) + _utf8_size(name, "content")
        case ThinkingBlock() | ToolUseBlock() | ToolResultBlock():
            raise InvalidArgument(
                f"content may hold text, image and document blocks, not {block.type}", field="content"
            )
        case _:
            assert_never(block)


def _media_size(media_type: str, data: str) -> int:
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise InvalidArgument(
            f"content: media_type should be like image/png, not {media_type[:80]!r}", field="content"
        )
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"content: data is not base64: {error}", field="content") from error
    return len(data)


def _utf8_size(text: str, field: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{field} is not valid Unicode: a lone surrogate at character {error.start}", field=field
        ) from error

"""What each tool answers, as the JSON of `structuredContent`."""

from typing import Annotated

from pydantic import JsonValue, WithJsonSchema
from typing_extensions import TypedDict


class EffectiveResult(TypedDict, total=False):
    """What a turn was answered with."""

    model: str
    prompt: str
    system: str
    card: str
    pty_session_id: str


class UsageResult(TypedDict, total=False):
    """Tokens; `cost_usd` only where a price is known."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost_usd: float


class ResourceResult(TypedDict, total=False):
    """What was pushed in a turn; `read_at` is where its content can be read here, if it came with any."""

    kind: str
    uri: str
    mime_type: str
    size_bytes: int
    read_at: str
    metadata: dict[str, JsonValue]


class TurnAnswer(TypedDict, total=False):
    """For `talk`, `wait_for_reply` and `interrupt`."""

    status: str
    reply: str
    chat_session: str
    turn_id: str
    stop_reason: str
    effective: EffectiveResult
    overridden: list[str]
    warnings: list[str]
    usage: UsageResult
    progress: str
    next: str
    metadata: dict[str, JsonValue]
    # Shown without its fields: the three tools that have it would say them three times.
    resources: Annotated[list[ResourceResult], WithJsonSchema({"type": "array"})]


class SessionResult(TypedDict, total=False):
    """A row of `list_sessions`; `updated_at` is ISO 8601, UTC."""

    name: str
    message_count: int
    status: str
    model: str
    turn_id: str
    question: str
    updated_at: str
    usage: UsageResult


class SessionsAnswer(TypedDict, total=False):
    """For `list_sessions`."""

    sessions: list[SessionResult]
    next_cursor: str


class MessageResult(TypedDict, total=False):
    """A message of `get_history`; `cut` says where text was cut, and how to read on."""

    seq: int
    role: str
    content: list[dict[str, JsonValue]]
    partial: bool
    turn_id: str
    at: str
    cut: str


class HistoryAnswer(TypedDict, total=False):
    """For `get_history`: `messages`, or all of them in one `text` that may go on at `next_offset`."""

    chat_session: str
    message_count: int
    messages: list[MessageResult]
    text: str
    next_after: int
    next_offset: int
    question: str


class EnsuredAnswer(TypedDict, total=False):
    """For `ensure_session`."""

    chat_session: str
    created: bool


class ClosedAnswer(TypedDict, total=False):
    """For `close_session`."""

    chat_session: str
    closed: bool


class ForkedAnswer(TypedDict, total=False):
    """For `fork_session`."""

    chat_session: str
    message_count: int
    forked_from: str


class ExportAnswer(TypedDict, total=False):
    """For `export_chat_session_context`: a file, or its `content` from an offset to `next_offset`."""

    chat_session: str
    format: str
    file_path: str
    size_bytes: int
    message_count: int
    sha256: str
    content: str
    next_offset: int
    left_out: list[str]


class ReplacedAnswer(TypedDict, total=False):
    """For `replace_history`; `repairs` says what was mended in what was read."""

    chat_session: str
    message_count: int
    revision: int
    format: str
    repairs: list[str]


class SnapshotAnswer(TypedDict, total=False):
    """For `snapshot`."""

    file_path: str
    size_bytes: int
    session_count: int
    message_count: int
    sha256: str
    left_out: list[str]


class RestoredAnswer(TypedDict, total=False):
    """For `restore`."""

    session_count: int
    message_count: int
    repairs: list[str]


class EntryResult(TypedDict, total=False):
    """A row of `list_catalog`; `needs` says what is missing before it can be used."""

    name: str
    description: str
    title: str
    model: str
    prompt: str
    provider: str
    vision: bool
    ready: bool
    default: bool
    needs: str


class CatalogAnswer(TypedDict, total=False):
    """For `list_catalog`; `problems` are files that were skipped."""

    kind: str
    entries: list[EntryResult]
    problems: list[str]

"""What callers may send to each tool. An unknown argument is a mistake, not something to pass over."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from eai_mcp import formats
from eai_mcp.calls import Effort
from eai_mcp.chat.values import DEFAULT_SESSION, IfBusy, OnTimeout, RestoreMode

Name = Annotated[str, Field(max_length=128)]
Path = Annotated[str, Field(max_length=4096)]
Page = Annotated[int, Field(ge=1, le=500)]
FARTHEST = 2**53
"""The largest whole number that every client's JSON can say."""
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
CONTENT = 'text, or blocks like {"type":"text","text":..}, {"type":"image","media_type":..,"data":base64}'
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class Arguments(BaseModel):
    """The base of them all."""

    model_config = ConfigDict(extra="forbid")


class TalkArguments(Arguments):
    """For `talk`."""

    content: str | list[dict[str, JsonValue]] | None = Field(None, description=CONTENT)
    chat_session: str = DEFAULT_SESSION
    mode: Literal["function", "human"] = Field("function", description="human: the user writes")
    model: Name | None = None
    prompt: Name | None = Field(None, description="a named system prompt")
    system: str | None = Field(None, description="raw text in the prompt's place")
    chara_card: Name | None = None
    metadata: dict[str, JsonValue] | None = None
    pty_session_id: Name | None = None
    timeout_ms: Milliseconds | None = Field(None, description="how long to wait")
    on_timeout: OnTimeout = Field("detach", description="then: status running, or stop it")
    if_busy: IfBusy = "error"
    request_id: Name | None = Field(None, description="makes a repeated call safe")
    turn_id: Name | None = Field(None, description="whose question this answers")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = None
    anthropic_beta: list[Name] | None = None
    reasoning_effort: Effort | None = None


class WaitArguments(Arguments):
    """For `wait_for_reply`."""

    chat_session: str = DEFAULT_SESSION
    turn_id: Name | None = None
    timeout_ms: Milliseconds | None = None


class InterruptArguments(Arguments):
    """For `interrupt`."""

    chat_session: str = DEFAULT_SESSION
    turn_id: Name | None = None


class ListSessionsArguments(Arguments):
    """For `list_sessions`."""

    prefix: Name = ""
    cursor: Name = ""
    limit: Page = 100


class GetHistoryArguments(Arguments):
    """For `get_history`."""

    chat_session: str = DEFAULT_SESSION
    after: Annotated[int, Field(ge=0, le=FARTHEST)] = 0
    limit: Page = 50
    offset: Annotated[
        int, Field(ge=0, le=FARTHEST, description="characters to skip in the first message")
    ] = 0
    format: Literal["json", "markdown"] = "json"


class SessionArguments(Arguments):
    """For `ensure_session` and `close_session`."""

    chat_session: str


class ForkArguments(Arguments):
    """For `fork_session`."""

    chat_session: str
    new_session: str
    after: Annotated[int, Field(ge=0, le=FARTHEST, description="last message to copy")] | None = None


class ExportArguments(Arguments):
    """For `export_chat_session_context`."""

    chat_session: str = DEFAULT_SESSION
    file_path: Path | None = Field(None, description="in the server's export folder; else inline")
    format: formats.Written | None = None
    offset: Annotated[int, Field(ge=0, le=FARTHEST)] = 0


class ReplaceArguments(Arguments):
    """For `replace_history`."""

    chat_session: str = DEFAULT_SESSION
    file_path: Path | None = None
    content: str | list[dict[str, JsonValue]] | dict[str, JsonValue] | None = None
    revision: Annotated[int, Field(ge=1, le=FARTHEST, description="a former history")] | None = None
    format: Annotated[formats.Read, WithJsonSchema({"type": "string"})] = "auto"


class SnapshotArguments(Arguments):
    """For `snapshot`."""

    file_path: Path
    timeout_ms: Milliseconds = Field(0, description="waits for running turns")


class RestoreArguments(Arguments):
    """For `restore`."""

    file_path: Path
    mode: RestoreMode = Field("merge", description="replace also removes all other sessions")


class ListCatalogArguments(Arguments):
    """For `list_catalog`."""

    kind: Literal["models", "prompts", "cards"]
    filter: Name = ""

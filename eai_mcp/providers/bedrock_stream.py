"""The reply of a ConverseStream, put together event by event, without any I/O."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, Stop, StreamEvent, TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.errors import CallError, Refused, Unavailable
from eai_mcp.messages import JsonObject, Message, ProviderState, Usage
from eai_mcp.providers import failures
from eai_mcp.providers.bedrock_blocks import Called, Grown, Said, Sealed, Thought
from eai_mcp.providers.bedrock_frames import EXCEPTION
from eai_mcp.providers.bedrock_messages import PROVIDER
from eai_mcp.providers.complaints import complaint
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.sse import Event

G = TypeVar("G", Said, Thought, Sealed)

_KNOWN = (
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
)
_STOPS: Mapping[str, Stop] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_BROKEN = ("malformed_model_output", "malformed_tool_use")


class Reply:
    """What has come of a reply.

    `is_finished` once messageStop gave the reason for the end, `is_done` after the usage, which follows it.
    `headers` are the response's, for the request id in errors. With `reasoning_back` the reply's own form is
    kept beside ours.
    """

    def __init__(self, endpoint: Endpoint, *, reasoning_back: bool = True) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_begun = False
        self.is_done = False
        self._endpoint = endpoint
        self._reasoning_back = reasoning_back
        self._blocks: list[Grown] = []
        self._open: dict[int, Grown | None] = {}
        self._ids: set[str] = set()
        self._usage = Usage()
        self._finish = ""

    @property
    def is_finished(self) -> bool:
        return bool(self._finish)

    @property
    def text(self) -> str:
        """The words so far."""
        return "".join(str(block.text) for block in self._blocks if isinstance(block, Said))

    def take(self, event: Event) -> list[StreamEvent]:
        """Take the next event and return what there is to hear in it.

        Raises:
            CallError: The event says that the call failed, or is not JSON.
        """
        if self.is_done:
            return []
        if event.event.startswith(EXCEPTION):
            raise self._failed(event)
        if event.event not in _KNOWN:
            return []
        body = self._body(event)
        self.is_begun = True
        return self._taken(event.event, body)

    def _taken(self, name: str, body: JsonObject) -> list[StreamEvent]:
        index = wire.count(body.get("contentBlockIndex"))
        match name:
            case "contentBlockStart":
                return self._started(index, wire.fields(body.get("start")))
            case "contentBlockDelta":
                return self._grown(index, wire.fields(body.get("delta")))
            case "contentBlockStop":
                self._open.pop(index, None)
            case "messageStop":
                self._finish = self._finish or wire.string(body.get("stopReason"))
            case "metadata":
                self._usage = usage_of(wire.fields(body.get("usage")))
                self.is_done = self.is_finished
            case _:
                pass
        return []

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`.

        Raises:
            Refused: A guardrail or filter let nothing through.
            Unavailable: The reason for the end is that the reply is broken.
        """
        blocks, stop = self._blocks, self._stop()
        if stop != "tools" and any(isinstance(block, Called) for block in blocks):
            warnings += (wire.CALL_DROPPED,)
            blocks = [block for block in blocks if not isinstance(block, Called)]
        content = tuple(block for block in (grown.neutral() for grown in blocks) if block)
        message = Message("assistant", content, state=self._state(model, blocks))
        return ModelResponse(
            message=message, stop=stop, usage=self._usage, served_by=served_by, warnings=warnings
        )

    def broken(self, sentence: str) -> Unavailable:
        """The error for a reply that cannot be used, with what there is of it."""
        return failures.broken(self._endpoint, sentence, partial=self.text, headers=self.headers)

    def _body(self, event: Event) -> JsonObject:
        try:
            return wire.fields(wire.parsed(event.data))
        except ValueError as error:
            if self.is_finished:
                return {}
            raise self.broken("sent a piece of the reply that is not JSON") from error

    def _failed(self, event: Event) -> CallError:
        """The error for an exception; the status that the model gave, where it is told, says most."""
        try:
            body = wire.fields(wire.parsed(event.data))
        except ValueError:
            body = {}
        name = event.event.removeprefix(EXCEPTION)
        status = wire.count(body.get("originalStatusCode"))
        said = complaint(body)
        said = replace(
            said,
            words=said.words or wire.string(body.get("originalMessage")),
            code=str(status) if status else name[:1].upper() + name[1:],
        )
        return failures.of_stream(self._endpoint, said, partial=self.text, headers=self.headers)

    def _started(self, index: int, start: JsonObject) -> list[StreamEvent]:
        use = wire.fields(start.get("toolUse"))
        name = wire.mended(wire.string(use.get("name")))
        if not name or use.get("type") == "server_tool_use":
            self._open[index] = None  # nothing that is ours to run
            return []
        own = wire.mended(wire.string(use.get("toolUseId")))
        call = Called("" if own in self._ids else own, name)
        self._ids.add(call.id)
        self._blocks.append(call)
        self._open[index] = call
        return [ToolUseStarted(name)]

    def _grown(self, index: int, delta: JsonObject) -> list[StreamEvent]:
        if "toolUse" in delta:
            call = self._open.get(index)
            if isinstance(call, Called):
                call.pieces.append(wire.string(wire.fields(delta["toolUse"]).get("input")))
            return []
        if "reasoningContent" in delta:
            return self._thought(index, wire.fields(delta["reasoningContent"]))
        text = wire.string(delta.get("text"))
        shown = self._at(index, Said).text.add(text) if text else ""
        return [TextDelta(shown)] if shown else []

    def _thought(self, index: int, piece: JsonObject) -> list[StreamEvent]:
        if sealed := wire.mended(wire.string(piece.get("redactedContent"))):
            self._at(index, Sealed).pieces.append(sealed)
        signature = wire.mended(wire.string(piece.get("signature")))
        text = wire.string(piece.get("text"))
        if not text and not signature:
            return []
        thought = self._at(index, Thought)
        thought.signature += signature
        shown = thought.text.add(text)
        return [ThinkingDelta(shown)] if shown else []

    def _at(self, index: int, kind: type[G]) -> G:
        """The block that grows at `index`: a new one where there is none, or one of another kind."""
        block = self._open.get(index)
        if isinstance(block, kind):
            return block
        new = kind()
        self._blocks.append(new)
        self._open[index] = new
        return new

    def _stop(self) -> Stop:
        if self._finish in _BROKEN:
            raise self.broken(f"broke the reply off ({self._finish})")
        stop = _STOPS.get(self._finish)
        if stop == "refusal" and not self.text:
            raise Refused(
                f"{self._endpoint} declined to answer: its filter let nothing through. Say it in other words",
                model=self._endpoint.model,
                request_id=failures.request_id(self.headers),
            )
        has_calls = any(isinstance(block, Called) for block in self._blocks)
        return stop or ("tools" if has_calls else "end")

    def _state(self, model: str, blocks: list[Grown]) -> ProviderState | None:
        """The reply in its own form, where ours does not hold all of it."""
        if not self._reasoning_back or not any(isinstance(block, Thought | Sealed) for block in blocks):
            return None
        own = [block for block in (grown.own() for grown in blocks) if block]
        return ProviderState(PROVIDER, model, [*own])


def usage_of(used: JsonObject) -> Usage:
    """Tokens in our meaning: what came from the cache or went there is counted beside the input here."""
    read = wire.count(used.get("cacheReadInputTokens"))
    written = wire.count(used.get("cacheWriteInputTokens"))
    return Usage(
        input=wire.count(used.get("inputTokens")) + read + written,
        output=wire.count(used.get("outputTokens")),
        cache_read=read,
        cache_write=written,
    )

"""The reply of an Anthropic Messages stream, put together event by event, without any I/O."""

from collections.abc import Mapping

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, Stop, StreamEvent
from eai_mcp.errors import CallError, Refused, Unavailable
from eai_mcp.messages import JsonObject, Message, ProviderState, Usage
from eai_mcp.providers import failures
from eai_mcp.providers.anthropic_content import Content
from eai_mcp.providers.anthropic_messages import PROVIDER
from eai_mcp.providers.complaints import Complaint, complaint, plain
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.sse import Event

_STOPS: Mapping[str, Stop] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_PIECES = (
    "message",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


class Reply:
    """What has come of a reply.

    `is_finished` once the stop_reason is there: from then on nothing but an error can take the reply away.
    `is_done` after message_stop. `headers` are the response's, for the request id in errors.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_begun = False
        self.is_done = False
        self._endpoint = endpoint
        self._content = Content()
        self._used: JsonObject = {}
        self._reason = ""
        self._details: JsonObject = {}

    @property
    def is_finished(self) -> bool:
        return bool(self._reason)

    @property
    def text(self) -> str:
        """The words so far."""
        return self._content.text

    def take(self, event: Event) -> list[StreamEvent]:
        """Take the next event and return what there is to hear in it.

        Raises:
            CallError: The event says that the call failed, or is not JSON.
        """
        if self.is_done or not event.data:
            return []
        chunk = self._chunk(event)
        kind = wire.string(chunk.get("type")) or event.event
        self.is_begun = self.is_begun or kind in _PIECES
        match kind:
            case "message":
                return self._whole(chunk)
            case "message_start":
                self._count(wire.fields(chunk.get("message")))
            case "content_block_start":
                start = wire.fields(chunk.get("content_block"))
                return [*self._content.begin(chunk.get("index"), start)]
            case "content_block_delta":
                return [*self._content.add(chunk.get("index"), wire.fields(chunk.get("delta")))]
            case "message_delta":
                self._count(chunk)
                self._finish(wire.fields(chunk.get("delta")))
            case "message_stop":
                self._end()
            case _:
                pass  # a ping, the end of a block, or something new
        return []

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`.

        Raises:
            Refused: The model declined before it said anything.
        """
        stop = _STOPS.get(self._reason, "end")
        if stop == "refusal":
            warnings = self._refusal(warnings)
        calls = self._content.has_calls
        if calls and stop in ("length", "refusal"):
            warnings += (wire.CALL_DROPPED,)
        elif calls:
            stop = "tools"
        whole = self._content.whole(with_tools=stop == "tools")
        kept = whole.state()
        state = ProviderState(PROVIDER, model, kept) if kept else None
        message = Message("assistant", tuple(whole.ours), state=state)
        return ModelResponse(
            message=message, stop=stop, usage=usage_of(self._used), served_by=served_by, warnings=warnings
        )

    def broken(self, sentence: str) -> Unavailable:
        """The error for a reply that cannot be used, with what there is of it."""
        return failures.broken(self._endpoint, sentence, partial=self.text, headers=self.headers)

    def _chunk(self, event: Event) -> JsonObject:
        try:
            chunk = wire.fields(wire.parsed(event.data))
        except ValueError as error:
            if event.event == "error":
                raise self._failed(complaint(event.data)) from error
            if self.is_finished or event.event not in ("", "message", *_PIECES):
                return {}
            raise self.broken("sent a piece of the reply that is not JSON") from error
        if "error" in (event.event, chunk.get("type")) or chunk.get("error"):
            raise self._failed(complaint(chunk))
        return chunk

    def _failed(self, said: Complaint) -> CallError:
        return failures.of_stream(self._endpoint, said, partial=self.text, headers=self.headers)

    def _whole(self, message: JsonObject) -> list[StreamEvent]:
        """A reply that does not stream."""
        heard: list[StreamEvent] = []
        for index, block in enumerate(wire.items(message.get("content"))):
            heard += self._content.begin(index, wire.fields(block))
        self._count(message)
        self._finish(message)
        self._end()
        return heard

    def _count(self, place: JsonObject) -> None:
        # Counts are totals so far, so they replace what was there; null is silence.
        used = wire.fields(place.get("usage"))
        self._used |= {name: value for name, value in used.items() if value is not None}

    def _finish(self, place: JsonObject) -> None:
        self._reason = wire.string(place.get("stop_reason")) or self._reason
        self._details = wire.fields(place.get("stop_details")) or self._details

    def _end(self) -> None:
        if not self.is_finished:
            raise self.broken("ended the reply without a stop_reason")
        self.is_done = True

    def _refusal(self, warnings: tuple[str, ...]) -> tuple[str, ...]:
        named = [wire.string(self._details.get(name)) for name in ("category", "explanation")]
        secrets = self._endpoint.secrets
        reason = ": ".join(plain(words, secrets=secrets) for words in named if words).rstrip(".")
        if self.text:
            return (*warnings, f"the model broke off: it declined to go on{reason and f' ({reason})'}")
        raise Refused(
            f"{self._endpoint} declined to answer{reason and f' ({reason})'}. Say it in other words",
            model=self._endpoint.model,
            request_id=failures.request_id(self.headers),
        )


def usage_of(used: JsonObject) -> Usage:
    """Tokens in our meaning: what was read from the cache or written to it is part of the input."""
    read = wire.count(used.get("cache_read_input_tokens"))
    written = wire.count(used.get("cache_creation_input_tokens"))
    return Usage(
        input=wire.count(used.get("input_tokens")) + read + written,
        output=wire.count(used.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        reasoning=wire.count(wire.fields(used.get("output_tokens_details")).get("thinking_tokens")),
    )

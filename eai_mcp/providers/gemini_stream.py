"""The reply of a Gemini stream, put together event by event, without any I/O."""

from collections.abc import Mapping

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, Stop, StreamEvent
from eai_mcp.errors import CallError, Refused, Unavailable
from eai_mcp.messages import JsonObject, Message, ProviderState, Usage
from eai_mcp.providers import failures
from eai_mcp.providers.complaints import Complaint, complaint, plain
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.gemini_content import Content, is_unfinished
from eai_mcp.providers.gemini_messages import PROVIDER
from eai_mcp.providers.sse import Event

_STOPS: Mapping[str, Stop] = {
    "MAX_TOKENS": "length",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "MODEL_ARMOR": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
}
_BROKEN = (
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "OTHER",
)


class Reply:
    """What has come of a reply.

    `is_finished` once the finishReason is there, or the reason why nothing was said. No event says that no
    other follows: `is_done` comes from gateways only. `headers` are the response's, for the request id.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_begun = False
        self.is_done = False
        self._endpoint = endpoint
        self._content = Content()
        self._used: JsonObject = {}
        self._finish = ""
        self._blocked = ""
        self._explained = ""
        self._id = ""

    @property
    def is_finished(self) -> bool:
        return bool(self._finish or self._blocked)

    @property
    def text(self) -> str:
        """The words so far."""
        return self._content.text

    def take(self, event: Event) -> list[StreamEvent]:
        """Take the next event and return what there is to hear in it.

        Raises:
            CallError: The event says that the call failed, or is not JSON.
        """
        heard: list[StreamEvent] = []
        for chunk in self._chunks(event):
            heard += self._taken(chunk)
        return heard

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`.

        Raises:
            Refused: The model, or a filter, declined before anything was said.
            Unavailable: The finishReason says that the reply is broken.
        """
        stop = self._stop()
        if stop == "refusal":
            warnings += (f"the model broke off: it declined to go on ({self._reason()})",)
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
        return failures.broken(self._endpoint, sentence, partial=self.text, headers=self._named())

    def _chunks(self, event: Event) -> list[JsonObject]:
        """The chunks in an event: one, save where a server that does not stream sends all in a list."""
        data = event.data.strip()
        if data in ("", "[DONE]"):
            self.is_done = self.is_done or (bool(data) and self.is_finished)
            return []
        try:
            value = wire.parsed(data)
        except ValueError as error:
            if event.event == "error":
                raise self._failed(complaint(data)) from error
            if self.is_finished:
                return []
            raise self.broken("sent a piece of the reply that is not JSON") from error
        if event.event == "error":
            raise self._failed(complaint(value))
        return [wire.fields(chunk) for chunk in (value if isinstance(value, list) else [value])]

    def _taken(self, chunk: JsonObject) -> list[StreamEvent]:
        self._id = wire.string(chunk.get("responseId")) or self._id
        if chunk.get("error"):
            raise self._failed(complaint(chunk))
        candidates = wire.items(chunk.get("candidates"))
        candidate = wire.fields(candidates[0]) if candidates else {}
        heard: list[StreamEvent] = []
        for part in map(wire.fields, wire.items(wire.fields(candidate.get("content")).get("parts"))):
            if is_unfinished(part):
                raise self.broken("sent the arguments of a tool call in pieces, for which it was not asked")
            heard += self._content.add(part)
        self._end(candidate, wire.fields(chunk.get("promptFeedback")))
        self._used = wire.fields(chunk.get("usageMetadata")) or self._used
        self.is_begun = self.is_begun or bool(candidate) or self.is_finished
        return heard

    def _end(self, candidate: JsonObject, feedback: JsonObject) -> None:
        self._finish = wire.string(candidate.get("finishReason")) or self._finish
        self._blocked = wire.string(feedback.get("blockReason")) or self._blocked
        explained = candidate.get("finishMessage") or feedback.get("blockReasonMessage")
        self._explained = wire.string(explained) or self._explained

    def _failed(self, said: Complaint) -> CallError:
        return failures.of_stream(self._endpoint, said, partial=self.text, headers=self._named())

    def _named(self) -> Mapping[str, str]:
        """The headers, and where none of them names the request, the response's own id."""
        return {**self.headers, "x-generation-id": self._id} if self._id else self.headers

    def _stop(self) -> Stop:
        if not self._blocked and self._finish in _BROKEN:
            raise self.broken(f"broke the reply off ({self._reason()})")
        stop = "refusal" if self._blocked else _STOPS.get(self._finish, "end")
        if stop == "refusal" and not self.text:
            raise Refused(
                f"{self._endpoint} declined to answer ({self._reason()}). Say it in other words",
                model=self._endpoint.model,
                request_id=failures.request_id(self._named()),
            )
        return stop

    def _reason(self) -> str:
        named = filter(None, (self._blocked or self._finish, self._explained))
        return plain(": ".join(named), secrets=self._endpoint.secrets).rstrip(".")


def usage_of(used: JsonObject) -> Usage:
    """Tokens in our meaning: cached ones are part of the input, thoughts are counted beside the words."""
    thoughts = wire.count(used.get("thoughtsTokenCount"))
    return Usage(
        input=wire.count(used.get("promptTokenCount")) + wire.count(used.get("toolUsePromptTokenCount")),
        output=wire.count(used.get("candidatesTokenCount")) + thoughts,
        cache_read=wire.count(used.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )

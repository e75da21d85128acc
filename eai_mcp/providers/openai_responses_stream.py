"""The reply of a Responses stream, put together event by event, without any I/O."""

from collections.abc import Mapping
from dataclasses import replace

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, Stop, StreamEvent
from eai_mcp.errors import CallError, Refused, Unavailable
from eai_mcp.messages import JsonObject, Message, ProviderState, Usage
from eai_mcp.providers import failures
from eai_mcp.providers.complaints import Complaint, complaint
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_responses_items import Items
from eai_mcp.providers.openai_responses_messages import PROVIDER
from eai_mcp.providers.openai_responses_output import Output
from eai_mcp.providers.sse import Event

# The events that end a reply, and what became of it where the reply itself does not say.
_ENDS: Mapping[str, str] = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_UNFINISHED = ("queued", "in_progress")
_OUR_FAULTS = ("invalid_prompt", "data_residency_mismatch")


class Reply:
    """What has come of a reply.

    `is_finished` and `is_done` once its last event is there, after which nothing counts. `headers` are the
    response's, for the request id in errors.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_begun = False
        self.is_done = False
        self._endpoint = endpoint
        self._items = Items()
        self._output = Output(())
        self._used: JsonObject = {}
        self._cut = ""

    @property
    def is_finished(self) -> bool:
        return self.is_done

    @property
    def text(self) -> str:
        """The words so far."""
        return self._items.text

    def take(self, event: Event) -> list[StreamEvent]:
        """Take the next event and return what there is to hear in it.

        Raises:
            CallError: The event says that the call failed, or is not JSON.
        """
        if self.is_done or not event.data or event.data.strip() == "[DONE]":
            return []
        chunk = self._chunk(event)
        kind = wire.string(chunk.get("type")) or event.event
        if kind in _ENDS:
            return self._end(wire.fields(chunk.get("response")), _ENDS[kind])
        if chunk.get("object") == "response" or (not kind and "output" in chunk):
            return self._end(chunk, wire.string(chunk.get("status")) or "completed")
        self.is_begun = self.is_begun or kind.startswith("response.")
        return [*self._items.take(kind, chunk)]

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`.

        Raises:
            Refused: The model or a filter declined before anything was said.
        """
        stop, output = self._stop(), self._output
        if output.tools and stop != "tools":
            warnings += (wire.CALL_DROPPED,)
            output = output.without_tools()
        kept = output.state()
        state = ProviderState(PROVIDER, model, kept) if kept else None
        message = Message("assistant", output.blocks(), state=state)
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
            if event.event not in ("", "message") and not event.event.startswith("response."):
                return {}
            raise self.broken("sent a piece of the reply that is not JSON") from error
        kind = wire.string(chunk.get("type"))
        is_ours = kind.startswith("response.")
        if "error" in (event.event, kind) or (chunk.get("error") and not is_ours):
            raise self._failed(complaint(chunk))
        return chunk

    def _failed(self, said: Complaint) -> CallError:
        return failures.of_stream(self._endpoint, _with_kind(said), partial=self.text, headers=self.headers)

    def _end(self, response: JsonObject, otherwise: str) -> list[StreamEvent]:
        """Take the whole response; `otherwise` is its status where it does not say, or says too early."""
        self.is_begun = True
        status = wire.string(response.get("status"))
        if not status or (status in _UNFINISHED and otherwise not in _UNFINISHED):
            status = otherwise
        if status in _UNFINISHED:
            return []
        if status == "failed":
            raise self._failed(complaint({"error": response.get("error")}))
        if status == "cancelled":
            raise self.broken("cancelled the reply")
        if status == "incomplete":
            reason = wire.fields(response.get("incomplete_details")).get("reason")
            self._cut = wire.string(reason) or "incomplete"
        self._used = wire.fields(response.get("usage"))
        self._output = self._items.finish(wire.items(response.get("output")))
        self.is_done = True
        return [*self._items.unheard(self._output)]

    def _stop(self) -> Stop:
        if self._cut == "content_filter" or (self._output.declined and not self._cut):
            if self._output.text:
                return "refusal"
            raise Refused(
                f"{self._endpoint} declined to answer: its filter let nothing through. Say it in other words",
                model=self._endpoint.model,
                request_id=failures.request_id(self.headers),
            )
        if self._cut:
            return "length"
        return "tools" if self._output.tools else "end"


def usage_of(used: JsonObject) -> Usage:
    """Tokens in our meaning, which is this API's: cached ones are in the input, reasoning in the output."""
    details = wire.fields(used.get("input_tokens_details"))
    return Usage(
        input=wire.count(used.get("input_tokens")),
        output=wire.count(used.get("output_tokens")),
        cache_read=wire.count(details.get("cached_tokens")),
        cache_write=wire.count(details.get("cache_write_tokens")),
        reasoning=wire.count(wire.fields(used.get("output_tokens_details")).get("reasoning_tokens")),
        cost_usd=wire.amount(used.get("cost")),
    )


def _with_kind(said: Complaint) -> Complaint:
    """The complaint with the kind that its code implies, since here no status says it."""
    if said.code.endswith(("_policy", "policy_violation")):
        return replace(said, kind="content_filter")
    if said.code in _OUR_FAULTS or "image" in said.code:
        return replace(said, kind="invalid_request_error")
    return said

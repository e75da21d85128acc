"""The reply of a Chat Completions stream, put together event by event, without any I/O."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, Stop, StreamEvent, TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.errors import CallError, Refused, Unavailable
from eai_mcp.messages import (
    Block,
    JsonObject,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)
from eai_mcp.providers import failures
from eai_mcp.providers.complaints import Complaint, complaint
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_chat_messages import PROVIDER
from eai_mcp.providers.openai_chat_quirks import Quirks
from eai_mcp.providers.openai_chat_tools import ToolCalls
from eai_mcp.providers.sse import Event
from eai_mcp.providers.think_tags import ThinkTags

_STOPS: Mapping[str, Stop] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refusal",
    "refusal": "refusal",
    "safety": "refusal",
    "recitation": "refusal",
    "prohibited_content": "refusal",
}
_BROKEN = (
    "error",
    "insufficient_system_resource",
    "malformed_function_call",
    "malformed_model_output",
    "malformed_tool_use",
)


class Reply:
    """What has come of a reply.

    `is_finished` once the finish_reason is there: from then on nothing but an error can take the reply away.
    `is_done` after [DONE]. `headers` are the response's, for the request id in errors.
    """

    def __init__(self, endpoint: Endpoint, quirks: Quirks) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_begun = False
        self.is_done = False
        self._endpoint = endpoint
        self._quirks = quirks
        self._text = wire.Text()
        self._thinking = wire.Text()
        self._tags = ThinkTags()
        self._tools = ToolCalls()
        self._details: list[JsonValue] = []
        self._usage = Usage()
        self._finish = ""
        self._declined = False

    @property
    def is_finished(self) -> bool:
        return bool(self._finish)

    @property
    def text(self) -> str:
        """The words so far."""
        return str(self._text)

    def take(self, event: Event) -> list[StreamEvent]:
        """Take the next event and return what there is to hear in it.

        Raises:
            CallError: The event says that the call failed, or is not JSON.
        """
        if self.is_done or not event.data:
            return []
        if event.data.strip() == "[DONE]":
            return self._done()
        chunk = self._chunk(event)
        choices = wire.items(chunk.get("choices"))
        choice = wire.fields(choices[0]) if choices else {}
        self.is_begun = self.is_begun or bool(choices)
        self._count(chunk, choice)
        heard = [*self._heard(wire.fields(choice.get("delta")) or wire.fields(choice.get("message")))]
        finish = wire.string(choice.get("finish_reason"))
        if finish and not self._finish:
            heard += self._tagged(self._tags.close())
            self._finish = finish
        return heard

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`.

        Raises:
            Refused: A filter let nothing through.
            Unavailable: The finish_reason says that the reply is broken.
        """
        stop, uses = self._stop(), self._tools.blocks()
        if uses and stop != "tools":
            warnings += (wire.CALL_DROPPED,)
            uses = ()
        message = Message("assistant", self._blocks(uses), state=self._state(model, with_tools=bool(uses)))
        return ModelResponse(
            message=message, stop=stop, usage=self._usage, served_by=served_by, warnings=warnings
        )

    def broken(self, sentence: str) -> Unavailable:
        """The error for a reply that cannot be used, with what there is of it."""
        return failures.broken(self._endpoint, sentence, partial=self.text, headers=self.headers)

    def _done(self) -> list[StreamEvent]:
        self.is_done = True
        if self._quirks.finish_optional and self.is_begun:
            self._finish = self._finish or "stop"
        return [*self._tagged(self._tags.close())]

    def _chunk(self, event: Event) -> JsonObject:
        try:
            chunk = wire.fields(wire.parsed(event.data))
        except ValueError as error:
            if event.event == "error":
                raise self._failed(complaint(event.data)) from error
            if self.is_finished or event.event not in ("", "message"):
                return {}
            raise self.broken("sent a piece of the reply that is not JSON") from error
        if (
            event.event == "error"
            or chunk.get("error")
            or "error" in (chunk.get("object"), chunk.get("type"))
        ):
            raise self._failed(complaint(chunk))
        return chunk

    def _failed(self, said: Complaint) -> CallError:
        return failures.of_stream(self._endpoint, said, partial=self.text, headers=self.headers)

    def _count(self, chunk: JsonObject, choice: JsonObject) -> None:
        for place in (chunk, wire.fields(chunk.get("x_groq")), choice):
            if used := wire.fields(place.get("usage")):
                self._usage = usage_of(used)
                return

    def _heard(self, delta: JsonObject) -> Iterator[StreamEvent]:
        # Some servers say the same under both names.
        if thought := wire.string(delta.get("reasoning_content")) or wire.string(delta.get("reasoning")):
            yield from self._thought(thought)
        for detail in wire.items(delta.get("reasoning_details")):
            self._add_detail(wire.fields(detail))
        content = delta.get("content")
        if said := wire.string(content):
            yield from self._said(said)
        for part in wire.items(content):
            yield from self._part(wire.fields(part))
        if refusal := wire.string(delta.get("refusal")):
            self._declined = True
            yield from self._said(refusal)
        for piece in wire.items(delta.get("tool_calls")):
            if name := self._tools.add(wire.fields(piece)):
                yield ToolUseStarted(name)

    def _part(self, part: JsonObject) -> Iterator[StreamEvent]:
        thinking = part.get("thinking")
        yield from self._thought(wire.string(thinking))
        for piece in wire.items(thinking):
            yield from self._thought(wire.string(wire.fields(piece).get("text")))
        yield from self._said(wire.string(part.get("text")))

    def _said(self, text: str) -> Iterator[StreamEvent]:
        if self._quirks.think_tags:
            yield from self._tagged(self._tags.feed(text))
        elif shown := self._text.add(text):
            yield TextDelta(shown)

    def _tagged(self, pieces: list[tuple[str, bool]]) -> Iterator[StreamEvent]:
        for piece, is_reasoning in pieces:
            if is_reasoning:
                yield from self._thought(piece)
            elif shown := self._text.add(piece):
                yield TextDelta(shown)

    def _thought(self, text: str) -> Iterator[StreamEvent]:
        if shown := self._thinking.add(text):
            yield ThinkingDelta(shown)

    def _add_detail(self, piece: JsonObject) -> None:
        """Put the pieces of one detail together: its signature holds for the whole text only."""
        same = ("type", "index")
        last = wire.fields(self._details[-1]) if self._details else {}
        if "index" not in piece or any(piece.get(name) != last.get(name) for name in same):
            self._details.append(piece)
            return
        for name, value in piece.items():
            before = last.get(name)
            if name in ("text", "summary", "data") and isinstance(before, str) and isinstance(value, str):
                last[name] = before + value
            elif value is not None:
                last[name] = value

    def _stop(self) -> Stop:
        finish = self._finish.lower()
        if finish in _BROKEN:
            raise self.broken(f"broke the reply off ({finish})")
        stop = "refusal" if self._declined else _STOPS.get(finish)
        if stop == "refusal" and not self.text:
            raise Refused(
                f"{self._endpoint} declined to answer: its filter let nothing through. Say it in other words",
                model=self._endpoint.model,
                request_id=failures.request_id(self.headers),
            )
        return stop or ("tools" if self._tools else "end")

    def _blocks(self, uses: tuple[ToolUseBlock, ...]) -> tuple[Block, ...]:
        thinking, text = str(self._thinking), self.text
        return (
            *([ThinkingBlock(thinking)] if thinking else []),
            *([TextBlock(text)] if text else []),
            *uses,
        )

    def _state(self, model: str, *, with_tools: bool) -> ProviderState | None:
        name = self._quirks.reasoning_back
        if name == "reasoning_details" and self._details and not wire.is_deep(self._details):
            # To JSON and back, because what was sent may hold what cannot be written: half a character, say.
            return ProviderState(PROVIDER, model, {name: wire.parsed(wire.written(self._details))})
        if name == "reasoning_content" and with_tools:
            return ProviderState(PROVIDER, model, {name: str(self._thinking)})
        return None


def usage_of(used: JsonObject) -> Usage:
    """Tokens in our meaning: cached ones are part of the input, reasoning is part of the output."""
    details = wire.fields(used.get("prompt_tokens_details"))
    read, written = wire.count(used.get("prompt_tokens")), wire.count(used.get("completion_tokens"))
    reasoning = wire.count(wire.fields(used.get("completion_tokens_details")).get("reasoning_tokens"))
    if wire.count(used.get("total_tokens")) == read + written + reasoning:
        written += reasoning  # xAI counts them beside the output
    return Usage(
        input=read,
        output=written,
        cache_read=wire.count(details.get("cached_tokens"))
        or wire.count(used.get("prompt_cache_hit_tokens")),
        cache_write=wire.count(details.get("cache_write_tokens")),
        reasoning=reasoning,
        cost_usd=wire.amount(used.get("cost")),
    )

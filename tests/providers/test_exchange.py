"""The limits of an exchange; what goes through it is tested with the adapters."""

import itertools

import anyio
import anyio.lowlevel
import httpx2

from eai_mcp.calls import unheard
from eai_mcp.providers.exchange import Exchange
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_chat_quirks import Quirks
from eai_mcp.providers.openai_chat_stream import Reply
from eai_mcp.providers.sse import Decoder
from tests.providers.answering import Answers, Bytes, chunk, event


class Pinging(Bytes):
    async def __aiter__(self):
        for piece in self.pieces:
            await anyio.lowlevel.checkpoint()
            assert isinstance(piece, bytes)
            yield piece


async def test_a_finished_reply_is_not_held_by_comments_that_never_end():
    """Some gateways send comments for as long as the connection is open."""
    pieces = itertools.chain(
        [event(chunk({"content": "whole"})), event(chunk({}, "stop"))], itertools.repeat(b": ping\n\n")
    )
    endpoint = Endpoint(model="m", host="h")
    reply = Reply(endpoint, Quirks())
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Pinging(pieces))
    exchange = Exchange(
        client=Answers(answer).client(),
        url=httpx2.URL("http://h/v1"),
        endpoint=endpoint,
        reply=reply,
        decoder=Decoder(),
        emit=unheard,
        deadline=None,
        tail_s=0.02,
    )
    with anyio.fail_after(5):
        with exchange.scope:
            await exchange.attempt(b"{}", httpx2.Headers())
        exchange.check()

    assert (reply.text, reply.is_finished) == ("whole", True)

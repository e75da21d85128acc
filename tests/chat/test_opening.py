import base64
import gzip
import json

import pytest

from eai_mcp.catalog.entries import Card
from eai_mcp.chat import opening, playing
from eai_mcp.chat.macros import Macros
from eai_mcp.errors import ConfigError
from eai_mcp.formats import Head, Tally, writing
from eai_mcp.messages import Line, assistant, dump, user

BEFORE = (user("count"), assistant("one"), user("go on"), assistant("two"))
LINES = [Line("", 0.0, dump(message)) for message in BEFORE]


def card(content):
    return Card(name="counter", title="Counter", pre_context=base64.b64encode(content).decode())


def exported(form):
    return b"".join(writing.session(form, Head(), iter(LINES), Tally()))


@pytest.mark.parametrize("form", ["eai-mcp", "jsonl", "converse", "openai", "anthropic"])
def test_the_messages_that_a_card_brings_stand_before_all_others(form):
    """Issue 7: `pre_context` applied once."""
    for content in (exported(form), gzip.compress(exported(form))):
        macros = Macros(card=card(content))
        assert playing.played(macros, "", [user("hi")]) == (None, (*BEFORE, user("hi")))
        later = (user("hi"), assistant("yes"), user("and"))
        assert playing.played(macros, "", later) == (None, (*BEFORE, *later))


def test_they_are_read_once():
    content = card(exported("jsonl"))
    first, second = opening.messages(content), opening.messages(content)
    assert [id(one) for one in first] == [id(one) for one in second]
    assert opening.messages(Card(name="x", title="X")) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"rubbish",
        b"",
        json.dumps({"messages": "none"}).encode(),
        gzip.compress(exported("jsonl"))[:-9],
        gzip.compress(b" " * 100_000_000),
        b"[" * 10_000,
        b"\x83h\x02",
    ],
    ids=["rubbish", "nothing", "no list", "cut off", "bomb", "deep", "Erlang"],
)
def test_what_cannot_be_read_is_told_with_the_cards_name(content):
    with pytest.raises(ConfigError) as caught:
        opening.messages(card(content))
    assert caught.value.message.startswith("card 'counter': extensions.eai.pre_context cannot be used: ")
    assert caught.value.details == {"kind": "card", "name": "counter"}


def test_what_is_no_base64_is_told_as_well():
    with pytest.raises(ConfigError, match="pre_context cannot be used"):
        opening.messages(Card(name="x", title="X", pre_context="%"))

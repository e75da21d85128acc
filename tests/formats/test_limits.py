"""How much is read, how long for whom, and how much is written."""

import json

import pytest

from eai_mcp.errors import LimitExceeded
from eai_mcp.formats import Limits, Tally, reading
from eai_mcp.formats.intake import Means
from eai_mcp.formats.spool import Spool
from eai_mcp.messages import assistant, user
from tests.formats import moving
from tests.formats.moving import NOW, lines, read

ASKED = [user("What is in the sea?"), assistant("Fish.")]
SAID = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 2


def packed(value):
    return json.dumps(value).encode()


def test_only_so_many_kinds_of_repairs_are_told_apart():
    content = [{"type": f"kind {number}"} for number in range(200)]
    came = read(packed([{"at": 1, "role": "user", "content": [*content, {"type": "text", "text": "x"}]}]))
    assert len(came.repairs) == 51
    assert came.repairs[-1] == "other repairs of more kinds (150 times, first in message 1)"


def test_too_many_messages_are_refused():
    with pytest.raises(LimitExceeded, match="more than 3 messages"):
        read(packed(SAID), limits=Limits(messages=3))
    assert len(read(packed(SAID), limits=Limits(messages=4)).messages) == 4


def test_neighbours_that_become_one_large_message_are_refused():
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x" * 900}]}
    with pytest.raises(LimitExceeded, match="neighbours that make one message have more than 5,000"):
        read(packed([said] * 9), "openai-responses", limits=Limits(element=5000))
    assert len(read(packed([said] * 4), "openai-responses", limits=Limits(element=5000)).messages) == 1


def test_much_beside_the_messages_is_refused():
    with pytest.raises(LimitExceeded, match="beside the messages"):
        read(packed({**{f"k{n}": "x" * 900 for n in range(9)}, "messages": []}), limits=Limits(element=5000))


def test_whoever_leaves_is_noticed_though_no_message_comes():
    looked = []

    def leave():
        looked.append(1)
        if len(looked) > 3:
            raise ZeroDivisionError

    system = packed({"role": "system", "content": "x" * 1000}) + b"\n"
    with Spool() as spool, pytest.raises(ZeroDivisionError):
        reading.session(
            iter(lambda: system, b""),
            "auto",
            Means(spool=spool, limits=Limits(), tally=Tally(leave), now=NOW),
        )


def test_nothing_is_written_that_could_not_be_read_again():
    given = lines(ASKED)
    with pytest.raises(LimitExceeded, match="more than 1 messages, which could not be read again"):
        moving.limited(given, messages=1)
    with pytest.raises(LimitExceeded, match="more than 100 bytes"):
        moving.limited(given, unpacked=100)
    assert read(moving.limited(given, messages=2)).messages == ASKED

"""What strangers can cause in the log, and how many connections there is room for."""

import logging

from eai_mcp.server.connections import MOST, Sparing, most_open


def record(text):
    return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)


def test_what_strangers_cause_is_one_line_a_second_and_the_rest_is_counted():
    sparing = Sparing(every_s=1000)
    bad = "Invalid HTTP request received."
    assert [sparing.filter(record(bad)) for _ in range(50)] == [True, *[False] * 49]
    assert sparing.filter(record("Unsupported upgrade request."))
    assert all(sparing.filter(record("Exception in ASGI application\n")) for _ in range(3))

    again = Sparing(every_s=0)
    assert again.filter(record(bad))
    again._kinds = {kind: (at, 49) for kind, (at, _) in again._kinds.items()}
    told = record(bad)
    assert again.filter(told)
    assert told.getMessage() == f"{bad} (49 more before)"


def test_there_are_descriptors_for_more_than_connections():
    assert 1 <= most_open() <= MOST

"""Requests over HTTP that no client should send, as bytes."""

import random
from collections.abc import Iterator

from tests.e2e.mutations import Odd
from tests.e2e.wire import LEGACY, MODERN

METHODS = (
    "GET",
    "POST",
    "POST",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "HEAD",
    "TRACE",
    "BREW",
    "post",
    "G\x00T",
)
PATHS = (
    "/mcp",
    "/mcp",
    "/mcp",
    "/mcp/",
    "//mcp",
    "/../mcp",
    "/mcp%2f",
    "/mcp?session_id=1&session_id=2",
    "/sse",
    "/messages/",
    "/messages/?session_id=0",
    "/messages/?session_id=00000000000000000000000000000000",
    "/messages/../mcp",
    "/healthz",
    "/readyz",
    "/.well-known/oauth-protected-resource",
    "/",
    "/%00",
    "/\xff\xfe",
    "*",
    "http://elsewhere.example/mcp",
    "/" + "x" * 70_000,
    "",
)
HEADERS = (
    ("Host", ("elsewhere.example", "", "127.0.0.1", "[::1]", "localhost:99999")),
    ("Origin", ("http://elsewhere.example", "null", "", "file://", "http://127.0.0.1.elsewhere.example")),
    (
        "Authorization",
        ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer \xff\xfe", "Bearer " + "x" * 60_000, "x"),
    ),
    ("Content-Type", ("text/plain", "application/xml", "application/json; charset=utf-16", "", "*/*")),
    ("Accept", ("text/html", "*/*", "", "application/json", "text/event-stream")),
    ("Content-Length", ("-1", "0", "99999999999999999999", "x", "5")),
    ("Transfer-Encoding", ("chunked", "gzip, chunked", "identity", "x")),
    ("Content-Encoding", ("gzip", "br", "x")),
    ("Mcp-Protocol-Version", (MODERN, LEGACY, "1999-01-01", "", "\xff", "x" * 9_000)),
    ("Mcp-Method", ("tools/call", "tools/list", "", "\xff")),
    ("Mcp-Name", ("talk", "interrupt", "", "=?base64?x?=", "\xff")),
    ("Mcp-Session-Id", ("1", "", "\xff", "x" * 9_000, "../1")),
    ("Last-Event-ID", ("1", "-1", "\xff")),
    ("Expect", ("100-continue", "x")),
    ("Upgrade", ("websocket", "h2c")),
    ("X-Forwarded-For", ("10.0.0.1",)),
)
NO_HEADERS = ("", ": x", "Bad Name: x", "Host: a\x00b", "X-Long: " + "x" * 70_000, "X: \x01", " folded: x")


class OddRequests:
    """An endless source of them, the same for the same `seed`, from somebody with a `token` at a `host`."""

    def __init__(self, seed: int, *, host: str, token: str) -> None:
        self._dice = random.Random(seed)
        self._host, self._token = host, token
        self._bodies = {era: Odd(seed, era) for era in (LEGACY, MODERN)}

    def requests(self, count: int) -> Iterator[bytes]:
        """So many, whole or not."""
        for _ in range(count):
            yield self._request()

    def _request(self) -> bytes:
        era = self._dice.choice((LEGACY, MODERN))
        (body, *_) = self._bodies[era].lines(1)
        headers = {
            "Host": self._host,
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Mcp-Protocol-Version": era,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        for name, values in self._dice.sample(HEADERS, self._dice.choice((0, 0, 1, 1, 2, 3))):
            if self._dice.random() < 0.2:
                headers.pop(name, None)
            else:
                headers[name] = self._dice.choice(values)
        calm = self._dice.random() < 0.5
        method, path = ("POST", "/mcp") if calm else (self._dice.choice(METHODS), self._dice.choice(PATHS))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if self._dice.random() < 0.05:
            lines.append(self._dice.choice(NO_HEADERS))
        data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
        if self._dice.random() < 0.1:
            data = data[: self._dice.randrange(len(data))]
        return data

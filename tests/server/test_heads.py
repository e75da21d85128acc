"""Requests that their heads alone decide on."""

from eai_mcp.server.heads import Heads

STRANGE = [(b"host", b"evil.example"), (b"origin", b"http://evil.example")]


async def answered(method, path, headers=()):
    """What is sent for a request, of whose body nothing may be read."""
    sent = []

    async def receive():
        raise AssertionError("the body was asked for")

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        sent.append({"passed": scope["path"]})

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b""}
    await Heads(app)(scope, receive, send)
    return sent


async def test_health_is_told_to_everybody_and_takes_nothing_from_them():
    """Issue 8: "memory bounded": of a stranger's request only the head is read."""
    start, body = await answered("GET", "/healthz", STRANGE)
    assert (start["status"], body["body"]) == (200, b'{"status":"ok"}')
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
        start, _ = await answered(method, "/healthz", [*STRANGE, (b"content-length", b"33554432")])
        assert (start["status"], (b"allow", b"GET, HEAD") in start["headers"]) == (405, True)


async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed():
    """RFC 9112, 6.1: both Transfer-Encoding and Content-Length ought to be handled as an error."""
    both = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    start, _ = await answered("POST", "/mcp", both)
    assert (start["status"], (b"connection", b"close") in start["headers"]) == (400, True)
    for one in both:
        assert await answered("POST", "/mcp", [one]) == [{"passed": "/mcp"}]

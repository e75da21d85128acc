"""Whom a request may name as its Host and its Origin, and what pages of allowed origins are told."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ConfigError
from eai_mcp.server.guard import Names, names
from tests.server.test_http import BOTH, connected

APP = "https://app.example.com"
BODY = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ANY = ("0.0.0.0", 8000)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize(
    ("address", "allowed", "host", "is_ours"),
    [
        (("192.168.1.5", 8000), [], "192.168.1.5:8000", True),
        (("192.168.1.5", 8000), [], "192.168.1.6:8000", False),
        (("192.168.1.5", 8000), ["mcp.example.com"], "mcp.example.com", True),
        (("192.168.1.5", 8000), ["MCP.example.com"], "mcp.example.com:8000", True),
        (("192.168.1.5", 8000), ["mcp.example.com"], "mcp.example.com:81", False),
        (("192.168.1.5", 8000), ["mcp.example.com:8443"], "mcp.example.com:8443", True),
        (("192.168.1.5", 8000), ["mcp.example.com:8443"], "mcp.example.com", False),
        (("192.168.1.5", 8000), ["mcp.example.com"], "evil.mcp.example.com", False),
        (ANY, [], "10.1.2.3:8000", True),
        (ANY, [], "10.1.2.3", True),
        (ANY, [], "[fe80::1]:8000", True),
        (ANY, [], "localhost:8000", True),
        (ANY, [], "evil.example:8000", False),
        (ANY, [], "10.1.2.3.evil.example:8000", False),
        (("::", 8000, 0, 0), [], "10.1.2.3:8000", True),
        (("127.0.0.1", 8000), [], "10.1.2.3:8000", False),
    ],
)
def test_a_host_is_one_of_our_names_or_where_any_will_do_an_address(address, allowed, host, is_ours):
    """Issue 8: "Origin and Host checks"."""
    assert names(address, hosts=allowed).has_host(host) is is_ours


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [
        ("http://10.1.2.3:8000", "10.1.2.3:8000", True),
        ("https://10.1.2.3:8000", "10.1.2.3:8000", True),
        ("http://6.6.6.6:8000", "10.1.2.3:8000", False),
        ("http://10.1.2.3:9000", "10.1.2.3:8000", False),
        ("http://localhost:8000", "10.1.2.3:8000", True),
        (APP, "10.1.2.3:8000", True),
        ("http://app.example.com", "10.1.2.3:8000", False),
        ("null", "10.1.2.3:8000", False),
        ("10.1.2.3:8000", "10.1.2.3:8000", False),
        ("file://10.1.2.3:8000", "10.1.2.3:8000", False),
    ],
)
def test_an_origin_is_the_host_that_was_asked_one_of_our_names_or_an_allowed_one(origin, host, is_ours):
    assert names(ANY, origins=[APP]).has_origin(origin, host) is is_ours


@given(st.text(max_size=60))
def test_no_text_but_our_names_is_taken_for_a_host(text):
    ours = names(("127.0.0.1", 8000))
    assert ours.has_host(text) is (text in ours.hosts)
    assert not Names(hosts=frozenset()).has_origin(text, "a")


@pytest.mark.parametrize("host", ["http://a", "a/b", "a:0", "a:65536", "a b", "*", "", "[::1", "a:b"])
def test_an_allowed_host_that_is_no_name_is_refused(host):
    with pytest.raises(ConfigError, match="--allow-host takes NAME or NAME:PORT"):
        names(ANY, hosts=[host])


@pytest.mark.parametrize(
    "origin",
    [
        *["app.example.com", "https://a/b", "*", "null", "", "https://", "https://a?b", "https://:80"],
        *["https://a:99999", "https://a:0", "https://a:x", "https://ex\xe4mple.com"],
    ],
)
def test_an_allowed_origin_that_is_none_is_refused(origin):
    with pytest.raises(ConfigError, match="--allow-origin takes the origin of a page"):
        names(ANY, origins=[origin])


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("https://A.example:443/", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_allowed_origin_is_what_browsers_send(allowed, sent):
    """Issue 8: "Origin and Host checks"."""
    assert names(ANY, origins=[allowed]).origins == {sent}


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/", "/none"])
async def test_every_path_but_the_one_of_health_is_looked_at(path):
    async with connected(sse=True) as client:
        for header, status in (({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)):
            assert (await client.get(path, headers=header)).status_code == status
            assert (await client.get("/healthz", headers=header)).status_code == 200


async def test_a_second_host_or_origin_does_not_hide_behind_the_first():
    async with connected() as client:
        twice = [("host", "127.0.0.1:8000"), ("host", "evil.example")]
        assert (await client.get("/mcp", headers=twice)).status_code == 421
        twice = [("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.example")]
        assert (await client.get("/mcp", headers=twice)).status_code == 403


async def test_a_page_of_an_allowed_origin_gets_its_answers():
    async with connected(origins=[APP + "/"]) as client:
        asked = {
            "origin": APP,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,mcp-protocol-version,x-other",
        }
        reply = await client.options("/mcp", headers=asked)
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == APP
        assert (
            reply.headers["access-control-allow-headers"]
            == "authorization, content-type, mcp-protocol-version"
        )
        assert "POST" in reply.headers["access-control-allow-methods"]
        reply = await client.post("/mcp", json=BODY, headers={**BOTH, "origin": APP})
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == APP
        assert "mcp-session-id" in reply.headers["access-control-expose-headers"]


async def test_other_pages_get_no_leave_to_read_answers():
    async with connected(origins=[APP]) as client:
        asked = {"origin": "http://127.0.0.1:8000", "access-control-request-method": "POST"}
        for reply in (
            await client.options("/mcp", headers=asked),
            await client.options("/mcp", headers={**asked, "origin": "http://evil.example"}),
            await client.post("/mcp", json=BODY, headers=BOTH),
        ):
            assert isinstance(reply, httpx2.Response)
            assert "access-control-allow-origin" not in reply.headers

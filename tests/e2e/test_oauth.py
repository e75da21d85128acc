"""A real server that takes the tokens of an OAuth issuer, which is on a socket of the test."""

import json
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.e2e.callers import Caller, OverSse, Stateful, joined, serving
from tests.server.signing import Signer

AUDIENCE = "chat"
FILED = "made-up-token-of-ann-0123"


class Issuer:
    """Tells of itself and of its keys while it `answers`."""

    def __init__(self, port):
        self.url, self.asked, self.answers = f"http://127.0.0.1:{port}", [], True
        self.signer = Signer()

    def token(self, **claims):
        return self.signer.token(issuer=self.url, **{"aud": AUDIENCE, "scope": "chat", **claims})

    async def serve(self, stream):
        async with stream:
            head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65536)
            path = head.split()[1].decode()
            self.asked.append(path)
            if not self.answers:
                return
            told = {
                "/.well-known/oauth-authorization-server": {
                    "issuer": self.url,
                    "jwks_uri": f"{self.url}/keys",
                },
                "/keys": {"keys": [self.signer.public()]},
            }.get(path)
            body = json.dumps(told).encode()
            status = b"404 Not Found" if told is None else b"200 OK"
            await stream.send(
                b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status, len(body), body)
            )


@pytest.fixture
async def issuer():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    made = Issuer(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, made.serve)
        yield made
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def served(house, issuer, *options):
    command = [*house.command, "--transport", "sse", "--stateful", "--port", "0", "--log-level", "debug"]
    command += ["--issuer", issuer.url, "--audience", AUDIENCE, "--scope", "chat", *options]
    async with serving(command, house.environment) as (base, said):
        yield base, said


async def test_an_issuers_tokens_let_in_each_in_a_space_of_their_own(house, issuer, tmp_path):
    """Issue 8: "or OAuth resource server (`--issuer`, `--audience`, JWKS)", beside a token file."""
    file = tmp_path / "tokens"
    file.write_text(f"ann={FILED}\n", encoding="utf-8")
    file.chmod(0o600)
    first, second = issuer.token(), issuer.token(exp=2**33)
    with anyio.fail_after(40):
        async with served(house, issuer, "--token-file", str(file)) as (base, said):
            filed, ann, bob = Caller(base, FILED), Caller(base, first), OverSse(base, issuer.token(sub="bob"))
            async with joined(filed, ann, bob, Stateful(base, first)) as (*callers, lasting):
                for caller in callers:
                    done = await caller.call("talk", content="hi", chat_session="work")
                    assert done["reply"] == "messages=1 last=hi"
                again = Caller(base, second)
                done = await again.call("talk", content="ho", chat_session="work")
                assert done["reply"] == "messages=3 last=ho"
                lasting.client.headers["authorization"] = f"Bearer {second}"
                assert (await lasting.call("list_sessions"))["sessions"][1]["name"] == "work"
                lasting.client.headers["authorization"] = f"Bearer {issuer.token(sub='bob')}"
                ping = lasting.message("ping", {})
                assert (await lasting.client.post("/mcp", json=ping)).status_code == 404
                await again.aclose()
            assert issuer.asked.count("/keys") == 1
        assert not any(token.encode() in said for token in (FILED, first, second))


async def test_strangers_learn_from_the_server_whom_to_ask_for_a_token(house, issuer):
    """Issue 8: RFC 9728's metadata, and the challenge that leads to it."""
    with anyio.fail_after(40):
        async with served(house, issuer) as (base, _), httpx2.AsyncClient(base_url=base) as client:
            reply = await client.post("/mcp", json={})
            assert reply.status_code == 401
            _, _, where = reply.headers["www-authenticate"].partition('resource_metadata="')
            told = (await client.get(where.rstrip('"'))).json()
            assert (told["resource"], told["authorization_servers"]) == (f"{base}/mcp", [issuer.url])
            for claims, status in (({"scope": "other"}, 403), ({"aud": "other"}, 401), ({"exp": 1}, 401)):
                said = {"authorization": f"Bearer {issuer.token(**claims)}"}
                assert (await client.post("/mcp", json={}, headers=said)).status_code == status
            asked = len(issuer.asked)
            for _ in range(10):
                said = {"authorization": f"Bearer {issuer.token()[:-3]}AAA"}
                assert (await client.post("/mcp", json={}, headers=said)).status_code == 401
            assert len(issuer.asked) == asked


async def test_an_issuer_that_is_away_is_said_and_no_token_is_blamed(house, issuer):
    """Issue 8: an issuer that does not answer is 503 with Retry-After, not 401."""
    issuer.answers = False
    with anyio.fail_after(40):
        async with served(house, issuer) as (base, _), httpx2.AsyncClient(base_url=base) as client:
            said = {"authorization": f"Bearer {issuer.token()}"}
            reply = await client.post("/mcp", json={}, headers=said)
            assert (reply.status_code, reply.json()["error"]) == (503, "temporarily_unavailable")
            assert 1 <= int(reply.headers["retry-after"]) <= 5
            assert (await client.get("/healthz")).status_code == 200


def test_who_has_no_issuer_does_not_wait_for_what_reads_its_tokens():
    code = (
        "import sys, eai_mcp.cli.serve, eai_mcp.server.http, eai_mcp.server.tokens\n"
        "assert not {'jwt', 'eai_mcp.server.oauth', 'eai_mcp.server.issuer'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

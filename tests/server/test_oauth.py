"""Access tokens of an OAuth issuer: which are taken, for whom, and what the others are told."""

import base64
import hashlib
import hmac
import json
import time

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ConfigError
from eai_mcp.server.admitted import Gate
from eai_mcp.server.issuer import Keys
from eai_mcp.server.oauth import WELL_KNOWN, OAuth
from eai_mcp.server.principal import Principal, Refusal
from eai_mcp.server.tokens import Tokens
from tests.pipeline.clock import Clock
from tests.server.signing import AUDIENCE, DISCOVERY, ISSUER, KEYS, Documents, Signer
from tests.server.test_http import connected
from tests.server.test_tokens import ANN, held, write

ONE = Signer()
RSA = Signer("rsa", "RS256")


def oauth(documents, **options):
    clock = Clock()
    keys = Keys(ISSUER, transport=documents, now=clock)
    return OAuth(keys, **{"audience": AUDIENCE, **options}), clock


async def refused(found, token):
    answer = await found.principal(token)
    assert isinstance(answer, Refusal)
    assert answer.error == ("insufficient_scope" if answer.status == 403 else answer.error)
    return answer.status, answer.message


def wrong(message):
    return 401, message


@pytest.mark.parametrize(
    "alg", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS512"]
)
async def test_a_token_of_each_way_to_sign_lets_its_subject_in(alg):
    """Issue 8: "OAuth resource server (`--issuer`, `--audience`, JWKS)"."""
    signer = RSA if alg[0] in "RP" else Signer("one", alg)
    documents = Documents(signer)
    signer.alg = alg
    found, _ = oauth(documents)
    who = await found.principal(signer.token())
    assert isinstance(who, Principal)
    assert (who.space, who.credential) == ("oauth:ann", b"")
    assert who.until is not None
    assert abs(who.until - time.time() - 630) < 10
    assert documents.asked == [DISCOVERY, KEYS]


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"exp": 1}, "the token has expired"),
        ({"nbf": 2**33}, "the token is not valid yet"),
        ({"aud": "https://other.example"}, "the token is for somebody else"),
        ({"issuer": "https://other.example"}, "the token is from another issuer"),
        ({"issuer": f"{ISSUER}/"}, "the token is from another issuer"),
        ({"exp": None}, "the token must have iss, aud, exp, sub"),
        ({"aud": None}, "the token must have iss, aud, exp, sub"),
        ({"sub": None}, "the token must have iss, aud, exp, sub"),
        ({"issuer": None}, "the token must have iss, aud, exp, sub"),
        ({"sub": ""}, "the token's sub must have 1 to 255 printable characters"),
        ({"sub": "a" * 256}, "the token's sub must have 1 to 255 printable characters"),
        ({"sub": "a\nb"}, "the token's sub must have 1 to 255 printable characters"),
        ({"sub": "a\ud800"}, "the token's sub must have 1 to 255 printable characters"),
        ({"exp": float("inf")}, "the token cannot be read"),
        ({"exp": "soon"}, "the token cannot be read"),
        ({"exp": -(10**400)}, "the token has expired"),
        ({"nbf": 10**400}, "the token is not valid yet"),
    ],
)
async def test_a_token_that_does_not_say_what_it_must_is_refused(claims, sentence):
    found, _ = oauth(Documents(ONE))
    assert await refused(found, ONE.token(**claims)) == wrong(sentence)


async def test_what_ended_or_begins_within_half_a_minute_still_counts():
    found, _ = oauth(Documents(ONE))
    now = int(time.time())
    for token in (ONE.token(exp=now - 20), ONE.token(nbf=now + 20), ONE.token(aud=["x", AUDIENCE])):
        assert isinstance(await found.principal(token), Principal)


async def test_a_token_may_expire_later_than_any_clock_can_tell():
    found, _ = oauth(Documents(ONE))
    who = await found.principal(ONE.token(exp=10**400))
    assert isinstance(who, Principal)
    assert (who.until or 0) > 2**50


@pytest.mark.parametrize(
    ("kind", "is_taken"),
    [
        (None, True),
        ("jwt", True),
        ("at+JWT", True),
        ("application/at+jwt", True),
        ("logout+jwt", False),
        ("dpop+jwt", False),
        (7, False),
    ],
)
async def test_a_token_of_another_type_is_none_for_us(kind, is_taken):
    """RFC 8725, 3.11: what an issuer signs for something else must not be taken for an access token."""
    found, _ = oauth(Documents(ONE))
    answer = await found.principal(ONE.token(headers={"kid": "one", "typ": kind}))
    assert isinstance(answer, Principal) is is_taken
    assert is_taken or answer.message == "the token is of another type than JWT and at+jwt"


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(head):
    """Signed with what everybody knows: the issuer's public key."""
    claims = part({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": 2**33})
    signed = f"{part(head)}.{claims}"
    mac = hmac.new(json.dumps(ONE.public()).encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (forged({"alg": "none", "kid": "one"}), "the token is not signed in a way that is taken here"),
        (forged({"alg": "HS256", "kid": "one"}), "the token is not signed in a way that is taken here"),
        (forged({"alg": ["ES256"], "kid": "one"}), "the token is not signed in a way that is taken here"),
        (forged({"alg": "ES256", "kid": "one"}), "the token's signature is wrong"),
        (forged({"alg": "RS256", "kid": "one"}), "the issuer has no such key"),
        (forged({"alg": "ES256", "kid": "one", "crit": ["x"]}), "the token cannot be read"),
        (forged({"alg": "ES256", "kid": 7}), "the token cannot be read"),
        (Signer().token(), "the token's signature is wrong"),
        (ONE.token()[:-4] + "AAAA", "the token's signature is wrong"),
        ("a.b.c", "the token cannot be read"),
        ("[" * 5000 + ".b.c", "the token cannot be read"),
        ("x" * 20, "this token is not, or no longer, known here"),
        (f"{'x' * 20_000}.b.c", "this token is not, or no longer, known here"),
    ],
)
async def test_a_token_that_the_issuer_did_not_sign_is_refused(token, sentence):
    found, _ = oauth(Documents(ONE))
    assert await refused(found, token) == wrong(sentence)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,9}"))
def test_no_text_is_taken_for_a_token_or_breaks_anything(text):
    found, _ = oauth(Documents(ONE))
    answer = anyio.run(found.principal, text)
    assert (answer.status, answer.error) == (401, "invalid_token")


async def test_scopes_that_are_asked_for_have_to_be_granted():
    found, _ = oauth(Documents(ONE), scopes=["chat", "files"])
    for granted in ({"scope": "files chat other"}, {"scp": ["chat", "files"]}, {"scp": "chat files"}):
        assert isinstance(await found.principal(ONE.token(**granted)), Principal)
    for lacking in ({}, {"scope": "chat filesystem"}, {"scope": 7}, {"scp": ["chat"]}):
        status, message = await refused(found, ONE.token(**lacking))
        assert (status, message.startswith("the token does not grant ")) == (403, True)


@pytest.mark.parametrize(
    "options", [{"audience": ""}, {"audience": "a\nb"}, {"audience": "a", "scopes": ["a b"]}]
)
def test_what_no_token_can_say_is_refused(options):
    with pytest.raises(ConfigError, match=r"--audience must be|--scope takes"):
        OAuth(Keys(ISSUER), **options)


class TestOverHttp:
    """What clients are told."""

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    async def test_strangers_are_told_where_to_look(self):
        found, _ = oauth(Documents(ONE), scopes=["chat"])
        async with connected(gate=Gate(verifier=found)) as client:
            reply = await client.post("/mcp", content="{}")
            where = f"https://mcp.example{WELL_KNOWN}/mcp"
            assert reply.status_code == 401
            told = reply.headers["www-authenticate"]
            assert told == f'Bearer scope="chat", resource_metadata="{where}"'
            reply = await client.post("/mcp", content="{}", headers={"authorization": "Bearer a.b.c"})
            told = reply.headers["www-authenticate"]
            assert told.startswith(
                'Bearer error="invalid_token", error_description="the token cannot be read", '
            )
            said = {"authorization": f"Bearer {ONE.token()}"}
            reply = await client.post("/mcp", content="{}", headers=said)
            assert reply.status_code == 403
            assert 'error="insufficient_scope"' in reply.headers["www-authenticate"]
            said = {"authorization": f"Bearer {ONE.token(scope='chat')}"}
            assert (await client.get("/none", headers=said)).status_code == 404
            for path in (WELL_KNOWN, f"{WELL_KNOWN}/mcp"):
                assert (await client.get(path)).json() == {
                    "resource": AUDIENCE,
                    "authorization_servers": [ISSUER],
                    "bearer_methods_supported": ["header"],
                    "scopes_supported": ["chat"],
                }

    async def test_where_the_audience_is_no_url_we_are_what_the_client_calls_us(self):
        found, _ = oauth(Documents(ONE), audience="chat-server")
        async with connected(gate=Gate(verifier=found)) as client:
            told = (await client.get(WELL_KNOWN, headers={"host": "localhost:8000"})).json()
            assert told["resource"] == "http://localhost:8000/mcp"
            assert (await client.get(WELL_KNOWN, headers={"host": "evil.example"})).status_code == 421

    @pytest.mark.parametrize(
        ("host", "resource"),
        [
            ("mcp.example", "https://mcp.example/mcp"),
            ("proxy.example:8443", "https://proxy.example:8443/mcp"),
            ("mcp.example:8000", "http://mcp.example:8000/mcp"),
            ("10.0.0.5:9000", "http://10.0.0.5:9000/mcp"),
            ("[::1]:8000", "http://[::1]:8000/mcp"),
            ("[1.2.3.4]", "http://[1.2.3.4]/mcp"),
        ],
    )
    async def test_behind_a_proxy_we_are_where_the_proxy_is(self, host, resource):
        """RFC 9728, 1.2: a resource is known by a URL with https, and the proxy is what has the TLS."""
        found, _ = oauth(Documents(ONE), audience="chat-server")
        ours = {"address": ("0.0.0.0", 8000), "hosts": ["mcp.example", "proxy.example:8443"]}
        async with connected(gate=Gate(verifier=found), **ours) as client:
            assert (await client.get(WELL_KNOWN, headers={"host": host})).json()["resource"] == resource
            told = (await client.post("/mcp", headers={"host": host})).headers["www-authenticate"]
            where = f"{resource.removesuffix('/mcp')}{WELL_KNOWN}/mcp"
            assert told == f'Bearer resource_metadata="{where}"'

    async def test_an_issuer_that_does_not_answer_is_no_401(self):
        documents = Documents(ONE)
        documents.at = {DISCOVERY: httpx2.ConnectError("no")}
        found, _ = oauth(documents)
        async with connected(gate=Gate(verifier=found)) as client:
            reply = await client.post("/mcp", headers={"authorization": f"Bearer {ONE.token()}"})
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            assert "www-authenticate" not in reply.headers
            assert "could not be reached" in reply.json()["message"]

    async def test_a_token_of_the_file_comes_first_and_asks_nobody(self, tmp_path):
        write(tmp_path / "tokens", f"ann={ANN}\n")
        documents = Documents(ONE)
        found, _ = oauth(documents)
        gate = Gate(tokens=Tokens(tmp_path / "tokens"), verifier=found)
        async with connected(gate=gate) as client:
            assert (await client.get("/none", headers={"authorization": f"Bearer {ANN}"})).status_code == 404
            assert documents.asked == []
            said = {"authorization": f"Bearer {ONE.token()}"}
            assert (await client.get("/none", headers=said)).status_code == 404

    async def test_a_stream_ends_with_its_token(self, tmp_path):
        documents = Documents(ONE)
        found, _ = oauth(documents)
        token = ONE.token(exp=int(time.time()) - 29)
        said = [(b"authorization", f"Bearer {token}".encode())]
        async with held(Gate(verifier=found), headers=said) as (_, sent, done):
            await done.wait()
            assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

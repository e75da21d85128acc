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
from eai_mcp.server import issuer
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


async def test_keys_are_fetched_once_for_all_who_need_them():
    event = anyio.Event()
    documents = Documents(ONE, event=event)
    found, _ = oauth(documents)
    let_in = []

    async def come():
        let_in.append(await found.principal(ONE.token()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(come)
            await anyio.wait_all_tasks_blocked()
            event.set()
    assert [type(one) for one in let_in] == [Principal] * 20
    assert documents.asked == [DISCOVERY, KEYS]


async def test_an_unknown_key_is_looked_for_once_in_half_a_minute():
    two, documents = Signer("two"), Documents(ONE)
    found, clock = oauth(documents)
    await found.principal(ONE.token())
    documents.at[KEYS] = {"keys": [ONE.public(), two.public()]}
    for _ in range(5):
        assert await refused(found, two.token()) == wrong("the issuer has no such key")
    assert documents.asked.count(KEYS) == 1
    clock.now += 30
    assert isinstance(await found.principal(two.token()), Principal)
    for number in range(5):
        await refused(found, Signer(f"x{number}").token())
    assert documents.asked.count(KEYS) == 2


async def test_a_key_that_the_issuer_took_back_stops_counting():
    documents = Documents(ONE)
    found, clock = oauth(documents)
    await found.principal(ONE.token())
    documents.at[KEYS] = {"keys": [Signer("two").public()]}
    clock.now += issuer.FRESH_S
    assert await refused(found, ONE.token()) == wrong("the issuer has no such key")


@pytest.mark.parametrize(
    ("url", "answer", "sentence"),
    [
        (DISCOVERY, httpx2.ConnectError("no"), "could not be reached: ConnectError"),
        (DISCOVERY, None, "has no discovery document; name its keys with --jwks"),
        (
            DISCOVERY,
            {"issuer": "https://x", "jwks_uri": KEYS},
            "calls itself 'https://x'; --issuer must be the same",
        ),
        (DISCOVERY, {"issuer": ISSUER}, "does not tell where its keys are; name it with --jwks"),
        (
            DISCOVERY,
            {"issuer": ISSUER, "jwks_uri": "http://x/k"},
            "does not tell where its keys are; name it with --jwks",
        ),
        (KEYS, b"<html>", "sends what is no JSON"),
        (KEYS, [], "sends what is no JSON object"),
        (KEYS, b" " * (2**20 + 1), "sends more than 1048576 bytes"),
        (KEYS, {"keys": []}, "has no key that we could use"),
        (KEYS, {"keys": "none"}, "has no key that we could use"),
        (KEYS, httpx2.Response(500), "answers with the status 500"),
        (
            KEYS,
            httpx2.Response(302, headers={"location": "https://x/keys"}),
            "sends us to another host, where we do not go",
        ),
        (KEYS, httpx2.Response(302, headers={"location": KEYS}), "sends us from place to place"),
    ],
)
async def test_an_issuer_that_cannot_be_asked_is_said_and_asked_again_soon(url, answer, sentence):
    """Issue 8: an issuer that does not answer is no fault of the token's."""
    documents = Documents(ONE)
    documents.at[url], before = answer, documents.at[url]
    found, clock = oauth(documents)
    for _ in range(3):
        told = await found.principal(ONE.token())
        assert isinstance(told, Refusal)
        assert (told.status, told.error, told.retry_after_s) == (503, "temporarily_unavailable", 5)
        assert told.message.startswith(f"the issuer {ISSUER} {sentence}, so that no token")
    asked = len(documents.asked)
    documents.at[url] = before
    await found.principal(ONE.token())
    assert len(documents.asked) == asked
    clock.now += issuer.AGAIN_S
    assert isinstance(await found.principal(ONE.token()), Principal)


async def test_known_keys_go_on_counting_for_a_while_when_the_issuer_is_away():
    documents = Documents(ONE)
    found, clock = oauth(documents)
    await found.principal(ONE.token())
    documents.at = {DISCOVERY: httpx2.ConnectError("no")}
    clock.now += issuer.FRESH_S
    assert isinstance(await found.principal(ONE.token()), Principal)
    assert (await refused(found, Signer("two").token()))[0] == 503
    clock.now += issuer.KEPT_S
    assert (await refused(found, ONE.token()))[0] == 503


async def test_keys_may_be_named_and_documents_be_elsewhere_on_the_host():
    documents = Documents(ONE)
    documents.at = {
        KEYS: httpx2.Response(307, headers={"location": "/moved"}),
        "https://issuer.example/moved": documents.at[KEYS],
    }
    keys = Keys(ISSUER, jwks=KEYS, transport=documents)
    assert isinstance(await OAuth(keys, audience=AUDIENCE).principal(ONE.token()), Principal)
    documents = Documents(ONE)
    other = "https://issuer.example/.well-known/oauth-authorization-server/realm"
    documents.at[other] = documents.at.pop(DISCOVERY)
    found, _ = oauth(documents)
    assert isinstance(await found.principal(ONE.token()), Principal)
    assert documents.asked == [DISCOVERY, other, KEYS]


async def test_keys_that_are_not_for_checking_signatures_are_left_alone():
    secret = {"kty": "oct", "k": "AAAA", "kid": "oct"}
    odd = [secret, {"kty": "RSA"}, 7, {"kty": "EC", "crv": "P-256", "x": 1}, ONE.public(kid="enc", use="enc")]
    private = {**ONE.public(kid="private"), "d": "AAAA"}
    documents = Documents()
    documents.at[KEYS] = {
        "keys": [*odd, private, ONE.public(kid="alg", alg="ES384"), ONE.public(alg="ES256")]
    }
    found, clock = oauth(documents)
    assert isinstance(await found.principal(ONE.token()), Principal)
    for kid in ("enc", "private", "alg", "oct"):
        clock.now += 30
        assert await refused(found, ONE.token(headers={"kid": kid})) == wrong("the issuer has no such key")


async def test_a_token_without_a_keys_name_goes_with_the_only_key_that_fits():
    documents = Documents(ONE, RSA)
    found, _ = oauth(documents)
    assert isinstance(await found.principal(ONE.token(headers={})), Principal)
    documents = Documents(ONE, Signer("two"))
    found, _ = oauth(documents)
    assert await refused(found, ONE.token(headers={})) == wrong("the issuer has no such key")


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example",
        "ftp://x",
        "issuer",
        "https://",
        "https://a@b",
        "https://a?b",
        "https://a#b",
        "https://a:b",
        'https://a"b',
        "",
    ],
)
def test_an_issuer_that_could_not_be_trusted_is_refused(url):
    with pytest.raises(ConfigError, match="--issuer must be a URL with https"):
        Keys(url)
    with pytest.raises(ConfigError, match="--jwks must be a URL with https"):
        Keys("http://127.0.0.1:1/x", jwks=url)


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

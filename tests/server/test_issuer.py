"""The keys of an OAuth issuer: where they are found, when they are fetched, and which of them count."""

import anyio
import httpx2
import pytest

from eai_mcp.errors import ConfigError
from eai_mcp.server import issuer
from eai_mcp.server.issuer import Keys
from eai_mcp.server.oauth import OAuth
from eai_mcp.server.principal import Principal, Refusal
from tests.server.signing import AUDIENCE, DISCOVERY, ISSUER, KEYS, Documents, Signer
from tests.server.test_oauth import ONE, RSA, oauth, refused, wrong


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


@pytest.mark.parametrize("headers", [{"kid": "one"}, {}])
async def test_a_key_that_took_anothers_place_is_looked_for_once_in_half_a_minute(headers):
    """RFC 7517, 4.5: an issuer should give a new key a new name, and some do not."""
    new, documents = Signer("one"), Documents(ONE)
    found, clock = oauth(documents)
    await found.principal(ONE.token(headers=headers))
    documents.at[KEYS] = {"keys": [new.public()]}
    for _ in range(3):
        assert await refused(found, new.token(headers=headers)) == wrong("the token's signature is wrong")
    clock.now += 30
    assert isinstance(await found.principal(new.token(headers=headers)), Principal)
    for _ in range(3):
        assert await refused(found, ONE.token(headers=headers)) == wrong("the token's signature is wrong")
    assert documents.asked.count(KEYS) == 2
    documents.at[KEYS] = httpx2.ConnectError("no")
    clock.now += 30
    assert await refused(found, ONE.token(headers=headers)) == wrong("the token's signature is wrong")
    assert isinstance(await found.principal(new.token(headers=headers)), Principal)


async def test_each_key_of_a_name_may_have_signed():
    other = Signer("one")
    found, _ = oauth(Documents(ONE, other))
    for signer in (ONE, other):
        assert isinstance(await found.principal(signer.token()), Principal)


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


async def test_a_token_without_a_keys_name_is_tried_with_some_that_fit():
    others = [Signer(f"n{number}") for number in range(issuer.MOST_TRIED - 1)]
    found, _ = oauth(Documents(RSA, *others, ONE))
    assert isinstance(await found.principal(ONE.token(headers={})), Principal)
    found, _ = oauth(Documents(*others, Signer("one more"), ONE))
    assert await refused(found, ONE.token(headers={})) == wrong("the token's signature is wrong")


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

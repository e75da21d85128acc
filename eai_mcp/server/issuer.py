"""The public keys of an OAuth issuer: found, fetched when they are needed, and kept for a while.

Anybody can send a token that names a key which nobody has, or that no key has signed, so what that makes us
fetch is limited. Requests that need the same fetch share it.
"""

import ipaddress
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import JsonValue

from eai_mcp.errors import ConfigError, Unavailable

LIMIT_S = 5.0
LARGEST = 1024 * 1024
MOST_REDIRECTS = 3
MOST_KEYS = 100
MOST_TRIED = 10
"""Keys that a token is checked with, if it does not say which."""
FRESH_S = 600.0
"""After so long they are fetched anew, since the issuer may have withdrawn one."""
KEPT_S = 3600.0
"""For so long they are used all the same while the issuer does not answer."""
UNKNOWN_S = 30.0
"""Between two fetches for a key that is not among them, or that none of them is."""
AGAIN_S = 5.0
"""Between a fetch that failed and the next one."""
SMALLEST_RSA = 2048
ABSENT = (404, 405, 410)
RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = RSA | {*CURVES.values(), "EdDSA"}

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

log = logging.getLogger("eai_mcp")


@dataclass(frozen=True, slots=True)
class Key:
    """A key, by the name that tokens may say, and what it may have signed with."""

    name: str | None
    algorithms: frozenset[str]
    public: PublicKey


class Keys:
    """Those of the issuer at a URL; `jwks` is where they are, None to ask the issuer.

    Raises:
        ConfigError: One of these is no URL of a kind that can be trusted.
    """

    def __init__(
        self,
        issuer: str,
        *,
        jwks: str | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        for flag, url in (("--issuer", issuer), ("--jwks", jwks)):
            if url is not None and not is_trusted(url):
                raise ConfigError(
                    f"{flag} must be a URL with https (http only on loopback) and no query, not {url!r}",
                    field=flag.removeprefix("--"),
                )
        self.issuer = issuer
        self._jwks = jwks
        self._transport = transport
        self._now = now
        self._keys: tuple[Key, ...] = ()
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._complaint = ""
        self._fetching = anyio.Lock()
        self._fetches = 0

    async def find(self, name: str | None, algorithm: str) -> tuple[Key, ...]:
        """Those that may have signed a token that names one, or none. There may be none of them.

        Raises:
            Unavailable: The issuer cannot be asked.
        """
        if self._fetched_at is None or self._now() >= self._fetched_at + FRESH_S:
            await self._renew()
        found = self._matching(name, algorithm)
        if not found and self._may_look_again():
            await self._fetch()
            found = self._matching(name, algorithm)
        if not found and self._complaint:
            raise self._failure()  # it may be a new key of an issuer that does not answer
        return found

    async def find_others(self, name: str | None, algorithm: str, known: tuple[Key, ...]) -> tuple[Key, ...]:
        """Those that took the place of `known`, by the same name, none if nobody knows of any."""
        if self._matching(name, algorithm) == known and self._may_look_again():
            with suppress(Unavailable):  # a forged token is no reason to say so
                await self._fetch()
        return tuple(key for key in self._matching(name, algorithm) if key not in known)

    def _matching(self, name: str | None, algorithm: str) -> tuple[Key, ...]:
        fitting = (key for key in self._keys if algorithm in key.algorithms and name in (None, key.name))
        return tuple(itertools.islice(fitting, MOST_TRIED))

    def _may_look_again(self) -> bool:
        return self._may_ask(UNKNOWN_S) or self._fetching.locked()

    def _may_ask(self, pause_s: float) -> bool:
        return self._asked_at is None or self._now() >= self._asked_at + pause_s

    def _failure(self) -> Unavailable:
        pause_s = UNKNOWN_S if self._keys else AGAIN_S
        asked_at = self._now() if self._asked_at is None else self._asked_at
        return Unavailable(self._complaint, retry_after_s=max(1.0, asked_at + pause_s - self._now()))

    async def _renew(self) -> None:
        """Fetch them; for a while the former ones do where that fails."""
        try:
            await self._fetch()
        except Unavailable:
            if self._fetched_at is None or self._now() >= self._fetched_at + KEPT_S:
                raise

    async def _fetch(self) -> None:
        """Fetch them, unless somebody else did while we waited, or it failed just now."""
        before = self._fetches
        async with self._fetching:
            if before == self._fetches and (not self._complaint or self._may_ask(AGAIN_S)):
                self._asked_at = self._now()
                try:
                    self._keys = await self._fetched()
                except Unavailable as error:
                    if error.message != self._complaint:
                        log.warning("%s", error.message)
                    self._complaint = error.message
                else:
                    self._complaint, self._fetched_at = "", self._now()
                self._fetches += 1
        if self._complaint:
            raise self._failure()

    async def _fetched(self) -> tuple[Key, ...]:
        try:
            with anyio.fail_after(LIMIT_S):
                async with httpx2.AsyncClient(transport=self._transport, timeout=LIMIT_S) as client:
                    url = self._jwks or await self._discovered(client)
                    found = await _document(client, url)
        except TimeoutError as error:
            raise self._unavailable(f"did not answer within {LIMIT_S:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unavailable(f"could not be reached: {type(error).__name__}") from error
        except Unavailable as error:
            raise self._unavailable(error.message) from error
        entries = found.get("keys") if found else None
        keys = tuple(_usable(entries[:MOST_KEYS])) if isinstance(entries, list) else ()
        if not keys:
            raise self._unavailable("has no key that we could use")
        return keys

    async def _discovered(self, client: httpx2.AsyncClient) -> str:
        """Where the issuer says that its keys are."""
        for url in places(self.issuer):
            found = await _document(client, url)
            if found is None:
                continue
            said, keys = found.get("issuer"), found.get("jwks_uri")
            if said != self.issuer:
                raise Unavailable(f"calls itself {str(said)[:200]!r}; --issuer must be the same")
            if not isinstance(keys, str) or not is_trusted(keys, query=True):
                raise Unavailable("does not tell where its keys are; name it with --jwks")
            return keys
        raise Unavailable("has no discovery document; name its keys with --jwks")

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"the issuer {self.issuer} {why}")


def places(issuer: str) -> tuple[str, str]:
    """Where an issuer may describe itself, after OpenID Connect Discovery and RFC 8414."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    top = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{top}{path}/.well-known/openid-configuration",
        f"{top}/.well-known/oauth-authorization-server{path}",
    )


def is_trusted(url: str, *, query: bool = False) -> bool:
    """Whether a URL is one whose answer nobody can have changed on the way."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_plain = (
        url.isascii() and url.isprintable() and not set(url) & set(' "\\<>') and "@" not in parts.netloc
    )
    if not host or not is_plain or parts.fragment or (parts.query and not query):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _document(client: httpx2.AsyncClient, url: str) -> Mapping[str, JsonValue] | None:
    """The JSON object at a URL, None if there is none. Redirections are followed if they stay with the host.

    Raises:
        Unavailable: What there is, is of no use; the message goes on behind the issuer's name.
    """
    for _ in range(MOST_REDIRECTS + 1):
        async with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
            if not response.has_redirect_location:
                return _object(response.status_code, await _body(response))
            target = response.url.join(response.headers["location"])
        if (target.scheme, target.netloc) != (response.url.scheme, response.url.netloc):
            raise Unavailable("sends us to another host, where we do not go")
        url = str(target)
    raise Unavailable("sends us from place to place")


async def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > LARGEST:
                raise Unavailable(f"sends more than {LARGEST} bytes")
    return bytes(body)


def _object(status: int, body: bytes) -> Mapping[str, JsonValue] | None:
    if status in ABSENT:
        return None
    if status != 200:
        raise Unavailable(f"answers with the status {status}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unavailable("sends what is no JSON") from error
    if not isinstance(found, dict):
        raise Unavailable("sends what is no JSON object")
    return found


def _usable(entries: list[Any]) -> Iterator[Key]:
    """The keys that signatures can be checked with; an issuer may have others, too."""
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        public = _public(entry)
        algorithms = _algorithms(public) if public is not None else frozenset()
        if "alg" in entry:
            algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else frozenset()
        name = entry.get("kid")
        if public is not None and algorithms and (name is None or isinstance(name, str)):
            yield Key(name, algorithms, public)


def _public(entry: dict[str, Any]) -> PublicKey | None:
    algorithm = {"RSA": "RS256", "EC": None, "OKP": "EdDSA"}.get(str(entry.get("kty")), "")
    if algorithm == "":
        return None
    try:
        plain = {name: value for name, value in entry.items() if name != "alg"}
        found = jwt.PyJWK(plain, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    is_known = isinstance(found, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey)
    return found if is_known else None


def _algorithms(public: PublicKey) -> frozenset[str]:
    if isinstance(public, RSAPublicKey):
        return RSA if public.key_size >= SMALLEST_RSA else frozenset()
    if isinstance(public, Ed25519PublicKey):
        return frozenset({"EdDSA"})
    algorithm = CURVES.get(public.curve.name)
    return frozenset({algorithm} if algorithm else ())

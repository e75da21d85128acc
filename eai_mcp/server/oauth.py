"""Access tokens of an OAuth issuer: this server as a resource server, after RFC 9068, RFC 6750 and RFC 9728.

Only those who give `--issuer` need this module, and what it imports.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt
from starlette.datastructures import Headers
from starlette.types import Scope

from eai_mcp.errors import ConfigError, Unavailable
from eai_mcp.server.issuer import ALGORITHMS, Key, Keys, is_trusted
from eai_mcp.server.principal import Principal, Refusal

LEEWAY_S = 30
LONGEST = 16 * 1024
LONGEST_SUBJECT = 255
SPACE = "oauth:"
"""Before the subject: no token file has a name with a colon."""
WELL_KNOWN = "/.well-known/oauth-protected-resource"
DEMANDED = ("iss", "aud", "exp", "sub")
WRONG: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for somebody else"),
    (jwt.InvalidIssuerError, "the token is from another issuer"),
    (jwt.MissingRequiredClaimError, f"the token must have {', '.join(DEMANDED)}"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
)


class OAuth:
    """Takes JWTs that the keys' issuer signed for `audience`, and that grant all `scopes`.

    Raises:
        ConfigError: The audience, or a scope, cannot be one.
    """

    def __init__(
        self, keys: Keys, *, audience: str, scopes: Sequence[str] = (), now: Callable[[], float] = time.time
    ) -> None:
        if not audience or not audience.isprintable():
            raise ConfigError("--audience must be what the tokens' aud says, not empty", field="audience")
        for scope in scopes:
            if not scope or not scope.isascii() or not scope.isprintable() or set(scope) & set(' "\\'):
                raise ConfigError(f"--scope takes one scope's name, not {scope!r}", field="scope")
        self._keys = keys
        self._audience = audience
        self._scopes = tuple(scopes)
        self._now = now

    async def principal(self, token: str) -> Principal | Refusal:
        """Whose token it is."""
        try:
            key = await self._key(token)
        except Unavailable as error:
            return Refusal(
                status=503,
                error="temporarily_unavailable",
                message=f"{error.message}, so that no token of it can be checked now; try again later",
                retry_after_s=error.retry_after_s,
            )
        if isinstance(key, Refusal):
            return key
        claims = self._claims(token, *key)
        return claims if isinstance(claims, Refusal) else self._granted(claims)

    def metadata(self, scope: Scope, path: str) -> Mapping[str, Any] | None:
        """See `Verifier`; it is at the root and behind it under the resource's path."""
        suffix = urlsplit(self._resource(scope, path)).path.rstrip("/")
        if scope["method"] != "GET" or scope["path"] not in (
            WELL_KNOWN,
            WELL_KNOWN + path,
            WELL_KNOWN + suffix,
        ):
            return None
        told: dict[str, Any] = {
            "resource": self._resource(scope, path),
            "authorization_servers": [self._keys.issuer],
            "bearer_methods_supported": ["header"],
        }
        return told | ({"scopes_supported": [*self._scopes]} if self._scopes else {})

    def challenge(self, scope: Scope, path: str) -> Mapping[str, str]:
        """See `Verifier`."""
        parts = urlsplit(self._resource(scope, path))
        where = f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"
        asked = {"scope": " ".join(self._scopes)} if self._scopes else {}
        return {**asked, "resource_metadata": where}

    def _resource(self, scope: Scope, path: str) -> str:
        """What clients call this server: the audience if it is a URL, else what this one called it."""
        if is_trusted(self._audience):
            return self._audience
        return f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}{path}"

    async def _key(self, token: str) -> tuple[Key, str] | Refusal:
        """What it is to be checked with, and how.

        Raises:
            Unavailable: The issuer cannot be asked for its keys.
        """
        if len(token) > LONGEST or token.count(".") != 2:
            return _refused("this token is not, or no longer, known here")
        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return _refused("the token cannot be read")
        algorithm, name = head.get("alg"), head.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return _refused("the token is not signed in a way that is taken here")
        key = await self._keys.find(name, algorithm)
        return (key, algorithm) if key is not None else _refused("the issuer has no such key")

    def _claims(self, token: str, key: Key, algorithm: str) -> Mapping[str, Any] | Refusal:
        try:
            return jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._keys.issuer,
                leeway=LEEWAY_S,
                options={"require": [*DEMANDED]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            told = (sentence for kind, sentence in WRONG if isinstance(error, kind))
            return _refused(next(told, "the token cannot be read"))

    def _granted(self, claims: Mapping[str, Any]) -> Principal | Refusal:
        subject = claims["sub"]
        if (
            not isinstance(subject, str)
            or not 1 <= len(subject) <= LONGEST_SUBJECT
            or not subject.isprintable()
        ):
            return _refused(f"the token's sub must have 1 to {LONGEST_SUBJECT} printable characters")
        if missing := [scope for scope in self._scopes if scope not in _scopes(claims)]:
            return Refusal(
                status=403,
                error="insufficient_scope",
                message=f"the token does not grant {' '.join(missing)}",
            )
        return Principal(f"{SPACE}{subject}", until=float(claims["exp"]) + LEEWAY_S)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """What a token grants: most issuers write it as RFC 9068 says, some as a list, under another name."""
    said = claims.get("scope", claims.get("scp", ""))
    if isinstance(said, str):
        return frozenset(said.split())
    return frozenset(map(str, said)) if isinstance(said, list) else frozenset()


def _refused(message: str) -> Refusal:
    return Refusal(status=401, error="invalid_token", message=message)

"""Access tokens of an OAuth issuer: this server as a resource server, after RFC 9068, RFC 6750 and RFC 9728.

Of RFC 9068, claims and types that many issuers leave out are not demanded: `client_id`, `iat`, `jti`, and the
type `at+jwt`; one that says to be of another type, like a token for logging out, is refused.

Only those who give `--issuer` need this module, and what it imports.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

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
TYPES = ("jwt", "at+jwt")
FARTHEST = 2**53
"""When a token is taken to expire that does so later than a float can tell."""
WRONG: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for somebody else"),
    (jwt.InvalidIssuerError, "the token is from another issuer"),
    (jwt.MissingRequiredClaimError, f"the token must have {', '.join(DEMANDED)}"),
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
        head = _head(token)
        if isinstance(head, Refusal):
            return head
        try:
            claims = await self._checked(token, *head)
        except Unavailable as error:
            return Refusal(
                status=503,
                error="temporarily_unavailable",
                message=f"{error.message}, so that no token of it can be checked now; try again later",
                retry_after_s=error.retry_after_s,
            )
        return claims if isinstance(claims, Refusal) else self._granted(claims)

    def metadata(self, scope: Scope, path: str) -> Mapping[str, Any] | None:
        """See `Verifier`; it is at the root and behind it under the resource's path."""
        _, suffix = _parted(self._resource(scope, path))
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
        top, suffix = _parted(self._resource(scope, path))
        asked = {"scope": " ".join(self._scopes)} if self._scopes else {}
        return {**asked, "resource_metadata": f"{top}{WELL_KNOWN}{suffix}"}

    def _resource(self, scope: Scope, path: str) -> str:
        """What clients call this server: the audience if it is a URL, else what this one called it."""
        if is_trusted(self._audience):
            return self._audience
        host = Headers(scope=scope).get("host", "")
        return f"{'https' if _is_behind_proxy(scope, host) else scope['scheme']}://{host}{path}"

    async def _checked(self, token: str, name: str | None, algorithm: str) -> Mapping[str, Any] | Refusal:
        """Its claims. An issuer may have changed its key and not the name of that.

        Raises:
            Unavailable: The issuer cannot be asked for its keys.
        """
        keys = await self._keys.find(name, algorithm)
        if not keys:
            return _refused("the issuer has no such key")
        claims = self._first_claims(token, keys, algorithm)
        if claims is None:
            others = await self._keys.find_others(name, algorithm, keys)
            claims = self._first_claims(token, others, algorithm)
        return _refused("the token's signature is wrong") if claims is None else claims

    def _first_claims(
        self, token: str, keys: Sequence[Key], algorithm: str
    ) -> Mapping[str, Any] | Refusal | None:
        """What it says by the key that signed it, None if none of them did."""
        for key in keys:
            with suppress(jwt.InvalidSignatureError):
                return self._claims(token, key, algorithm)
        return None

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
        except jwt.InvalidSignatureError:
            raise
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
        return Principal(f"{SPACE}{subject}", until=float(min(int(claims["exp"]), FARTHEST) + LEEWAY_S))


def _head(token: str) -> tuple[str | None, str] | Refusal:
    """The name of the key that is said to have signed a token, and how."""
    if len(token) > LONGEST or token.count(".") != 2:
        return _refused("this token is not, or no longer, known here")
    try:
        head = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return _refused("the token cannot be read")
    algorithm, kind = head.get("alg"), head.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return _refused("the token is not signed in a way that is taken here")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        return _refused("the token is of another type than JWT and at+jwt")
    return head.get("kid"), algorithm


def _is_behind_proxy(scope: Scope, host: str) -> bool:
    """Whether a client names us by another port than ours: something is in front, and that has the TLS.

    An address with another port may as well be that of a container.
    """
    name, _, port = host.partition(":")
    is_address = host.startswith("[") or name.replace(".", "").isdigit() or name == "localhost"
    own = scope.get("server") or ("", None)
    return not is_address and (port or "80") != str(own[1])


def _parted(url: str) -> tuple[str, str]:
    """A URL's beginning, and its path. A Host can be taken for ours that no parser of URLs takes."""
    scheme, _, host, *path = url.split("/", 3)
    return f"{scheme}//{host}", "".join(f"/{part}" for part in path).rstrip("/")


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """What a token grants: most issuers write it as RFC 9068 says, some as a list, under another name."""
    said = claims.get("scope", claims.get("scp", ""))
    if isinstance(said, str):
        return frozenset(said.split())
    return frozenset(map(str, said)) if isinstance(said, list) else frozenset()


def _refused(message: str) -> Refusal:
    return Refusal(status=401, error="invalid_token", message=message)

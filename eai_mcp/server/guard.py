"""Which Host and Origin a request may name, looked at before anything else is.

A page that somebody's browser shows may send requests here: under a name of its own that leads to our address
(DNS rebinding), which Host gives away, or under ours, which Origin gives away. Pages of the origins that the
operator allows get the headers that let a browser show them the answers (CORS).
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eai_mcp.errors import ConfigError
from eai_mcp.server.address import LOOPBACK, authority
from eai_mcp.server.principal import as_stranger

METHODS = "GET, POST, DELETE, OPTIONS"
SENT = ("accept", "authorization", "content-type", "last-event-id")
SHOWN = "mcp-session-id, www-authenticate"
KEPT_S = 600
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}", re.ASCII)
_USUAL_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a request may name. `any_address` takes every address that stands as a number for one of ours."""

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    any_address: bool = False

    def has_host(self, host: str) -> bool:
        """Whether a Host is one of ours."""
        return host in self.hosts or (self.any_address and _is_address(host))

    def has_origin(self, origin: str, host: str) -> bool:
        """Whether a page of that origin may ask, if it names us by `host`, which is one of ours."""
        scheme, _, name = origin.partition("://")
        is_ours = scheme in ("http", "https") and (name == host or name in self.hosts)
        return is_ours or origin in self.origins


def names(address: tuple[Any, ...], *, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> Names:
    """Those of a socket's address, and what the operator allows.

    Raises:
        ConfigError: One of these is no name, or no origin.
    """
    port = address[1]
    found = {f"{name}:{port}" for name in LOOPBACK} | {authority(address)}
    if port == 80:
        found |= {*LOOPBACK, authority(address).removesuffix(":80")}
    for text in hosts:
        found |= _allowed(text, port)
    return Names(
        hosts=frozenset(found),
        origins=frozenset(map(_origin, origins)),
        any_address=ipaddress.ip_address(address[0]).is_unspecified,
    )


def check(hosts: Sequence[str], origins: Sequence[str]) -> None:
    """See what the operator allows before there is a socket.

    Raises:
        ConfigError: One of these is no name, or no origin.
    """
    names(("127.0.0.1", 0), hosts=hosts, origins=origins)


class Guard:
    """An app for those who name us as they should."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or answer 421 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers)
        if refusal is not None:
            asked = as_stranger(scope)
            await (self._app(asked, receive, send) if asked else refusal(scope, receive, send))
            return
        origin = headers.get("origin", "")
        if origin.lower() not in self._names.origins:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(origin, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, _shown_to(origin, send))

    def _refusal(self, headers: Headers) -> Response | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._names.has_host(hosts[0].lower()):
            return Response("Invalid Host header", 421)
        if any(not self._names.has_origin(origin.lower(), hosts[0].lower()) for origin in origins):
            return Response("Invalid Origin header", 403)
        return None


def _preflight(origin: str, headers: Headers) -> Response:
    asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    granted = [name for name in asked if name in SENT or re.fullmatch(r"mcp-[a-z0-9-]{1,64}", name)]
    answer = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ", ".join(granted or SENT),
        "Access-Control-Max-Age": str(KEPT_S),
        "Vary": "Origin, Access-Control-Request-Headers",
    }
    return Response(status_code=204, headers=answer)


def _shown_to(origin: str, send: Send) -> Send:
    added = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", SHOWN.encode()),
        (b"vary", b"Origin"),
    ]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sent


def _allowed(text: str, own_port: int) -> set[str]:
    """Without a port a name stands for the usual ones of the web and for our own."""
    found = _HOST.fullmatch(text)
    if found is None or (found[2] and not 1 <= int(found[2]) <= 65535):
        raise ConfigError(f"--allow-host takes NAME or NAME:PORT, not {text!r}", field="allow_host")
    name = found[1].lower()
    return {f"{name}:{int(found[2])}"} if found[2] else {name, f"{name}:{own_port}"}


def _origin(text: str) -> str:
    """As browsers write it: in small letters, without the usual port; a name with other letters in ASCII."""
    scheme, _, name = text.lower().removesuffix("/").partition("://")
    found = _HOST.fullmatch(name)
    if not _SCHEME.fullmatch(scheme) or found is None or (found[2] and not 1 <= int(found[2]) <= 65535):
        raise ConfigError(
            f"--allow-origin takes the origin of a page, like https://app.example.com, not {text!r}",
            field="allow_origin",
        )
    port = str(int(found[2])) if found[2] else None
    return f"{scheme}://{found[1]}" + (f":{port}" if port and port != _USUAL_PORTS.get(scheme) else "")


def _is_address(host: str) -> bool:
    found = _HOST.fullmatch(host)
    try:
        return found is not None and bool(ipaddress.ip_address(found[1].strip("[]")))
    except ValueError:
        return False

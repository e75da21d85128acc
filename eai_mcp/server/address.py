"""Where HTTP listens: an address and a port that are had at once, or a sentence that says why not."""

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eai_mcp.errors import ConfigError

BACKLOG = 512
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""How this machine calls itself, in a URL."""


@contextmanager
def listening(host: str, port: int, *, is_guarded: bool = False) -> Iterator[socket.socket]:
    """A socket that takes connections from this machine; from any, where callers have to say who they are.

    Raises:
        ConfigError: The host is none that we may listen on, or the port cannot be had.
    """
    address = checked(host, is_guarded=is_guarded)
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} does not exist; choose one from 1 to 65535, or 0 for any free one")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where TCP is named; with it an answer waits 40 ms for its rest.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if sys.platform != "win32":
            # Connections of a former run that wind down would hold the port; on Windows it would be shared.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            # Any address means those of both families; left alone, each system decides that for itself.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind((address, port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise ConfigError(unavailable(address, port, error), port=port) from error
        yield listener


def authority(address: tuple[Any, ...]) -> str:
    """How a URL names the address of a socket."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def checked(host: str, *, is_guarded: bool) -> str:
    """The address that a host means.

    Raises:
        ConfigError: It is no address, or one that others reach and nobody has to say who they are.
    """
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        found = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError as error:
        raise ConfigError(
            f"host {host!r} is no address; use 127.0.0.1, ::1 or localhost, or the address of a network"
            " interface (0.0.0.0 for all), which needs --token-file or --issuer",
            host=host,
        ) from error
    if not found.is_loopback and not is_guarded:
        raise ConfigError(
            f"host {host!r} is not a loopback address, and whoever reaches the port could use every model: it"
            " needs --token-file FILE, or --issuer URL with --audience; or use 127.0.0.1, ::1 or localhost",
            host=host,
        )
    return str(found)


def unavailable(address: str, port: int, error: OSError) -> str:
    """Why a port cannot be had, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use on {address}; choose another with --port, or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} is for privileged programs only; choose one above 1023, or 0 for any free one"
    return f"cannot listen on {address}, port {port}: {error.strerror}"

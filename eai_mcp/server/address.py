"""Where HTTP listens: a loopback address and a port that are had at once, or a sentence that says why not."""

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eai_mcp.errors import ConfigError

BACKLOG = 512


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections from this machine.

    Raises:
        ConfigError: The host is not loopback, or the port cannot be had.
    """
    address = _loopback(host)
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} does not exist; choose one from 1 to 65535, or 0 for any free one")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        if sys.platform != "win32":
            # Connections of a former run that wind down would hold the port; on Windows it would be shared.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def _loopback(host: str) -> str:
    try:
        if host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback:
            return "127.0.0.1" if host == "localhost" else host.strip("[]")
    except ValueError:
        pass  # a name of some other machine, or of none
    raise ConfigError(
        f"host {host!r} is not a loopback address; whoever reaches the port may use every model, so another"
        " address needs authentication, which is not available yet; use 127.0.0.1, ::1 or localhost",
        host=host,
    )


def unavailable(address: str, port: int, error: OSError) -> str:
    """Why a port cannot be had, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use on {address}; choose another with --port, or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} is for privileged programs only; choose one above 1023, or 0 for any free one"
    return f"cannot listen on {address}, port {port}: {error.strerror}"

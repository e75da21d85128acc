"""What seals the states that go to a client and come back, so that only this server can open them.

The key lies beside the file with the sessions: an answer that comes after a restart, or to another process
which shares the file, is opened there. Where sessions are forgotten, the key is, too.
"""

import functools
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from mcp.server.request_state import AESGCMRequestStateCodec, RequestStateBoundary, RequestStateSecurity

from eai_mcp.server.principal import space_of
from eai_mcp.store import locks

KEY_BYTES = 32
KEPT_S = 3600.0
"""How long behind the limit an answer is still known for what it is, so that it can be told to be late."""

log = logging.getLogger("eai_mcp")


def key_file(store: Path | None) -> Path | None:
    """Where the key is that belongs to a file with sessions."""
    return store and store.with_name(f"{store.name}-key")


def boundary(limit_s: float, file: Path | None) -> RequestStateBoundary:
    """What seals and opens states that may come back within `limit_s` seconds, and for some time as late.

    A state is bound to the principal's space, and to the tool and the arguments that it was asked with.
    """
    security = RequestStateSecurity(codec=Seal(file), ttl=limit_s + KEPT_S, bind_principal=space_of)
    return RequestStateBoundary(security, default_audience="eai-mcp")


class Seal:
    """A codec with the key in `file`, which whoever needs it first makes; None is a key of this process.

    The file is read at the first use, for most servers never ask anybody.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def seal(self, payload: bytes) -> str:
        """See `RequestStateCodec`."""
        return self._codec.seal(payload)

    def unseal(self, token: str) -> bytes:
        """See `RequestStateCodec`."""
        return self._codec.unseal(token)

    @functools.cached_property
    def _codec(self) -> AESGCMRequestStateCodec:
        return AESGCMRequestStateCodec([self._key()])

    def _key(self) -> bytes:
        if self._file is not None:
            try:
                return _shared(self._file)
            except OSError as error:
                log.warning(
                    "the key for what people are asked cannot be kept: %s; answers that come after a restart,"
                    " or to another process, are refused",
                    error,
                )
        return secrets.token_bytes(KEY_BYTES)


def _shared(file: Path) -> bytes:
    """The key that all have who share the file.

    Raises:
        OSError: It can neither be read nor made, or is damaged.
    """
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(file)
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"{file} is damaged; remove it, and a new one is made")
    return key


def _make(file: Path) -> None:
    """Make the file with all its content at once, unless another process is faster."""
    fresh = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | locks.CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            file.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)

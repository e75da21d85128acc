"""The tokens in a file, one NAME=TOKEN a line, and whose each is.

The file is looked at again while it is in use: who is taken out of it is out within a second. What became of
it may be wrong, as while somebody is writing it; then the former tokens stay.
"""

import codecs
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from eai_mcp.errors import ConfigError
from eai_mcp.server.principal import Principal

SHORTEST, LONGEST = 16, 4096
LARGEST = 1024 * 1024
LONGEST_NAME = 64
LOOK_S = 1.0
# As a session's name, without the colon that the spaces of other principals have.
_NAME = re.compile(r"[A-Za-z0-9._@+-]+", re.ASCII)

Stamp: TypeAlias = tuple[int, ...]

log = logging.getLogger("eai_mcp")


class Tokens:
    """The principals of a file, by their tokens.

    Raises:
        ConfigError: It cannot be read, others can read it, or a line of it cannot work.
    """

    def __init__(self, file: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._now = now
        # Of another length than the tokens, and of no use to whoever gets to see one.
        self._key = secrets.token_bytes(32)
        self._stamp = _stamp(file)
        self._looked_at = now()
        self._principals = self._read()
        if not self._principals:
            raise ConfigError(f"the token file {file} has no line like NAME=TOKEN", field="token_file")

    def principal(self, token: str) -> Principal | None:
        """Whose token it is, found out in a time that tells nothing of the others."""
        said, found = self._digest(token), None
        for principal in self._principals:
            if hmac.compare_digest(principal.credential, said):
                found = principal
        return found

    def knows(self, principal: Principal) -> bool:
        """Whether the file still has the token by which a principal came in."""
        return not principal.credential or principal in self._principals

    def next_look_s(self) -> float:
        """Seconds until the file is worth another look."""
        return max(0.0, self._looked_at + LOOK_S - self._now())

    def look(self) -> bool:
        """Read the file again if it changed, at most once a second; whether other tokens count now."""
        if self.next_look_s() > 0:
            return False
        self._looked_at = self._now()
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return False
        self._stamp, before = stamp, self._principals
        try:
            self._principals = self._read()
        except ConfigError as error:
            log.warning("%s; the former tokens stay", error.message)
            return False
        log.info("the token file %s was read again: %d tokens", self._file, len(self._principals))
        return self._principals != before

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self._key).digest()

    def _read(self) -> tuple[Principal, ...]:
        found: dict[str, bytes] = {}
        for number, line in enumerate(_text(self._file).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, token = _parted(f"{self._file}: line {number}", line)
            digest = self._digest(token)
            if name in found:
                raise _wrong(f"{self._file}: line {number} has a name that a line above has; use each once")
            if digest in found.values():
                raise _wrong(f"{self._file}: line {number} has the token of a line above; give each its own")
            found[name] = digest
        return tuple(Principal(name, digest) for name, digest in found.items())


def _parted(where: str, line: str) -> tuple[str, str]:
    """Name and token of a line.

    Of a wrong line nothing is shown: what looks like a name may be a token, which can end with equals signs.
    """
    name, equals, token = line.partition("=")
    name, token = name.strip(), token.strip()
    if not equals or not name:
        raise _wrong(f"{where} should be like NAME=TOKEN")
    if not _NAME.fullmatch(name) or name in (".", "..") or len(name) > LONGEST_NAME:
        raise _wrong(f"{where} should begin with a name of 1 to {LONGEST_NAME} letters, digits and . _ @ + -")
    if not SHORTEST <= len(token) <= LONGEST or not token.isascii() or not token.isprintable():
        raise _wrong(f"{where} should have a token of {SHORTEST} to {LONGEST} printable ASCII characters")
    return name, token


def _text(file: Path) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe would wait for whoever writes into it
            raise _wrong(f"the token file {file} is no file")
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _wrong(f"the token file {file} can be read by others; chmod 600 it")
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise _wrong(f"cannot read the token file {file}: {error.strerror}") from error
    if len(content) > LARGEST:
        raise _wrong(f"the token file {file} has more than {LARGEST} bytes")
    # What is no ASCII is refused by its line, and so without being shown.
    return content.removeprefix(codecs.BOM_UTF8).decode("latin-1")


def _stamp(file: Path) -> Stamp:
    """What differs once the file was written, put in another's place, opened to others, or taken away."""
    try:
        found = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


def _wrong(sentence: str) -> ConfigError:
    return ConfigError(sentence, field="token_file")

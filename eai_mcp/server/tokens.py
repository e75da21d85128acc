"""The tokens in a file, one NAME=TOKEN a line, and whose each is.

The file is looked at again while it is in use: who is taken out of it is out within a second. Somebody
may be writing it just then, so what looks unfinished counts once it was the same in two looks: a last line
without an end, no line with a token, or no file. No file, and one of comments alone, let nobody in. An empty
or wrong one may be an accident: the former tokens stay, and that is said again and again.
"""

import codecs
import errno
import hashlib
import hmac
import logging
import math
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
REMIND_S = 60.0
"""Between two complaints of a file that stays as it is."""
GONE = (errno.ENOENT,)
"""The stamp of a file that is not there."""
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
        self._stamp = self._seen = _stamp(file)
        self._looked_at = now()
        self._complaint = ""
        self._complained_at = 0.0
        self._principals = self._read(_text(file))
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
        stamp, before = _stamp(self._file), self._principals
        is_settled, self._seen = stamp == self._seen, stamp
        if stamp != self._stamp:
            self._take(stamp, is_settled=is_settled)
        if self._complaint and self._now() >= self._complained_at + REMIND_S:
            self._complained_at = self._now()
            log.warning("%s", self._complaint)
        return self._principals != before

    def _take(self, stamp: Stamp, *, is_settled: bool) -> None:
        """Have the file count as it is now, unless somebody may be writing it."""
        try:
            text = "" if stamp == GONE else _text(self._file)
            if not is_settled and (not _is_finished(text) or not self._read(text)):
                return
            if stamp != GONE and not text.strip():
                raise _wrong(f"the token file {self._file} is empty, not even a comment is in it")
            self._principals = self._read(text)
        except ConfigError as error:
            self._complaint, self._complained_at = f"{error.message}; the former tokens stay", -math.inf
        else:
            self._complaint = ""
            log.info("the token file %s was read again: %d tokens", self._file, len(self._principals))
            if not self._principals:
                log.warning("the token file %s has no token any more: nobody is let in by it", self._file)
        self._stamp = stamp

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self._key).digest()

    def _read(self, text: str) -> tuple[Principal, ...]:
        found: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
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
    is_plain = token.isascii() and token.isprintable() and not set(token) & set(" \"'")
    if not SHORTEST <= len(token) <= LONGEST or not is_plain:
        raise _wrong(
            f"{where} should have a token of {SHORTEST} to {LONGEST} printable ASCII characters, no space or"
            " quote among them, and nothing behind it"
        )
    return name, token


def _is_finished(text: str) -> bool:
    return text.endswith(("\n", "\r"))


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

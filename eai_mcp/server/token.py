"""The token that callers over HTTP have to say, and who is turned away without it."""

import codecs
import hmac
import stat
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from eai_mcp.errors import ConfigError

SHORTEST = 16
LONGEST = 4096
OPEN = ("/healthz",)


class Token:
    """The token that stands in a file: its first line.

    Raises:
        ConfigError: The file cannot be read, others can read it, or the token is too short to be one.
    """

    def __init__(self, file: Path) -> None:
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):  # opening a pipe would wait for whoever writes into it
                raise ConfigError(f"the token file {file} is no file", field="token_file")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"the token file {file} can be read by others; chmod 600 it", field="token_file"
                )
            with file.open("rb") as opened:
                content = opened.read(LONGEST + 1)
        except OSError as error:
            raise ConfigError(
                f"cannot read the token file {file}: {error.strerror}", field="token_file"
            ) from error
        lines = content.removeprefix(codecs.BOM_UTF8).splitlines()
        self._token = lines[0].strip() if lines else b""
        if not SHORTEST <= len(self._token) <= LONGEST:
            raise ConfigError(
                f"the token in {file} must have {SHORTEST} to {LONGEST} characters", field="token_file"
            )

    def is_in(self, authorization: str) -> bool:
        """Whether a header says it, found out in a time that tells nothing of it."""
        scheme, _, said = authorization.partition(" ")
        is_right = hmac.compare_digest(said.strip().encode("latin-1", "replace"), self._token)
        return is_right and scheme.casefold() == "bearer"


class Guarded:
    """An app for those who say the token."""

    def __init__(self, app: ASGIApp, token: Token) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            said = Headers(scope=scope).get("authorization", "")
            if not self._token.is_in(said):
                told = {"error": "unauthorized", "message": "say Authorization: Bearer TOKEN"}
                answer = JSONResponse(told, 401, headers={"WWW-Authenticate": "Bearer"})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

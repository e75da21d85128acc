"""The one HTTP client of all adapters, and what each must know to use it."""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType

import httpx2

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import AuthFailed, ConfigError, MissingKey

CONNECT_S = 10.0
READ_S = 300.0
"""Between two bytes: a reasoning model may think for minutes before it says the first word."""

TIMEOUT = httpx2.Timeout(READ_S, connect=CONNECT_S, write=60.0, pool=60.0)
LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=200, keepalive_expiry=60.0)

_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")


def new_client() -> httpx2.AsyncClient:
    """A connection pool that honours the proxies and certificates of the environment.

    It keeps no cookies, so that one call says nothing about another, and asks no proxy for this machine. A
    proxy that cannot be used is an error of the calls that need it.
    """
    here: dict[str, httpx2.AsyncBaseTransport | None] = dict.fromkeys(_LOOPBACK)
    try:
        return _client(here, trust_env=True)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        return _client({**here, "all://": _NoProxy(error)}, trust_env=False)


def _client(mounts: Mapping[str, httpx2.AsyncBaseTransport | None], *, trust_env: bool) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=TIMEOUT,
        limits=LIMITS,
        headers={"User-Agent": "eai-mcp"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        mounts=mounts,
        trust_env=trust_env,
    )


class _NoProxy(httpx2.AsyncBaseTransport):
    """Stands where a proxy should, and says why there is none."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Not the error's own words: a proxy's URL may hold a password.
        hint = "; pip install socksio for a SOCKS proxy" if isinstance(self._error, ImportError) else ""
        raise ConfigError(
            f"the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used{hint}; "
            "it should be like http://host:port"
        ) from self._error


def address(model: Model, base_url: str, path: str) -> httpx2.URL:
    """`path` under the base URL, whose own query is kept.

    Raises:
        ConfigError: The base URL is not one.
    """
    try:
        base = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise _no_address(model) from error
    if base.scheme not in ("http", "https") or not base.host:
        raise _no_address(model)
    start = base.raw_path.partition(b"?")[0].rstrip(b"/").removesuffix(f"/{path}".encode())
    query = b"?" + base.query if base.query else b""
    return base.copy_with(raw_path=start + f"/{path}".encode() + query)


def place(url: httpx2.URL) -> str:
    """Host and port for a person to read, without the credentials that a URL may hold."""
    return f"{url.host}:{url.port}" if url.port else url.host


def key_from(environ: Mapping[str, str], model: Model) -> Callable[[], str | None]:
    """Looks up the model's API key when it is needed; None for a model that needs none.

    Raises:
        MissingKey: The variable is not set, or empty.
    """

    def key() -> str | None:
        if model.api_key_env is None:
            return None
        value = environ.get(model.api_key_env, "").strip()
        if not value:
            raise MissingKey(
                f"model {model.name!r} needs an API key: set the environment variable {model.api_key_env}",
                model=model.name,
                variable=model.api_key_env,
            )
        return value

    return key


def headers(
    model: Model,
    key: str | None,
    *,
    key_header: str = "Authorization",
    more: Mapping[str, str] = MappingProxyType({}),
) -> httpx2.Headers:
    """What an event stream is asked for with; `more` wins over it, and the model's own headers over both.

    Raises:
        AuthFailed: The key has characters that a header cannot carry.
        ConfigError: One of the model's headers has.
    """
    # A compressed stream tends to be held back until a block of it is full.
    sent = httpx2.Headers({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
    sent["Content-Type"] = "application/json"
    if key is not None:
        if not _is_sendable(key):
            raise AuthFailed(
                f"the key of model {model.name!r} has characters that a header cannot carry; "
                f"check {model.api_key_env or 'where it comes from'}",
                model=model.name,
            )
        sent[key_header] = f"Bearer {key}" if key_header.lower() == "authorization" else key
    sent.update(more)
    for name, value in model.headers.items():
        # The HTTP library would quote the value in its own error.
        if not _is_sendable(value) or not _is_sendable(name) or not name.strip():
            raise ConfigError(
                f"model {model.name!r}: headers.{name!r} has characters that a header cannot carry"
            )
        sent[name] = value
    return sent


def secrets_in(headers: Mapping[str, str]) -> Iterator[str]:
    """What must not be shown: each value, its words, as in "Bearer KEY", and what a Basic one encodes."""
    for value in headers.values():
        words = value.split()
        yield from (value, *words)
        if words[0:1] and words[0].lower() == "basic":
            with contextlib.suppress(ValueError):
                login = base64.b64decode(words[-1]).decode()
                yield from (login, *login.split(":", 1))


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _no_address(model: Model) -> ConfigError:
    return ConfigError(f"model {model.name!r}: base_url should be like https://host/v1")

"""Who asks Bedrock: an API key, or AWS credentials that sign each request.

botocore finds the credentials and signs with them. It is an extra, and it blocks: on files, on other
programs, on the network. So it is imported at the first signature, and runs in a thread.
"""

import importlib
import importlib.metadata
import importlib.util
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio
import httpx2
from anyio import to_thread

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import AuthFailed, CallError, CallTimeout, ConfigError, MissingKey, Unavailable
from eai_mcp.providers import Parts, http
from eai_mcp.providers.complaints import plain

TOKEN = "AWS_BEARER_TOKEN_BEDROCK"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
RUNTIME = "botocore"

CREDENTIALS_S = 60.0
"""How long credentials may take: a profile may run a program, or ask another service for a role."""


def key_from(environ: Mapping[str, str], model: Model) -> Callable[[], str | None]:
    """Looks up the API key when it is needed; None where the request is to be signed instead.

    Raises:
        MissingKey: The model's file names a variable that is not set, or empty.
    """
    if model.api_key_env is not None:
        return http.key_from(environ, model)
    return lambda: environ.get(TOKEN, "").strip() or None


def region_in(environ: Mapping[str, str]) -> str:
    """The region that the environment names, empty for none."""
    return next((value for value in (environ.get(name, "").strip() for name in REGIONS) if value), "")


def missing(
    model: Model, parts: Parts, *, find: Callable[[str], object] = importlib.util.find_spec
) -> str | None:
    """What somebody has to do before `model` can answer; AWS credentials are not looked for."""
    if not (model.base_url or model.quirks.get("region") or region_in(parts.environ)):
        return f"{REGIONS[0]} is not set"
    if model.api_key_env or parts.environ.get(TOKEN, "").strip() or find(RUNTIME) is not None:
        return None
    return f"set {TOKEN} to an API key of Bedrock; or, to sign with AWS credentials, {install(find=find)}"


def install(
    *,
    find: Callable[[str], object] = importlib.util.find_spec,
    which: Callable[[str], object] = shutil.which,
) -> str:
    """The command that installs the extra here, for a person to type."""
    needs = (line.partition(";")[0].strip() for line in importlib.metadata.requires("eai-mcp") or ())
    pin = next((need for need in needs if need.startswith(RUNTIME)), "eai-mcp[bedrock]")
    words = [sys.executable, "-m", "pip", "install", pin]
    if find("pip") is None and which("uv"):
        words = ["uv", "pip", "install", "--python", sys.executable, pin]
    return f"run `{subprocess.list2cmdline(words) if sys.platform == 'win32' else shlex.join(words)}`"


class Frozen(Protocol):
    """Credentials as they are now."""

    access_key: str
    secret_key: str
    token: str | None


class Found(Protocol):
    """Credentials, some of which renew themselves."""

    def get_frozen_credentials(self) -> Frozen: ...


class Signer:
    """Signs requests with SigV4; one that has an Authorization already is left as it is.

    `region` gives the region to sign for. Only credentials that renew themselves are kept: others may have
    been replaced in their file meanwhile.

    Raises:
        MissingKey: There are no credentials.
        AuthFailed: There are some, but they cannot be had.
        CallTimeout: They did not come within `patience_s`.
        ConfigError: The extra is not installed.
    """

    def __init__(
        self,
        model: Model,
        environ: Mapping[str, str],
        region: Callable[[], str],
        *,
        find: Callable[[str], object] = importlib.util.find_spec,
        patience_s: float = CREDENTIALS_S,
    ) -> None:
        self._model = model
        self._environ = environ
        self._region = region
        self._find = find
        self._patience_s = patience_s
        self._kept: Found | None = None
        self._lock = threading.Lock()

    async def __call__(self, url: httpx2.URL, headers: httpx2.Headers, body: bytes) -> httpx2.Headers:
        if "authorization" in headers:
            return headers
        if self._find(RUNTIME) is None:
            raise ConfigError(
                f"model {self._model.name!r} has no API key: set {TOKEN}; or, to sign with AWS credentials, "
                f"{install()}"
            )
        region = self._region()

        def signed() -> httpx2.Headers:
            return _signed(url, headers, body, self._credentials(region), region)

        with anyio.move_on_after(self._patience_s):
            # A thread cannot be stopped, so a call that is cancelled does not wait for it.
            return await to_thread.run_sync(signed, abandon_on_cancel=True)
        raise CallTimeout(
            f"the AWS credentials for model {self._model.name!r} did not come within {self._patience_s:g} s",
            model=self._model.name,
        )

    def _credentials(self, region: str) -> Frozen:
        errors = importlib.import_module("botocore.exceptions")
        try:
            with self._lock:
                found = self._kept or _look_up(self._environ, region)
                self._kept = found if hasattr(found, "refresh_needed") else None
            if found is not None:
                return found.get_frozen_credentials()
        except errors.HTTPClientError as error:
            raise self._failed(Unavailable, error) from error
        except (errors.BotoCoreError, errors.ClientError, OSError) as error:
            raise self._failed(AuthFailed, error) from error
        raise MissingKey(
            f"model {self._model.name!r} needs an API key or AWS credentials: set {TOKEN}, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile with credentials",
            model=self._model.name,
            variable=TOKEN,
        )

    def _failed(self, kind: type[CallError], error: Exception) -> CallError:
        return kind(
            f"model {self._model.name!r}: the AWS credentials cannot be had: {plain(str(error))}",
            model=self._model.name,
        )


def _look_up(environ: Mapping[str, str], region: str) -> Found | None:
    """The first credentials of botocore's chain, told of the environment as far as it can be."""
    from_environ = importlib.import_module("botocore.credentials").EnvProvider(environ=dict(environ))
    found: Found | None = from_environ.load()
    if found is not None:
        return found
    session = importlib.import_module("botocore.session").Session(profile=environ.get("AWS_PROFILE") or None)
    said = {
        "config_file": environ.get("AWS_CONFIG_FILE"),
        "credentials_file": environ.get("AWS_SHARED_CREDENTIALS_FILE"),
        "region": region,
    }
    for name, value in said.items():
        if value:
            session.set_config_variable(name, value)
    chain = session.get_component("credential_provider")
    chain.remove("env")
    if environ.get("AWS_EC2_METADATA_DISABLED", "").strip().lower() == "true":
        chain.remove("iam-role")
    loaded: Found | None = chain.load_credentials()
    return loaded


def _signed(
    url: httpx2.URL, headers: httpx2.Headers, body: bytes, credentials: Frozen, region: str
) -> httpx2.Headers:
    """The headers with a signature over those that no proxy on the way would change."""
    covered = {name: value for name, value in headers.items() if name.startswith(("content-type", "x-amz-"))}
    request: Any = importlib.import_module("botocore.awsrequest").AWSRequest(
        "POST", str(url), data=body, headers=covered
    )
    importlib.import_module("botocore.auth").SigV4Auth(credentials, "bedrock", region).add_auth(request)
    signed = headers.copy()
    signed.update(dict(request.headers))
    return signed

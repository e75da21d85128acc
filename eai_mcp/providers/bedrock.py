"""AWS Bedrock's ConverseStream: one request format for the models of many makers.

bedrock_request   what is sent;     bedrock_messages, the history in it
bedrock_stream    what comes back;  bedrock_blocks, the blocks in it;  bedrock_frames, the bytes under it
bedrock_auth      who asks
bedrock_quirks    how models differ
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

import httpx2

from eai_mcp.calls import Call, ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.providers import Parts, bedrock_auth, http
from eai_mcp.providers.asking import Asked
from eai_mcp.providers.bedrock_frames import FrameDecoder
from eai_mcp.providers.bedrock_quirks import quirks_of
from eai_mcp.providers.bedrock_request import asked
from eai_mcp.providers.bedrock_stream import Reply
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.http_call import HttpCall

# Also the names of private and of FIPS endpoints have it behind the service.
_REGION_IN_HOST = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


def build(model: Model, parts: Parts) -> Call:
    """The call for a model of the catalog; who asks and where is looked up when it is made.

    Raises:
        ConfigError: The base URL or a quirk of the model cannot work.
    """
    form = Bedrock(model, parts.environ)
    has_token = bool(parts.environ.get(bedrock_auth.TOKEN, "").strip())
    # Only errors name it: what somebody should check when it is refused.
    shown = model.api_key_env or (bedrock_auth.TOKEN if has_token else "the AWS credentials")
    return HttpCall(
        model=replace(model, api_key_env=shown),
        client=parts.client,
        key=bedrock_auth.key_from(parts.environ, model),
        form=form,
        sign=bedrock_auth.Signer(model, parts.environ, lambda: form.region),
    )


class Bedrock:
    """The wire format, for one model.

    `url` and `region` raise ConfigError where nothing says in which region the model is.
    """

    key_header = "Authorization"

    def __init__(self, model: Model, environ: Mapping[str, str]) -> None:
        self._model = model
        self._environ = environ
        self._quirks = quirks_of(model)
        self._path = f"model/{quote(model.model, safe='')}/converse-stream"
        self._given = http.address(model, model.base_url, self._path) if model.base_url else None

    @property
    def url(self) -> httpx2.URL:
        if self._given is not None:
            return self._given
        return http.address(self._model, f"https://bedrock-runtime.{self.region}.amazonaws.com", self._path)

    @property
    def region(self) -> str:
        """The one in base_url, else in the quirks, else in the environment."""
        named = _REGION_IN_HOST.search(self._given.host) if self._given is not None else None
        region = named[1] if named else self._quirks.region or bedrock_auth.region_in(self._environ)
        # It becomes a part of the host that a key is sent to.
        if not re.fullmatch(r"[a-z0-9-]+", region):
            problem = f"{region!r} is no AWS region" if region else "no AWS region is named"
            raise ConfigError(
                f"model {self._model.name!r}: {problem}; set AWS_REGION, or region under [quirks] in the "
                "model's file, to a name like us-east-1"
            )
        return region

    def asked(self, request: ModelRequest, *, refused: frozenset[str]) -> Asked:
        """The request's JSON."""
        return asked(request, self._model, self._quirks, refused=refused)

    def reply(self, endpoint: Endpoint) -> Reply:
        """An answer without anything in it yet."""
        return Reply(endpoint, reasoning_back=self._quirks.reasoning_back)

    def decoder(self) -> FrameDecoder:
        """AWS event-stream messages."""
        return FrameDecoder()

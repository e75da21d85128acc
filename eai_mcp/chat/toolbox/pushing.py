"""What the chat model pushes for the caller: text, a file of the work directory, or an address."""

import mimetypes
import secrets
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat import pushed
from eai_mcp.chat.toolbox import work
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.chat.toolbox.work import Work
from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import JsonObject

SCHEME = "eai-push:///"


class PushArguments(Arguments):
    """For `push_resource`."""

    uri: str | None = Field(None, description="where it is, or what to call it")
    kind: Annotated[str, Field(min_length=1, max_length=100)] = "file"
    text: str | None = None
    file_path: str | None = Field(None, description="in the terminal's work directory")
    mime_type: Annotated[str, Field(max_length=200)] | None = None


def tools(directory: Work | None) -> tuple[Tool[Any], ...]:
    """The one; `directory` None where there are no terminals."""

    async def push(given: PushArguments, use: Use) -> Told:
        resource = await _resource(given, use, directory)
        await use.run.emit(resource)
        told: JsonObject = {"pushed": resource.uri, "kind": resource.kind}
        if resource.mime_type:
            told["mime_type"] = resource.mime_type
        if resource.payload is not None:
            told["size_bytes"] = pushed.size(resource)
        return told

    return (
        Tool(
            name="push_resource",
            description=(
                "Hand something to whoever talks with you, beside your words: text, a file of the terminal"
                " (file_path), or an address (uri alone). The same uri again takes the earlier one's place."
            ),
            arguments=PushArguments,
            run=push,
        ),
    )


async def _resource(given: PushArguments, use: Use, directory: Work | None) -> ResourcePushed:
    if given.text is not None and given.file_path is not None:
        raise InvalidArgument("give text or file_path, not both", field="file_path")
    name, payload = "", None
    if given.file_path is not None:
        name = PurePosixPath(given.file_path).name
        payload = _payload(await work.read(directory, use, given.file_path, lambda _: pushed.MOST_BYTES))
    elif given.text is not None:
        payload = given.text
    elif given.uri is None:
        raise InvalidArgument("give text, file_path or uri", field="text")
    return ResourcePushed(
        kind=given.kind,
        uri=given.uri or SCHEME + (quote(name, safe="") or secrets.token_hex(6)),
        payload=payload,
        mime_type=given.mime_type or _mime_type(name, payload),
    )


def _payload(data: bytes) -> str | bytes:
    """Text if it is any."""
    try:
        return data if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return data


def _mime_type(name: str, payload: str | bytes | None) -> str | None:
    guessed = mimetypes.guess_type(name)[0]
    return guessed or ("text/plain" if isinstance(payload, str) else None)

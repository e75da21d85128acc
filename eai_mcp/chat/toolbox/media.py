"""Pictures and PDFs of the terminal's work directory: the model sees them, or asks another one about them."""

import base64
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any

import anyio
from pydantic import Field

from eai_mcp import messages
from eai_mcp.calls import Call, ModelRequest, unheard
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Model
from eai_mcp.chat.toolbox import pictures, work
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.chat.toolbox.work import Work
from eai_mcp.errors import CallTimeout, InvalidArgument, LimitExceeded
from eai_mcp.messages import DocumentBlock, ImageBlock, JsonObject, TextBlock, user
from eai_mcp.middleware import ToolOutcome

MIB = 1024 * 1024
MOST_OF_PICTURE, MOST_OF_PDF = 5 * MIB, 10 * MIB
LONGEST_SIDE = 8000
ASK_LIMIT_S = 120.0
GRACE_S = 1.0
SHOWN = 8


class MediaArguments(Arguments):
    """For `read_media_file`."""

    file_path: str = Field(description="in the terminal's work directory")
    question: str | None = Field(None, description="ask a model that sees, and get its answer in words")
    model: Annotated[str, Field(max_length=128)] | None = Field(None, description="which model to ask")


def tools(
    directory: Work | None,
    *,
    catalog: Catalog,
    call_for: Callable[[Model], Call],
    ask_s: float = ASK_LIMIT_S,
) -> tuple[Tool[Any], ...]:
    """The one. `call_for` reaches a model that is asked about a picture, and may take `ask_s` seconds."""
    media = _Media(directory, catalog, call_for, ask_s)
    return (
        Tool(
            name="read_media_file",
            description=(
                "Look at a picture (PNG, JPEG, GIF, WebP) or a PDF. It costs tokens in every later step, so"
                " make large ones smaller first, or ask a question about it instead."
            ),
            arguments=MediaArguments,
            run=media.read,
        ),
    )


class _Media:
    def __init__(
        self, directory: Work | None, catalog: Catalog, call_for: Callable[[Model], Call], ask_s: float
    ) -> None:
        self._directory = directory
        self._catalog = catalog
        self._call_for = call_for
        self._ask_s = ask_s

    async def read(self, given: MediaArguments, use: Use) -> Told:
        model = self._seeing(given, use)
        data = await work.read(self._directory, use, given.file_path, _most)
        name = PurePosixPath(given.file_path).name
        kind = pictures.kind(data)
        if kind is None:
            raise _unknown()
        about = f"{name}: {kind}, {len(data):,} bytes"
        encoded = base64.b64encode(data).decode()
        if kind == pictures.PDF:
            seen: ImageBlock | DocumentBlock = DocumentBlock(kind, encoded, name)
        else:
            self._check_sees(model)
            about += f", {_pixels(name, data)} pixels"
            seen = ImageBlock(kind, encoded)
        if given.question is None or model is None:
            return ToolOutcome((TextBlock(about), seen))
        return {"file": about, **await self._asked(model, seen, given.question, use)}

    def _seeing(self, given: MediaArguments, use: Use) -> Model | None:
        """The model that will look."""
        if given.model is None:
            return use.kit.model
        if given.question is None:
            raise InvalidArgument("model is for a question: say what it should be asked", field="question")
        return self._catalog.model(given.model)

    def _check_sees(self, model: Model | None) -> None:
        if model is not None and not model.vision:
            others = [one.name for one in self._catalog.models() if one.vision][:SHOWN]
            raise InvalidArgument(
                f"model {model.name!r} sees no pictures; ask one that does, with question and model:"
                f" {', '.join(others) or 'here is none'}",
                field="model",
            )

    async def _asked(
        self, model: Model, seen: ImageBlock | DocumentBlock, question: str, use: Use
    ) -> JsonObject:
        deadline = anyio.current_time() + self._ask_s
        request = ModelRequest(
            messages=(user((seen, TextBlock(question))),),
            deadline=deadline,
            session=use.claim.name,
            turn_id=use.claim.turn_id,
        )
        with anyio.CancelScope(deadline=deadline + GRACE_S):  # a call that keeps its own says what it has
            response = await self._call_for(model)(request, unheard)
            use.kit.begun.spend(response.usage)
            return {
                "answer": response.message.text,
                "model": response.served_by,
                "usage": messages.told(response.usage),
            }
        raise CallTimeout(
            f"model {model.name!r} did not answer within {ASK_LIMIT_S:g} s", limit_s=ASK_LIMIT_S
        )


def _most(begin: bytes) -> int:
    kind = pictures.kind(begin)
    if kind is None:
        raise _unknown()
    return MOST_OF_PDF if kind == pictures.PDF else MOST_OF_PICTURE


def _unknown() -> InvalidArgument:
    return InvalidArgument(
        "that is no PNG, JPEG, GIF, WebP or PDF by its first bytes, whatever its name says; text can be read"
        " with a script",
        field="file_path",
    )


def _pixels(name: str, data: bytes) -> str:
    found = pictures.size(data)
    if found is None:
        raise InvalidArgument(f"{name!r} is damaged: it does not say how large it is", field="file_path")
    if max(found) > LONGEST_SIDE:
        raise LimitExceeded(
            f"{name!r} has {found[0]:,} x {found[1]:,} pixels; make it at most {LONGEST_SIDE:,} a side first",
            limit=LONGEST_SIDE,
            actual=max(found),
        )
    return f"{found[0]:,} x {found[1]:,}"

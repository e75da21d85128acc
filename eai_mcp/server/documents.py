"""Single resources: each is a JSON document at a URI of its own, as `eai://models` is the list of models."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types as types


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A resource and what it tells in a space; `ttl_ms` is for how long a client need not ask again."""

    resource: types.Resource
    told: Callable[[str], Awaitable[Mapping[str, Any]]]
    ttl_ms: int = 0


def described(uri: str, title: str, description: str, **fields: Any) -> types.Resource:
    """The resource of a document; its name is the last part of its URI."""
    return types.Resource(
        uri=uri,
        name=uri.rpartition("/")[2],
        title=title,
        description=description,
        mime_type="application/json",
        **fields,
    )


class Documents:
    """Lists and reads them."""

    name = "all"
    templates: Sequence[types.ResourceTemplate] = ()

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = {document.resource.uri: document for document in documents}

    def has_place(self, uri: str) -> bool:
        """Whether it is one of these."""
        return uri in self._documents

    async def after(self, space: str, name: str, limit: int) -> Sequence[types.Resource]:
        """As many by name."""
        behind = [one.resource for one in self._documents.values() if one.resource.name > name]
        return sorted(behind, key=lambda resource: resource.name)[:limit]

    async def read(self, space: str, uri: str) -> types.ReadResourceResult | None:
        """The one at that very URI."""
        document = self._documents.get(uri)
        if document is None:
            return None
        text = json.dumps(await document.told(space), ensure_ascii=False)
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
        return types.ReadResourceResult(contents=[contents], ttl_ms=document.ttl_ms)

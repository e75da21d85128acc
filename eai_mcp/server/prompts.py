"""What a person can choose from a menu of prompts: answered from several sources, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.errors import EaiError
from eai_mcp.observe import internal
from eai_mcp.server.principal import space_of
from eai_mcp.server.resources import refused

PAGE = 100


class Source(Protocol):
    """Prompts of one kind; no two of all sources may have the same name."""

    def prompts(self) -> Sequence[types.Prompt]:
        """Every one of them, in any order."""
        ...

    async def get(self, space: str, name: str, given: Mapping[str, str]) -> types.GetPromptResult | None:
        """One with its arguments filled in, None if it is none of ours.

        Raises:
            EaiError: It would be ours, but cannot be had, or an argument cannot be used.
        """
        ...


class Prompts:
    """Answers `prompts/list` and `prompts/get`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """A hundred of them by name, from the first behind the cursor."""
        cursor = (params and params.cursor) or ""
        prompts = sorted(
            (prompt for source in self._sources for prompt in source.prompts() if prompt.name > cursor),
            key=lambda prompt: prompt.name,
        )
        more = len(prompts) > PAGE
        return types.ListPromptsResult(
            prompts=prompts[:PAGE], next_cursor=prompts[PAGE - 1].name if more else None
        )

    async def on_get(
        self, context: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        """One of them.

        Raises:
            MCPError: There is none of that name, or an argument is missing, unknown or cannot be used.
        """
        try:
            for source in self._sources:
                found = await source.get(space_of(context), params.name, params.arguments or {})
                if found is not None:
                    return found
        except EaiError as error:
            raise refused(error) from error
        except Exception as error:
            raise refused(internal(error)) from error
        known = {"known": [prompt.name for source in self._sources for prompt in source.prompts()][:PAGE]}
        raise MCPError(types.INVALID_PARAMS, f"no prompt named {params.name[:80]!r}", known)

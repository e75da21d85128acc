"""What a person can choose from a menu of prompts: answered from several sources, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.errors import EaiError, InvalidArgument, UnknownName
from eai_mcp.observe import internal
from eai_mcp.server import cursors
from eai_mcp.server.principal import space_of
from eai_mcp.server.resources import refused

PAGE = 100
NAME = "prompts"
"""What they are called in a cursor: they are one source."""


class Source(Protocol):
    """Prompts of one kind; no two of all sources may have the same name."""

    def prompts(self) -> Sequence[types.Prompt]:
        """Every one of them, in any order."""
        ...

    async def get(self, space: str, name: str, given: Mapping[str, str]) -> types.GetPromptResult | None:
        """One with its arguments filled in, None if it is none of ours.

        `given` has nothing that the prompt does not take, and all that it requires.

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
        """A hundred of them by name, from the first behind the cursor.

        Raises:
            MCPError: The cursor is none of ours.
        """
        _, last = cursors.place(params, (NAME,))
        found = [prompt for prompt in self._all() if prompt.name > last]
        more = len(found) > PAGE
        return types.ListPromptsResult(
            prompts=found[:PAGE], next_cursor=cursors.made(NAME, found[PAGE - 1].name) if more else None
        )

    async def on_get(
        self, context: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        """One of them.

        Raises:
            MCPError: There is none of that name, or an argument is missing, unknown or cannot be used.
        """
        prompt, given = self.known(params.name), params.arguments or {}
        try:
            _check(prompt, given)
            for source in self._sources:
                found = await source.get(space_of(context), params.name, given)
                if found is not None:
                    return found
        except EaiError as error:
            raise refused(error) from error
        except Exception as error:
            raise refused(internal(error)) from error
        raise self._unknown(params.name)  # its file went away meanwhile

    def known(self, name: str) -> types.Prompt:
        """The prompt of that name, as it is listed.

        Raises:
            MCPError: There is none.
        """
        for prompt in self._all():
            if prompt.name == name:
                return prompt
        raise self._unknown(name)

    def _all(self) -> list[types.Prompt]:
        found = [prompt for source in self._sources for prompt in source.prompts()]
        return sorted(found, key=lambda prompt: prompt.name)

    def _unknown(self, name: str) -> MCPError:
        return refused(UnknownName("prompt", name[:80], known=[prompt.name for prompt in self._all()]))


def _check(prompt: types.Prompt, given: Mapping[str, str]) -> None:
    """See that the arguments are those that a prompt takes."""
    taken = {argument.name: bool(argument.required) for argument in prompt.arguments or ()}
    told = f"prompt {prompt.name} takes {', '.join(taken) or 'no arguments'}"
    for name in given:
        if name not in taken:
            raise InvalidArgument(f"{told}, not {name[:80]!r}", field=name[:80])
    for name, is_required in taken.items():
        if is_required and name not in given:
            raise InvalidArgument(f"{told}; {name} is missing", field=name)

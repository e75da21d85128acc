"""Names that a client may offer while somebody types an argument of a prompt or of a resource's address."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext

from eai_mcp.errors import EaiError
from eai_mcp.server.principal import space_of

MOST = 100
"""Values in one answer, which is the protocol's own limit."""

Names: TypeAlias = Callable[[str, str, Mapping[str, str]], Awaitable[Sequence[str]]]
"""What may be said in a space, given what was typed so far and the arguments that stand already."""


class Completions:
    """Answers `completion/complete`.

    `of_prompts` is by the name of the argument, whatever the prompt; `of_resources` by template and argument.
    """

    def __init__(
        self, *, of_prompts: Mapping[str, Names], of_resources: Mapping[tuple[str, str], Names]
    ) -> None:
        self._of_prompts = of_prompts
        self._of_resources = of_resources

    async def on_complete(
        self, context: ServerRequestContext[Any, Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """The values that begin like what was typed, in any case, before those that only hold it."""
        typed, argument = params.argument.value, params.argument.name
        if isinstance(params.ref, types.PromptReference):
            names = self._of_prompts.get(argument)
        else:
            names = self._of_resources.get((str(params.ref.uri), argument))
        found: Sequence[str] = ()
        if names is not None:
            stands = (params.context and params.context.arguments) or {}
            try:
                found = _fitting(typed, await names(space_of(context), typed, stands))
            except EaiError:
                found = ()  # what cannot be known now is not offered
        return types.CompleteResult(
            completion=types.Completion(
                values=list(found[:MOST]), total=len(found), has_more=len(found) > MOST
            )
        )


def _fitting(typed: str, names: Sequence[str]) -> list[str]:
    wanted = typed.casefold()
    first = [name for name in names if name.casefold().startswith(wanted)]
    return [*first, *(name for name in names if name not in first and wanted in name.casefold())]

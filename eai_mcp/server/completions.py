"""Names that a client may offer while somebody types an argument of a prompt or of a resource's address."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.errors import EaiError
from eai_mcp.observe import internal
from eai_mcp.server.principal import space_of
from eai_mcp.server.prompts import Prompts
from eai_mcp.server.resources import refused

MOST = 100
"""Values in one answer, which is the protocol's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What was typed of an argument so far, and of which prompt or template it is one.

    `stands` are the arguments of it that somebody chose already.
    """

    space: str
    reference: str
    text: str
    stands: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be said; `more` says that there are others, which nobody counted."""

    names: Sequence[str] = ()
    more: bool = False


Names: TypeAlias = Callable[[Typed], Awaitable[Offer]]


class Completions:
    """Answers `completion/complete`.

    `of_prompts` is by the name of the argument, whatever the prompt: others have nothing to offer.
    `of_resources` is by template and argument.
    """

    def __init__(
        self,
        prompts: Prompts,
        *,
        of_prompts: Mapping[str, Names],
        of_resources: Mapping[tuple[str, str], Names],
    ) -> None:
        self._prompts = prompts
        self._of_prompts = of_prompts
        self._of_resources = of_resources

    async def on_complete(
        self, context: ServerRequestContext[Any, Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """The values that begin like what was typed, in any case, before those that only hold it.

        Raises:
            MCPError: There is no such prompt or template, or it has no such argument.
        """
        is_prompt = isinstance(params.ref, types.PromptReference)
        reference = params.ref.name if isinstance(params.ref, types.PromptReference) else str(params.ref.uri)
        argument, text = params.argument.name, params.argument.value
        if argument not in (known := self._arguments(reference, is_prompt=is_prompt)):
            taken = f"{reference[:80]!r} has the arguments {', '.join(known) or 'none'}"
            raise MCPError(types.INVALID_PARAMS, f"{taken}, not {argument[:80]!r}", {"known": list(known)})
        names = self._of_prompts.get(argument) if is_prompt else self._of_resources.get((reference, argument))
        stands = (params.context and params.context.arguments) or {}
        typed = Typed(space=space_of(context), reference=reference, text=text, stands=stands)
        offer = Offer() if names is None else await _offered(names, typed)
        found = _fitting(text, offer.names)
        return types.CompleteResult(
            completion=types.Completion(
                values=found[:MOST],
                total=None if offer.more else len(found),
                has_more=offer.more or len(found) > MOST,
            )
        )

    def _arguments(self, reference: str, *, is_prompt: bool) -> Sequence[str]:
        """The names of a reference's arguments."""
        if is_prompt:
            return [argument.name for argument in self._prompts.known(reference).arguments or ()]
        known = list(dict.fromkeys(template for template, _ in self._of_resources))
        if reference not in known:
            raise MCPError(types.INVALID_PARAMS, f"no resource template {reference[:200]}", {"known": known})
        return [argument for template, argument in self._of_resources if template == reference]


async def _offered(names: Names, typed: Typed) -> Offer:
    try:
        return await names(typed)
    except EaiError:
        return Offer()  # what cannot be known now is not offered
    except Exception as error:
        raise refused(internal(error)) from error


def _fitting(typed: str, names: Sequence[str]) -> list[str]:
    wanted = typed.casefold()
    first = [name for name in names if name.casefold().startswith(wanted)]
    holding = [name for name in names if wanted in name.casefold()]
    return [*dict.fromkeys((*first, *holding))]

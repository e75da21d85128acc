"""All tools of the chat model by name: who may use which, and how a use of one goes.

A turn may use what the operator allows and its card names. Where no card names tools, it has those that the
operator chose. Whatever goes wrong with a tool is a result that the model reads, so it can do better.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eai_mcp.calls import ToolSpec
from eai_mcp.catalog.entries import Card
from eai_mcp.chat import questions
from eai_mcp.chat.toolbox import approval
from eai_mcp.chat.toolbox.approval import Approval
from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.chat.toolbox.use import Use, failure, outcome
from eai_mcp.errors import ConfigError, EaiError, InvalidArgument
from eai_mcp.middleware import ToolDone, ToolOutcome
from eai_mcp.observe import internal

if TYPE_CHECKING:
    from eai_mcp.chat.toolbox.tool import Tool

SCRIPT, TYPING = "execute_script", "write_to_session"


class Toolbox:
    """The tools. `allowed` are those that any turn may use (None: all), `usual` those of one without a card.

    `approvals` say which need to be allowed by a person, by name; others always run. `stock` makes tools when
    the first turn may use any, which in many servers none does.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[str] | None = None,
        usual: Sequence[str] = (),
        approvals: Mapping[str, Approval] | None = None,
    ) -> None:
        self._allowed = allowed
        self._usual = usual
        self._approvals = approvals or {}
        self.stock: Callable[[], Iterable[Tool[Any]]] | None = None
        self._made: dict[str, Tool[Any]] = {}

    @property
    def _tools(self) -> "Mapping[str, Tool[Any]]":
        if self.stock is not None:
            stock, self.stock = self.stock, None
            self.add(*stock())
        return self._made

    def add(self, *tools: "Tool[Any]") -> None:
        """Put tools in; models are told of them in this order.

        Raises:
            ConfigError: There is one of that name.
        """
        for tool in tools:
            if tool.name in (*self._made, questions.NAME):
                raise ConfigError(f"there are two tools named {tool.name!r}")
            self._made[tool.name] = tool

    def check(self) -> None:
        """See that what the operator named is there.

        Raises:
            ConfigError: There is no such tool.
        """
        if not (self._allowed or self._usual or self._approvals):
            return
        if questions.NAME in self._approvals:
            raise ConfigError(f"{questions.NAME} is a question itself; leave it out of --toolbox instead")
        known = (*self._tools, questions.NAME)
        for name in (*(self._allowed or ()), *self._usual, *self._approvals):
            if name not in known:
                raise ConfigError(f"there is no tool named {name!r}; there are: {', '.join(known)}")

    def has(self, name: str, kit: Kit) -> bool:
        """Whether a turn may use the tool of that name, and there is one besides asking."""
        return name in kit.names and name in self._tools

    def names(self, card: Card | None, bound: frozenset[str] | None = None) -> tuple[str, ...]:
        """The tools of a turn; with a `bound`, of those only."""
        wanted = self._usual if card is None or card.tools is None else card.tools
        if not wanted:
            return ()
        return tuple(
            name
            for name in (*self._tools, questions.NAME)
            if name in wanted
            and (self._allowed is None or name in self._allowed)
            and (bound is None or name in bound)
        )

    def may_ask(self, card: Card | None) -> bool:
        """Whether the model may ask, offered or not: unless its card or the operator allows others only."""
        of_card = card is None or card.tools is None or questions.NAME in card.tools
        return of_card and (self._allowed is None or questions.NAME in self._allowed)

    def specs(self, names: Sequence[str]) -> tuple[ToolSpec, ...]:
        """What a model is told of some tools."""
        return tuple(
            questions.ASK_USER if name == questions.NAME else self._tools[name].spec for name in names
        )

    def _approval(self, name: str) -> Approval:
        """What is typed into a shell is as good as a script; it needs the same."""
        of_scripts = self._approvals.get(SCRIPT, "always") if name == TYPING else "always"
        return self._approvals.get(name, of_scripts)

    async def run(self, use: Use) -> ToolDone:
        """What a use comes to; a mistake is an outcome, too."""
        name = use.run.name
        if not self.has(name, use.kit):
            return _unknown(use)
        tool = self._tools[name]
        try:
            given = tool.given(use.run.input)
        except InvalidArgument as error:
            return failure(error.message)
        shown = tool.shown(given, use) if tool.shown else approval.written(use.run.input)
        asked = approval.settled(self._approval(name), use.run, shown, by_person=use.kit.by_person)
        if asked is not None:
            return asked
        return await _ran(tool, given, use)


async def _ran(tool: "Tool[Any]", given: Any, use: Use) -> ToolOutcome:
    try:
        return outcome(await tool.run(given, use))
    except EaiError as error:
        return failure(f"{error.code}: {error.message}")
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a broken tool is no reason to end the turn
        bug = error if isinstance(error, Exception) else RuntimeError("the tool tried to end the process")
        return failure(f"{tool.name} failed: {internal(bug).message}")


def _unknown(use: Use) -> ToolOutcome:
    there = ", ".join(name for name in use.kit.names)
    more = f"; there are: {there}" if there else ""
    return failure(f"there is no tool named {use.run.name!r}{more}")


NO_TOOLS = Toolbox()

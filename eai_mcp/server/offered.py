"""Which tools are published: all of them, the core, or those that the operator names."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from eai_mcp.errors import ConfigError
from eai_mcp.server.registry import ToolSpec

ALL: Final = "all"
CORE: Final = "core"
OF_CORE: Final = (
    "talk",
    "wait_for_reply",
    "interrupt",
    "list_sessions",
    "export_chat_session_context",
    "replace_history",
)


def offered(tools: Sequence[ToolSpec[Any]], words: Iterable[str]) -> list[ToolSpec[Any]]:
    """The tools that the words name, among which may be `core` and `all`.

    Raises:
        ConfigError: One names no tool, or there are none.
    """
    known = [tool.name for tool in tools]
    sets = {ALL: known, CORE: OF_CORE}
    wanted: set[str] = set()
    for word in words:
        if word not in sets and word not in known:
            raise _unknown(f"no tool named {word!r} could be published", known)
        wanted.update(sets.get(word, (word,)))
    if not wanted:
        raise _unknown("no tool would be published", known)
    return [tool for tool in tools if tool.name in wanted]


def _unknown(what: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"--tools: {what}; name {ALL}, {CORE}, or some of {', '.join(sorted(known))}", field="tools"
    )

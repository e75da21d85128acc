"""Which reply of a script answers a history: nothing is remembered, so any process finds the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock
from eai_mcp.providers.scripted_script import Reply, Script, When, pattern

LONGEST_LOOK = 100_000
"""The characters of a message in which an expression is looked for."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the user: own words, None where there is nothing but results; and what `tools` said."""

    words: str | None
    results: str
    tools: tuple[str, ...]
    other: str = ""


def said(messages: Sequence[Message]) -> list[Said]:
    """Every message of the user, in order."""
    names: dict[str, str] = {}
    everything = []
    for message in messages:
        names |= {block.id: block.name for block in message.content if isinstance(block, ToolUseBlock)}
        if message.role == "user":
            everything.append(_said(message, names))
    return everything


def chosen(script: Script, messages: Sequence[Message]) -> Reply | None:
    """The reply to the last message of the user; None when the script has run out.

    The place in the order is the number of the user's messages that no rule answered.
    """
    rules = [(reply.when, reply) for reply in script.replies if reply.when is not None]
    asked = [message for message in messages if message.role == "user"]
    everything = said(messages if rules else asked[-1:]) or [Said("", "", ())]
    for when, reply in rules:
        if matches(when, everything[-1]):
            return reply
    place = max(len(asked) - 1, 0)
    if rules:
        place = sum(not any(matches(when, one) for when, _ in rules) for one in everything[:-1])
    ordered = script.ordered
    if place < len(ordered):
        return ordered[place]
    match script.then or ("error" if ordered else "echo"):
        case "echo":
            return Reply(text=echo(everything[-1]))
        case "last":
            return ordered[-1]
        case "again":
            return ordered[place % len(ordered)]
        case _:
            return None


def matches(when: When, one: Said) -> bool:
    """Whether all holds of this message."""
    if when.after_tool is not None and when.after_tool not in one.tools:
        return False
    text = one.words if when.after_tool is None else one.results
    if text is None:
        return False
    return (
        when.exact in (None, text)
        and (when.contains is None or when.contains in text)
        and (when.regex is None or pattern(when.regex).isinstance_python(text[:LONGEST_LOOK]))
    )


def echo(one: Said) -> str:
    """The user's words; without any, what the tools said; without that, what kind of blocks there were."""
    return one.words or one.results or one.other


def _said(message: Message, names: dict[str, str]) -> Said:
    results = [block for block in message.content if isinstance(block, ToolResultBlock)]
    texts = [block.text for result in results for block in result.content if isinstance(block, TextBlock)]
    rest = [block.type for block in message.content if not isinstance(block, TextBlock | ToolResultBlock)]
    is_spoken = len(results) < len(message.content) or not results
    return Said(
        words=message.text if is_spoken else None,
        results="\n\n".join(texts),
        tools=tuple(names.get(result.tool_use_id, "") for result in results),
        other=" ".join(f"[{kind}]" for kind in rest),
    )

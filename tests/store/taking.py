"""Turns in short, for the tests of stores."""

from collections.abc import Sequence
from dataclasses import replace

from eai_mcp.messages import (
    JsonObject,
    Line,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from eai_mcp.store import (
    LEASE_S,
    Claim,
    Entry,
    Known,
    Outcome,
    Question,
    SessionRow,
    Settlement,
    Start,
    Status,
    Store,
)


class Clock:
    """Seconds since 1970, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def scanned(store: Store, name: str = "work", *, revision: int | None = None) -> list[Line]:
    """A history as it is stored."""
    return await store.scan("", lambda found: [*next(found)[1]], name=name, revision=revision)


async def lapse(clock: Clock, looker: Store) -> None:
    """Let claims run out, and be seen so for as long again; only `looker` looks."""
    for _ in range(2):
        clock.now += LEASE_S + 0.1
        await looker.list("")


def start(turn_id: str, message: str | Message = "hi", **fields) -> Start:
    """What a turn begins with."""
    return Start(turn_id=turn_id, message=user(message) if isinstance(message, str) else message, **fields)


async def claim(
    store: Store,
    turn_id: str,
    message: str | Message = "hi",
    *,
    name: str = "work",
    space: str = "",
    **fields,
) -> Claim:
    """The right to a new turn, which must be free to be had."""
    claimed = await store.claim(space, name, start(turn_id, message, **fields))
    assert not isinstance(claimed, Known)
    return claimed


def ended(turn_id: str, *messages: Message, status: Status = "completed", **fields) -> Settlement:
    """What a turn leaves behind; its report names it."""
    outcome = Outcome(turn_id=turn_id, status=status, report={"of": turn_id})
    return Settlement(outcome=outcome, messages=messages, **fields)


async def take(
    store: Store, turn_id: str, said: str = "hi", reply: str = "hello", *, name: str = "work", space: str = ""
) -> None:
    """A whole turn: one message and the reply to it."""
    claimed = await claim(store, turn_id, said, name=name, space=space)
    await store.settle(claimed, ended(turn_id, assistant(reply)))


def question(turn_id: str, text: str = "which one?", data: JsonObject | None = None) -> Question:
    return Question(turn_id, text, data or {"kind": "ask_user"})


async def ask(store: Store, turn_id: str, said: str = "hi", text: str = "which one?") -> None:
    """A turn that ends in a question."""
    claimed = await claim(store, turn_id, said)
    await store.settle(claimed, asking(turn_id, text))


def asking(turn_id: str, text: str = "which one?", **fields) -> Settlement:
    """What a turn leaves behind that waits to be told something."""
    return ended(
        turn_id, assistant(text), status="awaiting_input", question=question(turn_id, text), **fields
    )


async def row(store: Store, name: str = "work", space: str = "") -> SessionRow:
    """A session that must be there."""
    found = await store.row(space, name)
    assert found is not None
    return found


def unversioned(row: SessionRow) -> SessionRow:
    """The row apart from its version, which may grow by more than one."""
    return replace(row, version=0)


async def said(store: Store, name: str = "work", space: str = "", **where) -> list[tuple[int, str]]:
    """Place and words of each message in the history."""
    return [(entry.seq, entry.message.text) for entry in await store.load(space, name, **where)]


async def whole(store: Store, name: str = "work", space: str = "") -> tuple[SessionRow, list[Entry]]:
    """All that can be seen of a session, to be compared with what is seen of it later."""
    return await row(store, name, space), await store.load(space, name)


def uses(*ids: str) -> Message:
    """The model asks for tools."""
    return Message("assistant", tuple(ToolUseBlock(use, "clock", {}) for use in ids))


def results(*ids: str) -> Message:
    """What the tools said."""
    return Message("user", tuple(ToolResultBlock(use, (TextBlock("noon"),)) for use in ids))


def unpaired(messages: Sequence[Message]) -> list[str]:
    """Ids of tool uses that the very next message does not answer, and of results that answer none."""
    wrong: list[str] = []
    asked: set[str] = set()
    for message in messages:
        told = {block.tool_use_id for block in message.content if isinstance(block, ToolResultBlock)}
        wrong += sorted(asked ^ told)
        asked = {block.id for block in message.content if isinstance(block, ToolUseBlock)}
    return wrong + sorted(asked)

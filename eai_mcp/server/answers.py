"""From what the registry of sessions returns to what a client reads, within the limits of the wire."""

import json
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.chat.values import Effective, TurnResult
from eai_mcp.messages import Usage
from eai_mcp.server import pushed
from eai_mcp.server.registry import EVERY, Answer
from eai_mcp.server.results import MessageResult, SessionResult, TurnAnswer, UsageResult
from eai_mcp.server.room import PAGE, Room
from eai_mcp.store import Entry, Question, SessionRow

LONGEST_QUESTION_BYTES = 4096
_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def is_cut(result: TurnResult, room: Room) -> bool:
    """Whether a reply is too long for one answer."""
    return fitted(result.reply, room.reply)[1]


def of_turn(
    result: TurnResult, room: Room, *, after: int | None = None, published: Container[str] = EVERY
) -> Answer:
    """The reply as the first text, the handle behind it; only tools that are published are named in it.

    A reply that is cut says how to read on, if it is known that its message stands behind position `after`.
    """
    reply, cut = fitted(result.reply, room.reply)
    warnings = list(result.warnings)
    if cut:
        warnings.append(_cut_at(len(reply), result, after, published))
    told: TurnAnswer = {
        "status": result.status,
        "reply": reply,
        "chat_session": result.session,
        "turn_id": result.turn_id,
        "effective": _said(result.effective),
        "overridden": list(result.overridden),
        "warnings": warnings,
    }
    told.update(_known(result))
    if following := _next(result, published):
        told["next"] = following
    shown = pushed.told(result, room)
    if shown:
        told["resources"] = shown
    if len(shown) < len(result.resources):
        warnings.append(_not_shown(result, len(shown)))
    handle = {name: value for name, value in told.items() if name != "reply" and value}
    texts = [reply, compact(handle)] if reply else [compact(handle)]
    return Answer(told, [*texts, *pushed.blocks(result, shown, room)])


def usage(spent: Usage) -> UsageResult:
    """Tokens as JSON."""
    told: UsageResult = _said(spent)
    return told


def session(row: SessionRow, model: str) -> SessionResult:
    """A row of the list of sessions; `model` would answer next."""
    told: SessionResult = {
        "name": row.name,
        "message_count": row.message_count,
        "status": "busy" if row.running else "awaiting_input" if row.question else "idle",
        "model": model,
        "updated_at": moment(row.updated_at),
        "usage": usage(row.usage),
    }
    if row.running:
        told["turn_id"] = row.running.turn_id
    elif row.question:
        told["turn_id"] = row.question.turn_id
        told["question"] = question(row.question)
    return told


def question(waiting: Question) -> str:
    """What a session waits to be told, in short if it is long."""
    return fitted(waiting.text, LONGEST_QUESTION_BYTES)[0]


def page(entries: Sequence[Entry], offset: int) -> list[MessageResult]:
    """As many messages as fit on a page; `offset` characters of the first one's text are skipped.

    A first message that does not fit is cut, and says how to read on. A message that is read in pieces shows
    its text in one block, as in the reply: so the pieces are the text.
    """
    told: list[MessageResult] = []
    left = PAGE
    for entry in entries:
        message = _message(entry)
        if offset and not told:
            _skip(message, entry.message.text[offset:])
        size = len(json.dumps(message).encode())
        if size > left and told:
            break
        if size > left:
            _cut(message, entry.message.text[offset:], offset, PAGE)
        left -= size
        told.append(message)
    return told


def moment(at: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def compact(value: Mapping[str, Any]) -> str:
    """JSON without white space."""
    return _written(value)


def whole(structured: Mapping[str, Any]) -> Answer:
    """An answer whose text is its JSON."""
    return Answer(structured, [compact(structured)])


def fitted(text: str, limit: int) -> tuple[str, bool]:
    """The longest start of `text` that JSON writes in `limit` bytes, and whether something was cut off."""
    if len(text) * 6 <= limit or len(json.dumps(text)) <= limit:
        return text, False
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(json.dumps(text[:middle])) <= limit else (low, middle - 1)
    return text[:low], True


def _known(result: TurnResult) -> TurnAnswer:
    """What is not known of every turn."""
    told: TurnAnswer = {}
    if result.usage is not None:
        told["usage"] = usage(result.usage)
    if result.stop_reason:
        told["stop_reason"] = result.stop_reason
    if result.progress:
        told["progress"] = result.progress
    if result.metadata:
        told["metadata"] = dict(result.metadata)
    return told


def _next(result: TurnResult, published: Container[str]) -> str:
    """What can be called next, by the tools that there are."""
    session, turn_id = result.session, result.turn_id
    calls: dict[str, str] = {}
    if result.status == "awaiting_input":
        calls = {
            "talk": f"talk(chat_session={session!r}) answers the question",
            "interrupt": "interrupt drops it",
        }
    elif result.status == "running":
        waiting = f"wait_for_reply(chat_session={session!r}, turn_id={turn_id!r}) gets the reply"
        calls = {"wait_for_reply": waiting, "interrupt": "interrupt stops it"}
    return "; ".join(told for name, told in calls.items() if name in published)


def _cut_at(shown: int, result: TurnResult, after: int | None, published: Container[str]) -> str:
    told = f"the reply was cut at {shown:,} of {len(result.reply):,} characters"
    session = f"chat_session={result.session!r}"
    if "get_history" in published:
        if after is not None:
            return f"{told}; get_history({session}, after={after}, offset={shown}) reads on"
        if result.status == "running":
            return f"{told}; all of it will be in get_history({session}) when it has ended"
    elif "export_chat_session_context" in published:
        when = ", once it has ended" if result.status == "running" else ""
        export = f"export_chat_session_context({session}, format='markdown')"
        return f"{told}; {export} returns all of it{when}, in parts: next_offset is the next one's offset"
    return told


def _not_shown(result: TurnResult, shown: int) -> str:
    return (
        f"{len(result.resources) - shown} more resources were pushed than are shown; they can be read at"
        f" {pushed.where(result, shown + 1)} and behind it"
    )


def _message(entry: Entry) -> MessageResult:
    blocks: Any = messages.encode(entry.message)["content"]
    told: MessageResult = {
        "seq": entry.seq,
        "role": entry.message.role,
        "content": blocks,
        "turn_id": entry.turn_id,
        "at": moment(entry.at),
    }
    if entry.message.partial:
        told["partial"] = True
    return told


def _skip(message: MessageResult, text: str) -> None:
    """Show `text` where the first text stood, and no other."""
    shown: list[dict[str, JsonValue]] = []
    is_told = False
    for block in message["content"]:
        if block["type"] != "text":
            shown.append(block)
        elif not is_told:
            shown.append({**block, "text": text})
            is_told = True
    message["content"] = shown


def _cut(message: MessageResult, text: str, offset: int, most: int) -> None:
    """Show as much of the text behind `offset` as fits; of the other blocks only the types are named."""
    fitting, is_cut = fitted(text, most - 4096)
    _skip(message, fitting)
    message["content"] = [
        block if block["type"] == "text" else _omitted(block) for block in message["content"]
    ]
    if is_cut:
        message["cut"] = f"read on with after={message['seq'] - 1}, offset={offset + len(fitting)}"


def _omitted(block: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {"type": block["type"], "omitted": f"{len(json.dumps(block)):,} bytes, too large for this answer"}


def _said(value: Effective | Usage) -> Any:
    return messages.told(value)

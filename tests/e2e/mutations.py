"""Messages that no client should send: good ones, changed at random places, and bytes that are none."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.e2e.wire import LEGACY, MODERN

URIS = (
    "eai://models",
    "eai://models/echo",
    "eai://sessions/a",
    "eai://sessions/a/pushed/t_1/1",
    "eai://providers",
)
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "talk",
        {"content": "hi", "chat_session": "a", "timeout_ms": 1, "temperature": 0.5, "metadata": {"a": 1}},
    ),
    ("talk", {"content": [{"type": "text", "text": "hi"}], "chat_session": "b", "stop_sequences": ["x"]}),
    ("talk", {"content": "hi", "mode": "human", "chara_card": "tutor", "request_id": "r", "turn_id": "t"}),
    ("wait_for_reply", {"chat_session": "a", "turn_id": "t_1", "timeout_ms": 1}),
    ("interrupt", {"chat_session": "a", "turn_id": "t_1"}),
    ("list_sessions", {"prefix": "a", "cursor": "a", "limit": 3}),
    ("get_history", {"chat_session": "a", "after": 0, "limit": 2, "offset": 1}),
    ("list_catalog", {"kind": "cards", "filter": "a"}),
    ("ensure_session", {"chat_session": "c"}),
    ("close_session", {"chat_session": "c"}),
    ("fork_session", {"chat_session": "a", "new_session": "d", "after": 1}),
    ("export_chat_session_context", {"chat_session": "a", "format": "openai", "offset": 0}),
    ("export_chat_session_context", {"chat_session": "a", "file_path": "out.json"}),
    ("replace_history", {"chat_session": "e", "content": [{"role": "user", "content": "hi"}]}),
    ("replace_history", {"chat_session": "e", "revision": 1}),
    ("snapshot", {"file_path": "all.gz"}),
    ("restore", {"file_path": "all.gz", "mode": "merge"}),
)
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("tools/call", {"name": name, "arguments": given}) for name, given in CALLS),
    *(("resources/read", {"uri": uri}) for uri in URIS),
    ("resources/list", {"cursor": "sessions/a"}),
    ("resources/templates/list", {}),
    ("resources/subscribe", {"uri": URIS[2]}),
    ("resources/unsubscribe", {"uri": URIS[2]}),
    (
        "subscriptions/listen",
        {"notifications": {"resourceSubscriptions": [URIS[2]], "toolsListChanged": True}},
    ),
    ("prompts/list", {"cursor": "a"}),
    ("prompts/get", {"name": "coder", "arguments": {"message": "hi"}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "eai://sessions/{name}"},
            "argument": {"name": "name", "value": "a"},
        },
    ),
    ("tools/list", {}),
    ("tasks/get", {"taskId": "x"}),
    ("tasks/cancel", {"taskId": "x"}),
    ("tasks/update", {"taskId": "x", "inputResponses": {}}),
    ("logging/setLevel", {"level": "debug"}),
    ("server/discover", {}),
    ("ping", {}),
    ("no/such", {"a": [1]}),
)
NOTIFICATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("notifications/cancelled", {"requestId": 3, "reason": "no"}),
    ("notifications/progress", {"progressToken": 1, "progress": 1}),
    ("notifications/roots/list_changed", {}),
    ("notifications/initialized", {}),
)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**53 + 1,
    2**70,
    1e308,
    0.1,
    "",
    "x" * 20_000,
    "\x00",
    "\u202e\ufeff",
    "../../etc/passwd",
    "eai://sessions/%00",
    "{{user}}",
    [],
    {},
    [[[]]],
    {"": {}},
    {"$ref": "#"},
    list(range(500)),
)
IDS: tuple[Any, ...] = (0, -1, 2**63, 2**200, "", "x" * 5_000, None, True, 1.5, [], {}, "\ud800")
BYTES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"[{}]",
    b'"text"',
    b"\xff\xfe",
    b'{"jsonrpc": "2.0"}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
    b'{"jsonrpc": "2.0", "id": "nobody", "error": {"code": 1, "message": "x"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": '
    + b'{"a":' * 5_000
    + b"1"
    + b"}" * 5_000
    + b"}",
    b'{"jsonrpc": "2.0", "id": 1e999, "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}',
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Content-Length: 5\r\n\r\n{}",
)


def meta() -> dict[str, Any]:
    """What each request of the newer protocol carries."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "odd", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    }


class Odd:
    """An endless source of them, the same for the same `seed`; `era` is the protocol that they imitate."""

    def __init__(self, seed: int, era: str = LEGACY) -> None:
        self._dice = random.Random(seed)
        self._era = era
        self._last = 1000

    def lines(self, count: int) -> Iterator[bytes]:
        """So many messages, without their line feeds."""
        for _ in range(count):
            message = self.message()
            if self._dice.random() < 0.1:
                yield self._dice.choice(BYTES)
            yield self.damaged(message) if self._dice.random() < 0.1 else _written(message)
            if self._dice.random() < 0.2 and "id" in message:
                gone = {"requestId": message["id"], "reason": "odd"}
                yield _written({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone})

    def message(self) -> dict[str, Any]:
        """One message, changed at up to three places, seldom at none."""
        if self._dice.random() < 0.1:
            method, params = self._dice.choice(NOTIFICATIONS)
            made: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": copy.deepcopy(params)}
        else:
            self._last += 1
            method, params = self._dice.choice(REQUESTS)
            made = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": copy.deepcopy(params)}
            if self._era == MODERN:
                made["params"]["_meta"] = meta()
        for _ in range(self._dice.randint(0, 3)):
            self._change(made)
        if "id" in made and self._dice.random() < 0.1:
            made["id"] = self._dice.choice(IDS)
        return made

    def damaged(self, message: dict[str, Any]) -> bytes:
        """A message of which some bytes were lost or turned."""
        data = bytearray(_written(message))
        for _ in range(self._dice.randint(1, 4)):
            at = self._dice.randrange(len(data))
            if self._dice.random() < 0.5:
                data[at] = self._dice.randrange(256)
            else:
                del data[at : at + self._dice.randint(1, 20)]
            if not data:
                break
        return bytes(data).replace(b"\n", b" ")

    def _change(self, made: dict[str, Any]) -> None:
        inside = made.get("params")
        if isinstance(inside, dict) and self._dice.random() < 0.7:
            inside = inside.get("arguments", inside)
        # What is wrong with the message itself is found at once, and hides what is wrong within.
        places = [*_places(made if self._dice.random() < 0.08 else inside)]
        if not places:
            return
        holder, key = self._dice.choice(places)
        match self._dice.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[f"{key}_"] = holder.pop(key)
            case 2:
                holder[key] = [holder[key]]
            case 3:
                holder[key] = json.dumps(holder[key])
            case _:
                holder[key] = copy.deepcopy(self._dice.choice(ODD))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each value within a message, as what holds it and where."""
    if isinstance(node, dict | list):
        for key, value in [*(node.items() if isinstance(node, dict) else enumerate(node))][:50]:
            yield node, key
            yield from _places(value)


def _written(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()

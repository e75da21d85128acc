"""How a caller comes by each code of error: the calls to make, one of which fails with it."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from eai_mcp.errors import EaiError
from tests.clients.common import Told
from tests.clients.places import FAULTS

Step: TypeAlias = tuple[str, Told]


def steps(code: str, session: str) -> list[Step]:
    """Tools and their arguments, for a session that nobody else uses."""
    own = {"chat_session": session}
    return [
        (tool, arguments if tool in SESSIONLESS else own | arguments) for tool, arguments in MISTAKES[code]
    ]


def all_codes() -> set[str]:
    """Every code that an error of ours may have."""
    return {each.code for each in _kinds(EaiError)} | {"unknown_model", "unknown_prompt", "unknown_card"}


def _kinds(kind: type[EaiError]) -> Iterator[type[EaiError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)


def _talk(**arguments: Any) -> Step:
    return "talk", {"content": "hello", "model": "echo", **arguments}


SESSIONLESS = ("restore",)
MISTAKES: dict[str, list[Step]] = {
    "busy": [_talk(model="slow", timeout_ms=0), _talk(), ("interrupt", {})],
    "no_task": [("ensure_session", {}), ("interrupt", {})],
    "not_found": [("get_history", {})],
    "already_exists": [("ensure_session", {}), ("fork_session", {"new_session": "default"})],
    "cannot_close_default": [("close_session", {"chat_session": "default"})],
    "invalid_argument": [_talk(temperature="warm")],
    "limit_exceeded": [_talk(metadata={"long": "x" * 20_000})],
    "import_invalid": [("replace_history", {"content": "no history"})],
    "path_denied": [_talk(), ("export_chat_session_context", {"file_path": "../../out.json"})],
    "conflict": [_talk(turn_id="t_none")],
    "unknown_model": [_talk(model="ecko")],
    "unknown_prompt": [_talk(prompt="nobody")],
    "unknown_card": [_talk(chara_card="nobody")],
    "missing_api_key": [_talk(model="keyed")],
    "storage_full": [_talk(content="storage_full")],
    "storage_unavailable": [_talk(content="storage_unavailable")],
    "internal": [_talk(content="internal")],
    **{code: [_talk(model=code)] for code in FAULTS},
}

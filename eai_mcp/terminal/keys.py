"""What a terminal sends for a key, by the key's name."""

from collections.abc import Sequence

from eai_mcp.errors import InvalidArgument

NAMED = {
    "Enter": b"\r",
    "Tab": b"\t",
    "Shift-Tab": b"\x1b[Z",
    "Esc": b"\x1b",
    "Space": b" ",
    "Backspace": b"\x7f",
    "Delete": b"\x1b[3~",
    "Insert": b"\x1b[2~",
    "Up": b"\x1b[A",
    "Down": b"\x1b[B",
    "Right": b"\x1b[C",
    "Left": b"\x1b[D",
    "Home": b"\x1b[H",
    "End": b"\x1b[F",
    "PageUp": b"\x1b[5~",
    "PageDown": b"\x1b[6~",
    **{f"F{number}": b"\x1bO%c" % (0x4F + number) for number in range(1, 5)},
    **{
        f"F{number}": b"\x1b[%d~" % code
        for number, code in enumerate((15, 17, 18, 19, 20, 21, 23, 24), start=5)
    },
    "Ctrl-Space": b"\0",
    **{f"Ctrl-{letter}": bytes([ord(letter) - 0x40]) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ\\]^_"},
}
KNOWN = "Enter Tab Shift-Tab Esc Space Backspace Delete Insert Up Down Left Right Home End PageUp PageDown"
KNOWN = (
    f"{', '.join(KNOWN.split())}, F1 to F12, Ctrl-A to Ctrl-Z, Ctrl-Space, Ctrl-\\, Ctrl-], Alt-X for any X"
)
SAME = {
    "return": "enter",
    "escape": "esc",
    "del": "delete",
    "ins": "insert",
    "pgup": "pageup",
    "pgdn": "pagedown",
}
_BY_NAME = {name.lower(): sent for name, sent in NAMED.items()}


def keys(names: Sequence[str]) -> bytes:
    """What the keys send, one after the other; `Ctrl-C`, `ctrl-c` and `CTRL+C` are the same.

    Raises:
        InvalidArgument: There is no key of that name.
    """
    return b"".join(_key(name) for name in names)


def _key(name: str) -> bytes:
    modifier, rest = name[:4].lower(), name[4:]
    if modifier in {"alt-", "alt+"} and rest:
        return b"\x1b" + (rest.encode(errors="replace") if len(rest) == 1 else _key(rest))
    plain = name.strip().lower().replace("+", "-")
    sent = _BY_NAME.get(SAME.get(plain, plain))
    if sent is None:
        raise InvalidArgument(f"no key named {name[:40]!r}; known: {KNOWN}", field="keys")
    return sent

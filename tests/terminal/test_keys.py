"""Keys by name."""

import pytest

from eai_mcp.errors import InvalidArgument
from eai_mcp.terminal.keys import keys


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Enter", b"\r"),
        ("return", b"\r"),
        ("TAB", b"\t"),
        ("shift+tab", b"\x1b[Z"),
        ("Escape", b"\x1b"),
        ("Space", b" "),
        ("Backspace", b"\x7f"),
        ("Delete", b"\x1b[3~"),
        ("Up", b"\x1b[A"),
        ("PgDn", b"\x1b[6~"),
        ("F1", b"\x1bOP"),
        ("F4", b"\x1bOS"),
        ("F5", b"\x1b[15~"),
        ("f12", b"\x1b[24~"),
        ("Ctrl-C", b"\x03"),
        ("ctrl+d", b"\x04"),
        ("CTRL-Z", b"\x1a"),
        ("Ctrl-Space", b"\0"),
        ("Ctrl-\\", b"\x1c"),
        ("Ctrl-]", b"\x1d"),
        ("Alt-x", b"\x1bx"),
        ("Alt-X", b"\x1bX"),
        ("alt+é", b"\x1b\xc3\xa9"),
        ("Alt--", b"\x1b-"),
        ("Alt++", b"\x1b+"),
        ("Alt-Enter", b"\x1b\r"),
    ],
)
def test_a_key_sends_what_a_terminal_sends(name, sent):
    """Issue 7: raw input with named keys."""
    assert keys([name]) == sent


def test_keys_are_sent_in_order():
    assert keys(["Esc", "Up", "Enter"]) == b"\x1b\x1b[A\r"


@pytest.mark.parametrize("name", ["Entre", "Ctrl-", "Ctrl-1", "Alt-", "Alt-Foo", "", "F13", "-"])
def test_an_unknown_key_is_refused_with_those_that_there_are(name):
    with pytest.raises(InvalidArgument, match=r"no key named .*; known: Enter, Tab, .*F1 to F12"):
        keys([name])

"""Whatever bytes a catalog file holds, they make an entry or a problem, never an error."""

from json import dumps

from hypothesis import example, given
from hypothesis import strategies as st

from eai_mcp.catalog.cards import read_json_card
from eai_mcp.catalog.models import read_model
from eai_mcp.catalog.prompts import read_prompt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MODEL_FIELDS = [
    "provider", "model", "base_url", "api_key_env", "api_key", "headers", "description", "vision", "quirks",
    "context_window", "samplers", "samplers.temperature", "samplers.stop_sequences", "reliability",
    "reliability.breaker", "context", "context.policy",
]  # fmt: skip
CARD_FIELDS = [
    "spec",
    "data",
    "name",
    "tags",
    "nickname",
    "character_book",
    "extensions",
    "alternate_greetings",
]
TOML_VALUES = st.sampled_from(
    ["0", "1e400", "nan", "true", '""', '"x"', "[]", "[1]", "{}", "{ a = 1 }", "0x" + "f" * 40, "2026-01-01"]
)


def settled(reader, content):
    """An entry, or at least one note, and a note is text that can be sent."""
    notes = []
    entry = reader("x", content, lambda field, reason: notes.append(f"{field}: {reason}"))
    assert entry is not None or notes
    assert all(note.encode() for note in notes)
    if not notes:
        repr(entry).encode()


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"+++")
def test_any_bytes(content):
    for reader in (read_model, read_prompt, read_json_card):
        settled(reader, content)


@given(st.text(max_size=100).map(str.encode) | st.text("+\n =[]{}\"'a1", max_size=60).map(str.encode))
def test_any_front_matter(content):
    settled(read_prompt, b"+++\n" + content + b"\n+++\nHi")


@given(st.dictionaries(st.sampled_from(MODEL_FIELDS), TOML_VALUES))
def test_any_fields_of_a_model(fields):
    settled(read_model, "\n".join(f"{name} = {value}" for name, value in fields.items()).encode())


@given(st.dictionaries(st.sampled_from(CARD_FIELDS), JSON))
def test_any_fields_of_a_card(fields):
    settled(read_json_card, dumps(fields).encode())
    settled(read_json_card, dumps({"spec": "chara_card_v3", "data": fields}).encode())

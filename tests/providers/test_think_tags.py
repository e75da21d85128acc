import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.providers.think_tags import ThinkTags


def split(*pieces: str) -> tuple[str, str]:
    """Reasoning and text."""
    tags = ThinkTags()
    told = [one for piece in pieces for one in tags.feed(piece)] + tags.close()
    return "".join(t for t, thinks in told if thinks), "".join(t for t, thinks in told if not thinks)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>why</think>\n\nhello", ("why", "hello")),
        (" \n<think>why</think>hello", ("why", "hello")),
        ("<think></think>hello", ("", "hello")),
        ("hello <think>no</think>", ("", "hello <think>no</think>")),
        ("<think>a < b </thin</think>c</think>", ("a < b </thin", "c</think>")),
        ("<think>never closed", ("never closed", "")),
        ("<think>cut</thi", ("cut</thi", "")),
        ("<thi", ("", "<thi")),
        ("  ", ("", "  ")),
        ("", ("", "")),
    ],
)
def test_only_a_tag_at_the_start_marks_reasoning(text, parts):
    assert split(text) == parts
    assert split(*text) == parts


@given(st.text(alphabet="<think>/ a\n", max_size=40), st.data())
def test_any_split_gives_the_same(text, data):
    text = data.draw(st.sampled_from(["", "<think>"])) + text
    cut = data.draw(st.integers(0, len(text)))

    assert split(text[:cut], text[cut:]) == split(text) == split(*text)


def test_text_is_told_as_soon_as_it_is_certain():
    tags = ThinkTags()

    assert tags.feed("<think>a<") == [("a", True)]
    assert tags.feed("b<") == [("<b", True)]
    assert tags.feed("/think>c") == [("c", False)]

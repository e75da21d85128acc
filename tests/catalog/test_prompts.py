from itertools import count

import pytest

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Prompt


def catalog_of(tmp_path, content):
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "x.md").write_bytes(content)
    return Catalog(prompts=(folder,))


@pytest.mark.parametrize(
    ("content", "prompt"),
    [
        (b"Speak up.", Prompt(name="x", text="Speak up.")),
        (b"\n\n  Speak up.\n\n", Prompt(name="x", text="Speak up.")),
        (b"One.\r\n\r\nTwo.\r\n", Prompt(name="x", text="One.\n\nTwo.")),
        (b'+++\ndescription = "d"\n+++\nSpeak\nup.\n', Prompt(name="x", text="Speak\nup.", description="d")),
        (b"+++\r\n+++\r\nSpeak up.", Prompt(name="x", text="Speak up.")),
        (b"\xef\xbb\xbf+++ \n+++ \n+++\n", Prompt(name="x", text="+++")),
        (b"# {{char}}\n\n---\n+++\n", Prompt(name="x", text="# {{char}}\n\n---\n+++")),
    ],
    ids=count(1),
)
def test_front_matter_is_told_from_the_text(tmp_path, content, prompt):
    catalog = catalog_of(tmp_path, content)

    assert catalog.problems() == ()
    assert catalog.prompt("x") == prompt


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"+++\n+++\n \n", ["has no text"]),
        (b"+++\ntitle = 1\n+++\nHi", ["title: is not a known field; known: description"]),
        (b"+++\ndescription = 1\n+++\n", ["description: must be text, not 1", "has no text"]),
        (b"+++\na = \n+++\nHi", ["is not TOML: Invalid value (at line 2, column 5)"]),
        (b"+++\nHi", ["the front matter lacks its closing +++"]),
        (b"Hi \xc3", ["is not UTF-8 text: byte 3"]),
    ],
    ids=count(1),
)  # fmt: skip
def test_a_file_that_is_no_prompt_is_reported(tmp_path, content, said):
    catalog = catalog_of(tmp_path, content)

    assert catalog.prompts() == ()
    assert [str(problem) for problem in catalog.problems()] == [
        f"{tmp_path}/prompts/x.md: {reason}" for reason in said
    ]

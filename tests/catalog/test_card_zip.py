import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.cards import read_packed_card
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Card
from tests.catalog.packing import packed, read

CARD = json.dumps({"spec": "chara_card_v3", "data": {"name": "Packed"}}).encode()
WHOLE = packed(CARD)
ASSETS = ["assets/icon/images/main.png", "module.json"]
STORED = packed(CARD, method=zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    "content",
    [WHOLE, STORED, packed(CARD, others=ASSETS), b"\xff\xd8 JPEG" + WHOLE],
    ids=["packed", "stored", "beside others", "behind a picture"],
)  # fmt: skip
def test_the_card_in_an_archive_is_read(content):
    """Issue 7: V2 and V3, JSON and PNG (`chara`, `ccv3`, and CHARX if small)."""
    assert read(read_packed_card, content) == (Card(name="x", title="Packed"), [])


def test_an_archive_in_the_folder_is_a_card(tmp_path):
    (tmp_path / "y.charx").write_bytes(WHOLE)
    assert Catalog(cards=(tmp_path,)).card("y").title == "Packed"


def changed(content, mark, offset, value):
    """The archive with other bytes at an offset from the last such mark."""
    at = content.rindex(mark) + offset
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"rubbish", "is no ZIP archive, or is cut off"),
        (WHOLE[:-30], "is no ZIP archive, or is cut off"),
        (packed(CARD, name="other.json"), "has no card.json"),
        (packed(CARD, others=map(str, range(10_000))), "has more than 10,000 files before card.json"),
        (packed(b" " * 30_000_000), "has a card.json of more than 1,048,576 bytes"),
        (
            packed(CARD, method=zipfile.ZIP_BZIP2),
            "has a card.json that is packed by method 12, which is not read here",
        ),
        (changed(WHOLE, b"PK\1\2", 8, b"\1"), "is encrypted"),
        (changed(WHOLE, b"PK\1\2", 0, b"KP"), "has a broken directory"),
        (changed(WHOLE, b"PK\1\2", 16, b"\0\0"), "has a damaged card.json: its CRC is wrong"),
        (changed(WHOLE, b"PK\3\4", 0, b"KP"), "has a card.json that is not where it should be"),
        (changed(WHOLE, b"PK\1\2", 42, b"\xff\xff\xff\x7f"), "is cut off, or is no ZIP archive"),
        (changed(WHOLE, b"PK\1\2", 20, b"\xff" * 4), "has a card.json that is not where it should be"),
        (changed(WHOLE, b"PK\3\4", 39, b"\xff" * 4), "has a card.json that cannot be unpacked"),
        (
            changed(WHOLE, b"PK\5\6", 12, b"\xff" * 4),
            "has a directory that is not where it should be, or is larger than 4 GB",
        ),
        (packed(b"[]"), "must be a JSON object"),
    ],
    ids=[
        "no ZIP", "cut off", "no card", "many files", "bomb", "bzip2", "encrypted", "directory", "CRC",
        "header", "far away", "4 GB", "no deflate", "far directory", "no JSON",
    ],
)  # fmt: skip
def test_a_broken_archive_is_an_error_that_says_what_is_wrong(content, said):
    """Issue 7: a hostile card (…) is an error, not a hang."""
    assert read(read_packed_card, content) == (None, [said])


@given(st.data())
def test_any_damage_gives_a_card_or_an_error(data):
    content = bytearray(data.draw(st.sampled_from([WHOLE, STORED])))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    card, noted = read(read_packed_card, bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert (card is None) == bool(noted)

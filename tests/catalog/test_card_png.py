import base64
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.card_files import LARGEST_PACKED
from eai_mcp.catalog.cards import read_png_card
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Card
from tests.catalog.packing import END, SIGNATURE, chunk, png, read, text

OLD = json.dumps({"spec": "chara_card_v2", "data": {"name": "Old"}}).encode()
NEW = json.dumps({"spec": "chara_card_v3", "data": {"name": "Nëw"}}, ensure_ascii=False).encode()
CODED = base64.b64encode(NEW)
CUT_OFF = zlib.compress(CODED)[:-5]
TWO_HALVES = CODED[:40] + b"\n" + CODED[40:].rstrip(b"=")


@pytest.mark.parametrize(
    "chunks",
    [
        [text(b"chara", NEW)],
        [text(b"Chara", NEW)],
        [text(b"ccv3", NEW)],
        [text(b"chara", OLD), text(b"ccv3", NEW)],
        [text(b"ccv3", NEW), text(b"chara", OLD)],
        [text(b"Comment", OLD), text(b"ccv3", NEW), text(b"ccv3", OLD)],
        [(b"tEXt", b"chara\0" + TWO_HALVES)],
        [(b"zTXt", b"chara\0\0" + zlib.compress(CODED))],
        [(b"iTXt", b"ccv3\0\0\0en\0\0" + CODED)],
        [(b"iTXt", b"ccv3\0\1\0\0\0" + zlib.compress(CODED))],
    ],
    ids=[
        "V3 as chara", "Chara", "ccv3", "both", "both, ccv3 first", "first of two", "lines", "zTXt", "iTXt",
        "packed iTXt",
    ],
)  # fmt: skip
def test_the_card_in_a_picture_is_read_and_ccv3_wins(chunks):
    """Issue 7: V2 and V3, JSON and PNG (`chara`, `ccv3`, and CHARX if small)."""
    assert read(read_png_card, png(*chunks)) == (Card(name="x", title="Nëw"), [])


def test_a_picture_in_the_folder_is_a_card_up_to_8_mib(tmp_path):
    picture = png(text(b"chara", OLD), (b"npTc", b"\0" * (2 * 1024 * 1024)))
    (tmp_path / "large.PNG").write_bytes(picture)
    (tmp_path / "larger.png").write_bytes(picture.ljust(LARGEST_PACKED + 1, b"\0"))
    catalog = Catalog(cards=(tmp_path,))
    assert [card.title for card in catalog.cards()] == ["Old"]
    assert [str(one) for one in catalog.problems()] == [f"{tmp_path}/larger.png: is larger than 8 MiB"]


def test_a_picture_and_a_json_file_of_one_name_are_reported(tmp_path):
    (tmp_path / "x.json").write_bytes(NEW)
    (tmp_path / "x.png").write_bytes(png(text(b"chara", OLD)))
    catalog = Catalog(cards=(tmp_path,))
    assert catalog.card("x").title == "Nëw"
    assert [str(one) for one in catalog.problems()] == [f"{tmp_path}/x.png: x.json has the same name"]


WHOLE = png(text(b"chara", OLD))
AT = WHOLE.index(b"tEXt") - 4
HUGE = struct.pack(">L", 0xFFFFFFFF)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE[:-30],
        WHOLE[: -len(chunk(*END))],
        WHOLE + b"rubbish",
        WHOLE[:-12] + HUGE + WHOLE[-8:],
        png(text(b"chara", OLD), behind=()) + chunk(b"junk", b"x")[:-1],
    ],
    ids=["cut off", "no end", "more behind", "a huge chunk behind", "broken CRC behind"],
)
def test_once_the_card_was_found_the_rest_may_be_broken(content):
    assert read(read_png_card, content)[0] == Card(name="x", title="Old")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GIF89a", "is not a PNG picture"),
        (SIGNATURE, "is cut off, or broken: the chunk at byte 8 goes on behind the end"),
        (WHOLE[: AT + 20], f"is cut off, or broken: the chunk at byte {AT} goes on behind the end"),
        (
            WHOLE[:AT] + HUGE + WHOLE[AT + 4 :],
            f"is cut off, or broken: the chunk at byte {AT} goes on behind the end",
        ),
        (png(), "is a picture without a card: it has no text chunk named ccv3 or chara"),
        (png(text(b"other", OLD)), "is a picture without a card: it has no text chunk named ccv3 or chara"),
        (png(text(b"c" * 90, OLD)), "is a picture without a card: it has no text chunk named ccv3 or chara"),
        (WHOLE.replace(b"chara", b"ccv3\0"), f"the chunk ccv3 at byte {AT} is damaged: its CRC is wrong"),
        (png((b"tEXt", b"chara\0%%%")), f"the chunk chara at byte {AT} is not base64"),
        (png((b"zTXt", b"chara\0\0rubbish")), f"the chunk chara at byte {AT} cannot be unpacked"),
        (png((b"zTXt", b"chara\0\0" + CUT_OFF)), f"the chunk chara at byte {AT} is cut off"),
        (png((b"iTXt", b"chara\0\0\0")), f"the chunk chara at byte {AT} lacks its text"),
        (
            png((b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 50_000_000))),
            f"the chunk chara at byte {AT} is larger than 1,572,864 bytes once unpacked",
        ),
        (
            png(text(b"chara", b" " * 1_100_000)),
            f"the chunk chara at byte {AT} holds more than 1,048,576 bytes",
        ),
        (png(*[(b"tEXt", b"")] * 20_001), "has more than 20,000 chunks"),
        (SIGNATURE + bytes(7_000_000), "has more than 20,000 chunks"),
        (png(text(b"chara", b"[]")), "must be a JSON object"),
        (png(text(b"chara", b"\xff")), "is not UTF-8 text: byte 0"),
    ],
    ids=[
        "no PNG", "nothing else", "cut off", "4 GB", "no text", "another text", "a long keyword", "CRC",
        "no base64", "no zlib", "zlib cut off", "iTXt cut off", "bomb", "too long", "many chunks", "zeros",
        "no JSON", "no UTF-8",
    ],
)  # fmt: skip
def test_a_broken_picture_is_an_error_that_says_what_is_wrong(content, said):
    """Issue 7: a hostile card (… PNG with broken chunks) is an error, not a hang."""
    assert read(read_png_card, content) == (None, [said])


@given(st.data())
def test_any_damage_gives_a_card_or_an_error(data):
    """Issue 7: a hostile card (… PNG with broken chunks) is an error, not a hang."""
    content = bytearray(png(text(b"chara", OLD), text(b"ccv3", NEW)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    card, noted = read(read_png_card, bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert (card is None) == bool(noted)
    assert card is None or card.title in ("Old", "Nëw")

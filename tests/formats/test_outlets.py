import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import PathDenied
from eai_mcp.formats import outlets
from eai_mcp.formats.files import Folder


@given(st.text(max_size=60), st.integers(1, 7), st.integers(1, 20))
def test_parts_joined_are_the_whole(text, most, size):
    """Issue 5: inline (paged under clients' size limits)."""
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    joined, offset = "", 0
    while True:
        part = outlets.excerpt(offset, most)(iter(pieces))
        assert (part.size_bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert len(part.text) <= most
        joined += part.text
        if part.next_offset is None:
            break
        assert part.next_offset > offset
        offset = part.next_offset
    assert joined == text
    assert outlets.excerpt(len(text) + 1, most)(iter(pieces)).text == ""


def test_a_file_is_told_with_its_size_and_digest(tmp_path):
    """Issue 5: to a file (atomic, size and count and sha256 returned)."""
    saved = outlets.saving(Folder(tmp_path), "a/b.json")(iter([b"one", b"", b"two"]))
    assert saved == outlets.Saved(tmp_path / "a" / "b.json", 6, hashlib.sha256(b"onetwo").hexdigest())
    assert saved.path.read_bytes() == b"onetwo"
    with pytest.raises(PathDenied):
        outlets.saving(Folder(tmp_path), "../b.json")(iter([b""]))

"""The key for what goes through clients: where it is, who makes it, and what becomes of it."""

import logging
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from mcp.server.request_state import InvalidRequestState

from eai_mcp.server.sealing import Seal, key_file


@pytest.fixture
def file(tmp_path):
    return key_file(tmp_path / "data" / "sessions.db")


def test_what_one_process_sealed_another_one_opens(file):
    """Issue 8: state that only this server can open; the key lies beside the sessions."""
    assert Seal(file).unseal(Seal(file).seal(b"asked")) == b"asked"
    assert file.name == "sessions.db-key"
    assert [*file.parent.iterdir()] == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_the_key_is_for_nobody_else_to_read(file):
    """DESIGN section 11: data is 0600 in 0700 folders."""
    Seal(file).seal(b"")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_those_who_come_at_once_have_the_same_key(file):
    """Issue 8: two processes may need it first at one moment."""
    with ThreadPoolExecutor(8) as pool:
        sealed = [*pool.map(lambda number: Seal(file).seal(b"%d" % number), range(32))]
    assert [Seal(file).unseal(token) for token in sealed] == [b"%d" % number for number in range(32)]
    assert [*file.parent.iterdir()] == [file]


def test_nothing_is_made_before_it_is_needed(file):
    Seal(file)
    assert not file.parent.exists()


def test_sessions_that_are_forgotten_have_a_key_that_is(file):
    assert key_file(None) is None
    seal = Seal(None)
    assert seal.unseal(seal.seal(b"asked")) == b"asked"
    with pytest.raises(InvalidRequestState):
        Seal(None).unseal(seal.seal(b"asked"))


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_key_that_cannot_be_kept_is_told_and_lasts_as_long_as_the_process(file, caplog, content):
    """Issue 8: without a file that can be used, a key of this process, and a line in the log."""
    if content is None:
        file.parent.write_text("no folder")
    else:
        file.parent.mkdir()
        file.write_bytes(content)
    seal = Seal(file)
    with caplog.at_level(logging.WARNING, "eai_mcp"):
        assert seal.unseal(seal.seal(b"asked")) == b"asked"
    (line,) = caplog.messages
    assert line.startswith("the key for what people are asked cannot be kept: ")
    if content is not None:
        assert f"{file} is damaged; remove it" in line
    with pytest.raises(InvalidRequestState):
        Seal(file).unseal(seal.seal(b"asked"))

"""Lines kept aside, in memory or on disk, and a disk that cannot."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import StorageUnavailable
from eai_mcp.formats.spool import Spool
from eai_mcp.messages import line, user

LINES = st.lists(
    st.builds(line, st.text(max_size=20).map(user), turn_id=st.text(max_size=9), at=st.floats(0, 4e9)),
    max_size=5,
)


@given(LINES, LINES)
def test_runs_of_lines_can_be_read_as_often_as_one_likes(first, second):
    with Spool() as kept:
        for each in first:
            kept.add(each)
        one, middle = kept.since(0), kept.end
        for each in second:
            kept.add(each)
        two = kept.since(middle)
        assert ([*one], [*two], [*one], [*kept.since(0)]) == (first, second, first, [*first, *second])


def test_many_lines_are_kept_on_disk_and_nothing_is_left_of_them(tmp_path):
    long = line(user("x" * 100_000))
    with Spool(tmp_path) as kept:
        for _ in range(100):
            kept.add(long)
        assert [*kept.since(0)] == [long] * 100
        assert [*tmp_path.iterdir()] == []


FILLING = """
import resource, signal
from eai_mcp.errors import StorageFull
from eai_mcp.formats.spool import Spool
from eai_mcp.messages import line, user

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))
with Spool() as kept:
    try:
        for _ in range(100):
            kept.add(line(user("x" * 100_000)))
    except StorageFull as error:
        print(error.code, error.retryable, "TMPDIR" in error.message)
"""


def test_a_disk_without_room_is_told():
    """Issue 5: bad input and faults: a clear error with a code."""
    done = subprocess.run(
        [sys.executable, "-c", FILLING], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "storage_full True True\n"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with (
        Spool(tmp_path / "gone") as kept,
        pytest.raises(StorageUnavailable, match="gone, cannot be used: No"),
    ):
        kept.add(line(user("x" * 5_000_000)))

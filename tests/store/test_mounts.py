from pathlib import Path

import pytest

from eai_mcp.store.mounts import network_type

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /net rw,relatime shared:2 - nfs4 server:/x rw,vers=4.2
31 30 0:27 / /net/local rw,relatime - tmpfs tmpfs rw
32 22 0:28 / /with\040blank\011tab rw,relatime - cifs //server/x rw
33 22 0:29 / /twice rw,relatime - ext4 /dev/vdb rw
34 22 0:30 / /twice rw,relatime - fuse.sshfs me@server:/ rw
35 22 0:31 / /covered rw,relatime - nfs server:/y rw
36 22 0:32 / /covered rw,relatime - xfs /dev/vdc rw
37 22 0:33 / /broken
"""


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me/sessions.db", None),
        ("/net/sessions.db", "nfs4"),
        ("/net/deep/er/sessions.db", "nfs4"),
        ("/net/local/sessions.db", None),
        ("/network/sessions.db", None),
        ("/with blank\ttab/sessions.db", "cifs"),
        ("/twice/sessions.db", "fuse.sshfs"),
        ("/covered/sessions.db", None),
        ("/broken/sessions.db", None),
    ],
)
def test_the_deepest_and_last_mount_decides(mounts, place, kind):
    assert network_type(Path(place), mounts=mounts) == kind


def test_a_link_is_on_the_file_system_that_it_leads_to(tmp_path, mounts):
    link = tmp_path / "link"
    link.symlink_to("/net/there")

    assert network_type(link / "sessions.db", mounts=mounts) == "nfs4"


def test_where_nobody_knows_the_mounts_any_place_is_taken_as_local(tmp_path):
    assert network_type(tmp_path / "sessions.db", mounts=tmp_path / "missing") is None


def test_this_very_folder_is_on_no_network(tmp_path):
    assert network_type(tmp_path) is None

"""Which file system a path is on, as far as Linux says."""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORKED = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs"}
) | {
    *("nfs", "nfs4", "orangefs", "smb", "smb2", "smb3", "smbfs"),
    *("fuse.ceph", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
}


def network_type(path: Path, *, mounts: Path = MOUNTS) -> str | None:
    """The kind of network file system that `path` is on; None if it is on a local one, or nobody knows."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        whole = path.resolve()
    except (OSError, RuntimeError):
        return None
    found, deepest = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) < 5 or not after:
            continue
        place = Path(_unescaped(words[4]))
        # Of mounts at one place the last one is on top.
        if len(place.parts) >= deepest and whole.is_relative_to(place):
            found, deepest = after.split()[0], len(place.parts)
    return found if found in NETWORKED else None


def _unescaped(text: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text

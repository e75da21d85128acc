"""What a shell sees in bubblewrap: the system to read, its own folder to write, and nobody else.

Users, processes, network, IPC, host name, cgroups and mounts are namespaces of its own. Nothing of the
machine is shown but `/usr`, what of `/etc` programs cannot do without, and what the operator mounts.
"""

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from eai_mcp.terminal import Limits, launcher
from eai_mcp.terminal.places import Place

UID = "1000"
WORK, SCRIPTS, STATE = "/work", "/run/eai/scripts", "/run/eai/state"
SHM_MB = 64
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Not the whole of ssl and pki, which hold private keys too.
# fmt: off
READ_IN_ETC = (
    "alternatives", "bash_completion.d", "ca-certificates", "ca-certificates.conf", "crypto-policies",
    "debian_version", "fonts", "host.conf", "hosts", "inputrc", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "localtime", "magic", "magic.mime", "mime.types", "networks", "nsswitch.conf",
    "os-release", "perl", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf",
    "protocols", "rpc", "services", "shells", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo",
    "timezone",
)
# fmt: on
PATTERNS_IN_ETC = ("python3*", "java-*")
OWN_IN_ETC = {
    "passwd": f"eai:x:{UID}:{UID}::{WORK}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    "group": f"eai:x:{UID}:\nnogroup:x:65534:\n",
}
NETWORK_IN_ETC = ("gai.conf", "resolv.conf")
# Mounts in there would hide, or be hidden by, what a sandbox is made of.
TAKEN = ("/", "/dev", "/proc", "/run", "/sys", WORK, "/run/eai")


def furnished(etc: Path) -> None:
    """Write the files that stand in for the system's own, in a folder that there is."""
    for name, text in OWN_IN_ETC.items():
        beside = etc / f".{name}"
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(etc / name)


def command(
    program: Sequence[str],
    place: Place,
    *,
    bwrap: str,
    bash: str,
    etc: Path,
    network: bool,
    mounts: Sequence[tuple[Path, bool]],
    limits: Limits,
) -> list[str]:
    """The words that run `program` in there; a mount is a path and whether it may be written."""
    words = [
        bwrap,
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    words += [] if network else ["--unshare-net"]
    words += ["--disable-userns", "--die-with-parent", "--uid", UID, "--gid", UID, "--hostname", "terminal"]
    words += _system(etc, network=network)
    # bwrap covers what it may not write itself, but not the settings in /proc/sys of its own namespaces.
    words += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    words += ["--perms", "1777", "--size", str(SHM_MB << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += ["--perms", "1777", "--size", str(limits.file_mb << 20), "--tmpfs", "/tmp"]
    words += ["--perms", "0755", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]
    for path, writable in mounts:
        words += ["--bind" if writable else "--ro-bind", str(path), str(path)]
    words += ["--bind", str(place.work), WORK]
    words += ["--ro-bind", str(place.scripts), SCRIPTS, "--bind", str(place.state), STATE]
    words += ["--remount-ro", "/", "--chdir", WORK]
    # In there, where only this terminal's processes count, and not those that the user has outside.
    most = launcher.bounded(limits.processes, resource.getrlimit(resource.RLIMIT_NPROC)[1])
    bounded = f'ulimit -u {most} && exec "$@"'
    return [*words, bash, "--noprofile", "--norc", "-c", bounded, "bash", *program]


def _system(etc: Path, *, network: bool) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in LINKS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    shown = [Path("/etc", name) for name in (*READ_IN_ETC, *(NETWORK_IN_ETC if network else ()))]
    shown += [path for pattern in PATTERNS_IN_ETC for path in Path("/etc").glob(pattern)]
    for path in shown:
        if path.exists():
            yield from ("--ro-bind", str(path), str(path))
    for name in OWN_IN_ETC:
        yield from ("--ro-bind", str(etc / name), f"/etc/{name}")

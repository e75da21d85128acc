"""What programs in the sandbox try in order to get out of it, each in a real one."""

import ctypes
import os
import platform
import select
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from eai_mcp.terminal import launcher
from tests.terminal.shells import ROOT, SMALL, Shell, marked, prepared, ran, sandbox

SECRET = "sk-this-is-the-key"
PERL_UNIX = """perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0);
print connect(S, pack("S", AF_UNIX) . "\\0NAME") ? "reached\\n" : "unix: $!\\n"'"""


@pytest.fixture
def mark(folder):
    return f"mark-{folder.name}"


@pytest.fixture
def inside(folder, mark):
    """Runs a script in a confined shell of its own, and gives what it printed."""

    def run(script, **choices):
        made = sandbox(folder / "terminals", "required", mark, OPENAI_API_KEY=SECRET, **choices)
        return ran(prepared(made), script)[0]

    return run


def written(path, mode):
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(mode)
    return path


def test_no_key_is_in_an_environment_or_in_proc(inside, mark):
    """Issue 7: "Escape attempts from inside (read a key from the environment or `/proc` …) fail"."""
    environ = {"OPENAI_API_KEY": SECRET, "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "1000"], env=environ) as server:
        text = inside(
            "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls -d /proc/[0-9]*;"
            f"cat /proc/{server.pid}/environ; ls -l /proc/{server.pid}/cwd /proc/{os.getpid()}/root"
        )
        server.kill()

    assert mark in text
    assert SECRET not in text
    assert f"/proc/{server.pid}/environ: No such file" in text
    processes = [line for line in text.splitlines() if line.startswith("/proc/") and line[6:].isdigit()]
    assert len(processes) < 8


@pytest.mark.skipif(launcher.KEYCTL is None, reason="the number of the call is not known here")
def test_no_key_is_in_a_keyring(inside):
    """Issue 7: "Escape attempts from inside the sandbox (read a key …) fail"."""
    libc = ctypes.CDLL(None, use_errno=True)
    add = {"x86_64": 248, "aarch64": 217}[platform.machine()]
    libc.syscall(launcher.KEYCTL, 1, None)
    if libc.syscall(add, b"user", b"eai", SECRET.encode(), len(SECRET), -3) < 0:
        pytest.skip("this kernel keeps no keys for us")
    search = f'print syscall({launcher.KEYCTL}, 10, -3, my $t="user", my $n="eai", 0), "\\n"'

    assert libc.syscall(launcher.KEYCTL, 10, -3, b"user", b"eai", 0) > 0
    assert inside(f"perl -e '{search}'").split() == ["-1"]


def test_nothing_of_the_server_and_of_other_terminals_can_be_read(folder, inside, mark):
    """Issue 7: "only the work directory writable", and nothing else of ours to be seen."""
    other = prepared(sandbox(folder / "terminals", "required", mark), "other")
    paths = [
        written(folder / "store" / "sessions.db", 0o600),
        written(folder / "store" / "exported.json", 0o644),
        other.cwd / "mine",
        Path("/etc/shadow"),
        Path("/root/.bashrc"),
        Path("/var/log"),
        Path.cwd() / "pyproject.toml",
    ]
    (other.cwd / "mine").write_text(SECRET, encoding="utf-8")
    (other.cwd / "mine").chmod(0o666)
    text = inside(
        "".join(f"cat {path}; cat /proc/1/root{path}; ls -d {path.parent};" for path in paths)
        + f"ls / /home /root; grep -r {SECRET[:8]} /tmp /run /etc /var /work 2>/dev/null"
    )
    other.release()

    assert SECRET not in text
    assert text.count("No such file or directory") >= 2 * len(paths)
    assert not {"home", "root", "srv", "mnt", "sys"} & set(text.split())


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/usr/x",
        "/usr/bin/env",
        "/etc/x",
        "/etc/passwd",
        "/run/x",
        "/run/eai/x",
        "/run/eai/scripts/rc",
        "/var/x",
    ],
)
def test_nothing_outside_of_the_work_directory_can_be_written(inside, path):
    """Issue 7: "Escape attempts from inside the sandbox (… write outside …) fail"."""
    text = inside(f"echo x >> {path} && echo written; rm -f {path} && test -e {path} && echo kept")

    assert "written" not in text


def test_work_directory_and_temporary_folders_can_be_written(folder, inside):
    """Issue 7: "only the work directory writable"."""
    for place in ("/work", "/tmp", "/var/tmp", "/dev/shm", "/run/eai/state", "$HOME", "."):
        assert "written" in inside(f"echo x > {place}/x && chmod 700 {place}/x && echo written")
    made = sandbox(folder / "terminals", "required", "mark")
    assert (made.folder("", "one") / "x").exists()


def reaching(stack):
    """Listeners of the host on loopback and on a name without a file, and what reaches each."""
    name = f"eai-{os.getpid()}"
    tries = {}
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("::1", 0)),
        (socket.AF_UNIX, f"\0{name}"),
    ):
        try:
            listener = stack.enter_context(socket.socket(family))
            listener.bind(address)
        except OSError:  # the machine has no such loopback
            continue
        listener.listen()
        if family is socket.AF_UNIX:
            tries[listener] = PERL_UNIX.replace("NAME", name)
        else:
            host, port = listener.getsockname()[:2]
            tries[listener] = f"(echo hello > /dev/tcp/{host}/{port}) && echo reached"
    return tries


@pytest.mark.parametrize("network", [False, True])
def test_loopback_is_reached_only_if_the_network_is_allowed(inside, network):
    """Issue 7: "Escape attempts from inside the sandbox (… reach loopback or the network …) fail"."""
    with ExitStack() as stack:
        tries = reaching(stack)
        text = inside("\n".join(tries.values()), network=network)
        called, _, _ = select.select(list(tries), [], [], 0)

        assert (text.count("reached\n"), len(called)) == ((len(tries), len(tries)) if network else (0, 0))


def test_network_and_names_are_out_of_reach(inside):
    """Issue 7: "no network unless allowed"."""
    text = inside(
        "for to in tcp/192.0.2.1/80 udp/192.0.2.1/53; do (echo x > /dev/$to) && echo reached; done;"
        "getent hosts example.com && echo named; cat /proc/net/dev; ls /etc/resolv.conf"
    )

    assert "reached" not in text
    assert "named" not in text
    assert text.count("connect: Network is unreachable") == 2
    assert [line.split()[0] for line in text.splitlines() if len(line.split()) == 17] == ["lo:"]
    assert "cannot access '/etc/resolv.conf'" in text


def test_there_are_no_rights_to_be_had(inside):
    """Issue 7: "drop to an unused uid first": no set-uid program leads back, and there is no capability."""
    text = inside(
        "grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status;"
        "echo | setsid -w su -c id; echo | setsid -w newgrp root -c id; chroot / id; mknod /tmp/d b 8 0;"
        "mount -t tmpfs none /tmp; mount --bind /usr /work; umount /work; umount -l /proc; swapoff -a;"
        "cp /usr/bin/id /work/id && chmod u+s /work/id; hostname other; id -u"
    )

    shown = [line.split()[-1] for line in text.splitlines() if line.startswith(("Cap", "NoNew"))]
    assert shown == [*["0" * 16] * 4, "1"]
    assert "uid=0" not in text
    assert "euid" not in text
    assert text.splitlines()[-1] == "1000"


@pytest.mark.parametrize("how", ["-U", "-Ur", "-Urm", "-Urn", "-m", "-n", "-p"])
def test_no_further_namespace_can_be_made(inside, how):
    """Issue 7: "own namespaces"; one within would have capabilities, and a larger kernel to attack."""
    assert "made" not in inside(f"unshare {how} sh -c 'echo made; mount --bind /usr /work'")


def test_processes_outside_can_be_neither_seen_nor_signalled(inside):
    """Issue 7: "Escape attempts from inside the sandbox … fail"."""
    with subprocess.Popen(["sleep", "1000"]) as server:
        text = inside(
            f"kill -0 {server.pid} && echo signalled; kill -9 {server.pid};"
            f'perl -e \'print syscall(101, 16, {server.pid}, 0, 0) == 0 ? "traced" : "not"\';'
            f"ls /proc/{server.pid}; (trap '' TERM; kill -9 -1); echo still"
        )
        assert server.poll() is None
        server.kill()

    assert "signalled" not in text
    assert "traced" not in text


def test_links_lead_nowhere_else(folder, inside):
    """Issue 7: "only the work directory writable": what is linked in there is not in there."""
    secret = written(folder / "store" / "secret", 0o644)
    text = inside(
        f"ln -s {secret} a; cat a; ln -s /etc/shadow b; cat b; ln -s / root; cat root{secret};"
        f"for of in /usr/bin/su /etc/passwd {secret} /run/eai/scripts/rc; do ln $of hard && echo linked; done"
    )

    assert SECRET not in text
    assert "linked" not in text


def test_what_is_typed_into_the_own_terminal_is_read_by_nobody_else(folder, inside):
    """Issue 7: "Escape attempts from inside the sandbox … fail": TIOCSTI types into a terminal."""
    typed = folder / "typed"
    folder.chmod(0o777)
    text = inside(
        f'perl -e \'for (split //, "touch {typed}\\n") {{ ioctl(STDIN, 0x5412, $_) or die "TIOCSTI: $!" }}\';'
        "ls -l /dev/pts; exit"
    )

    assert not typed.exists()
    assert not [line for line in text.splitlines() if line.startswith("c") and not line.endswith("ptmx")]


@pytest.mark.parametrize("mode", ["required", "off"])
def test_number_of_processes_is_bounded(folder, mark, mode):
    """Issue 7: "limits on CPU, memory, processes, files"; RLIMIT_NPROC does not bind root."""
    made = sandbox(folder, mode, mark, limits=replace(SMALL, processes=20))
    before = launcher.tasks_of(os.getuid())
    text, _ = ran(
        prepared(made),
        "perl -e 'while (1) { my $p = fork; last unless defined $p; unless ($p) { sleep 1000; exit } $n++ }"
        ' print "made $n\\n"; kill 9, -getpgrp\'',
    )

    # Without a user id and a namespace of its own, others of the user may come and go meanwhile.
    spare = 0 if ROOT or mode == "required" else before
    assert 5 <= int(text.partition("made ")[2].split()[0]) <= 20 + spare
    assert marked(mark) == set()


@pytest.mark.parametrize("mode", ["required", "off"])
def test_memory_of_a_process_is_bounded(folder, mark, mode):
    """Issue 7: "limits on CPU, memory, processes, files"."""
    made = sandbox(folder, mode, mark, limits=replace(SMALL, memory_mb=64))
    text, code = ran(
        prepared(made),
        "perl -e '$n = 20 << 20; $x = q(a) x $n; print qq(small\\n)';"
        "perl -e '$n = 200 << 20; $x = q(a) x $n; print qq(large\\n)'; exit 5",
    )

    assert ("small\n" in text, "large\n" in text, code) == (True, False, 5)


@pytest.mark.parametrize("mode", ["required", "off"])
def test_size_of_a_file_is_bounded(folder, mark, mode):
    """Issue 7: "limits on CPU, memory, processes, files"."""
    made = sandbox(folder, mode, mark, limits=replace(SMALL, file_mb=2))
    ran(prepared(made), "head -c 5M /dev/zero > large; ulimit -c unlimited")

    assert (made.folder("", "one") / "large").stat().st_size == 2 << 20


def test_temporary_folders_are_bounded_together(folder, mark):
    """Issue 7: "limits on CPU, memory, processes, files": what lies in memory is a limit of the terminal."""
    made = sandbox(folder, "required", mark, limits=replace(SMALL, file_mb=2))
    text, _ = ran(
        prepared(made), "for n in 1 2 3; do head -c 1M /dev/zero > /tmp/$n; done; df -m / /dev | tail -2"
    )

    assert text.count("No space left on device") == 1


@pytest.mark.parametrize("mode", ["required", "off"])
def test_time_on_the_processor_is_bounded(folder, mark, mode):
    """Issue 7: "limits on CPU, memory, processes, files"."""
    made = sandbox(folder, mode, mark, limits=replace(SMALL, cpu_s=1))
    text, _ = ran(prepared(made), "perl -e '1 while 1'; echo ended $?")

    assert "ended 152" in text  # 128 and SIGXCPU


@pytest.mark.parametrize("mode", ["required", "off"])
def test_limits_cannot_be_raised(folder, mark, mode):
    """Issue 7: "limits on CPU, memory, processes, files"."""
    text, _ = ran(
        prepared(sandbox(folder, mode, mark)),
        "for of in t d u f n c; do ulimit -H$of unlimited 2>/dev/null && echo raised $of; done; echo done",
    )

    assert text == "done\n"


def test_there_are_no_disks_and_no_way_into_the_kernel(inside):
    """Issue 7: "read-only system"."""
    text = inside(
        "find /dev -type b; ls /dev/mem /dev/kmsg /dev/fuse /dev/kvm /sys; head -c 16 /proc/kcore | wc -c;"
        "echo x > /proc/sys/kernel/hostname && echo set; echo h > /proc/sysrq-trigger && echo set;"
        "echo 0 > /proc/sys/vm/drop_caches && echo set; echo -1000 > /proc/self/oom_score_adj && echo set;"
        "find /proc/sys -writable 2>/dev/null | head -3; dmesg -C && echo set; date -s 2000-01-01 && echo set"
    )

    assert "set\n" not in text
    assert not [line for line in text.splitlines() if line.startswith(("/dev/", "/proc/sys/"))]
    assert text.count("No such file or directory") >= 5


def test_shell_in_the_sandbox_has_its_own_view_of_who_and_where_it_is(inside):
    text = inside(
        "id -un; hostname; pwd; echo ~; cat /etc/passwd | wc -l; ulimit -c; find / -xdev -user 0 | wc -l"
    )

    assert text.split() == ["eai", "terminal", "/work", "/work", "2", "0", "0"]


def test_shell_is_ended_with_what_it_runs_while_it_is_full(folder, mark):
    """Issue 7: "a fork bomb … bounded", in a terminal whose output nobody reads."""
    with Shell(prepared(sandbox(folder, "required", mark))) as shell:
        shell.feed("echo ready; yes | head -c 100M; sleep 1000")
        shell.until("ready")

    assert marked(mark) == set()

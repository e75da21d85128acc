"""Starts a terminal's shell with few rights, and ends all that it left when the shell or the server ends.

`launcher.py JSON`, with what `main` takes. It is run by its path and imports nothing of ours.

    server → leash → bwrap → bash       with bubblewrap, whose own process namespace ends with it
    server → leash → leash → bash       without: each leash inherits the orphans below it, and ends them

A parent-death signal would not do for the server: it comes when the *thread* that started us ends, and that
is a worker's. So a leash holds a descriptor of the server's process and waits for that. There are two without
bubblewrap, so that ending either one with KILL leaves nothing behind. Where the shell has a user id of its
own the leash keeps ours, out of the reach of what it holds.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

PDEATHSIG, NO_NEW_PRIVS, CHILD_SUBREAPER = 1, 38, 36  # of prctl(2)
JOIN_SESSION_KEYRING = 1  # of keyctl(2), whose number is:
KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
CANNOT_RUN, CUT_OFF = 127, 128 + signal.SIGKILL
NICE = 10  # programs give way to the server and to the leash, which end them
UNAIDED_S = 0.3  # so long the kernel may need to end what one signal ends
LOOK_AGAIN_S = 0.002
ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
# End all in `SOON_S`, unless told not to. Other programs ignore both.
END_SOON, END_NOT = signal.SIGURG, signal.SIGWINCH
SOON_S = 0.6
LINUX = sys.platform == "linux"
# Without a descriptor that tells of the server's end, it is looked for so often.
LOOK_S = 0.25
_libc = ctypes.CDLL(None, use_errno=True)


def main(
    *,
    command: list[str],
    parent: int,
    uid: int | None,
    confined: bool,
    limits: Mapping[str, tuple[int, int]],
    tasks: int | None,
) -> int:
    """The exit status of `command`, 128 and the signal if one ended it; nothing it started is left by then.

    `parent` is the server. `uid` is who the command runs as, None for who we are. `limits` are soft and hard,
    by the name of the rlimit. `tasks` may be added to those that the user has; None does not bound them.
    """
    if uid is not None and os.isatty(0):
        os.fchown(0, uid, uid)  # else it could not open /dev/stdout

    def shell() -> None:
        _limit({**limits, **_for_tasks(tasks, uid)})
        _drop(uid)
        _become(command)

    def held() -> None:
        os.setpgid(0, 0)
        os._exit(leashed(shell, parent=front, uid=uid))

    front = os.getpid()
    return leashed(shell if confined or not LINUX else held, parent=parent, uid=uid, whole=confined)


def leashed(start: Callable[[], None], *, parent: int, uid: int | None, whole: bool = False) -> int:
    """The exit status of a process that calls `start`, when it has ended or our parent has.

    `whole` says that all below that process ends with it.
    """
    wakes = _wakes()
    if LINUX:
        _prctl(CHILD_SUBREAPER, 1)
        with suppress(OSError):  # only root may; a fork bomb would keep us waiting for seconds
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    child = os.fork()
    if child == 0:
        try:
            start()
        except OSError as error:
            print(f"error: the shell cannot be started: {error}", file=sys.stderr)  # noqa: T201  # it is read
        os._exit(CANNOT_RUN)
    status = _watched(child, parent, wakes)
    _end_all(uid, whole=whole)
    return status


def descendants(of: int, parents: Mapping[int, int]) -> set[int]:
    """All below process `of`, where `parents` names the parent of each process."""
    found: set[int] = set()
    fresh = {of}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found - {of}
        found |= fresh
    return found


def bounded(wanted: int, hard: int) -> int:
    """A limit that may be set: not above the hard one that we have."""
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def parents() -> dict[int, int]:
    """The parent of each process that there is."""
    if not LINUX:
        with os.popen("/bin/ps -axo pid=,ppid=") as listed:
            return {int(pid): int(parent) for pid, parent in (line.split() for line in listed)}
    found = {}
    for pid in processes():
        with suppress(OSError, LookupError):  # it ended
            # The name in front may hold blanks and parentheses.
            found[pid] = int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    return found


def tasks_of(uid: int) -> int:
    """How many processes and threads the user has, which is what RLIMIT_NPROC counts."""
    count = 0
    for pid in processes():
        with suppress(OSError, LookupError):
            lines = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/status").splitlines())
            count += int(lines[b"Threads"]) if int(lines[b"Uid"].split()[0]) == uid else 0
    return count


def processes() -> Sequence[int]:
    """The numbers of all processes, as far as the system tells."""
    with suppress(OSError), os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]
    return []


def _read(path: str) -> bytes:
    # Without pathlib, which is a tenth of what each leash weighs.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _wakes() -> int:
    """A descriptor from which the number of each signal that comes can be read."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*ENDING, END_SOON, END_NOT, signal.SIGCHLD):
        signal.signal(number, _noted)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return reading


def _noted(number: int, frame: object) -> None:
    """The byte in the pipe says it."""


def _watched(child: int, parent: int, wakes: int) -> int:
    """The exit status of `child`, or that of a process that was killed once we shall end or are alone."""
    watched = [wakes, *_ending_of(parent)]
    ends_at = math.inf
    # Looked at after the descriptor was opened: it may be that of a later process with the same number.
    while os.getppid() == parent and (left := ends_at - time.monotonic()) > 0:
        most = math.inf if watched[1:] else LOOK_S
        ready, _, _ = select.select(watched, [], [], None if left == most else min(left, most))
        heard = os.read(wakes, 4096) if wakes in ready else b""
        if ENDING & set(heard):
            break
        ends_at = _ends_at(heard, ends_at)
        for pid, status in _ended():
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
    _signal([child], signal.SIGKILL)
    return CUT_OFF


def _ends_at(heard: bytes, before: float) -> float:
    """When all is to be ended, after these signals, of which nobody knows the order."""
    if END_NOT in heard:
        return math.inf
    return time.monotonic() + SOON_S if END_SOON in heard else before


def _ending_of(parent: int) -> list[int]:
    """A descriptor that can be read once the process has ended, where there is such a thing."""
    if sys.platform == "linux":
        with suppress(OSError):
            return [os.pidfd_open(parent)]
    return []


def _ended() -> Iterable[tuple[int, int]]:
    """Each child that has ended, the adopted ones too, with its status."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _end_all(uid: int | None, *, whole: bool) -> None:
    """Kill whatever is below us, and whatever runs as `uid`, until nothing is left of it.

    Where one signal ends all of them, each is looked for only if that did not help: with a fork bomb in all
    cores a look at all processes takes seconds.
    """
    aided = uid is None and not whole
    while True:
        if uid is not None:
            _kill_all_of(uid)
        if aided:
            _kill_below()
        if _alone(LOOK_AGAIN_S if aided else UNAIDED_S):
            return
        aided = True


def _alone(within_s: float) -> bool:
    """Whether no child is left in time, of ours or adopted."""
    until = time.monotonic() + within_s
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                select.select([], [], [], LOOK_AGAIN_S)
        return False
    return True


def _kill_below() -> None:
    """Stop them all before the first is killed: a fork bomb would fill its place at once."""
    stopped: set[int] = set()
    while fresh := descendants(os.getpid(), parents()) - stopped:
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
    _signal(stopped, signal.SIGKILL)


def _kill_all_of(uid: int) -> None:
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            _drop(uid)
            os.kill(-1, signal.SIGKILL)  # all that this user may signal, but for itself
        os._exit(0)
    os.waitpid(child, 0)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):  # it ended, or is not ours to kill
            os.kill(pid, number)


def _for_tasks(tasks: int | None, uid: int | None) -> dict[str, tuple[int, int]]:
    if tasks is None:
        return {}
    # The kernel counts all that the user has, and a user id of one's own has nothing.
    most = tasks + (tasks_of(os.getuid()) if uid is None else 0)
    return {"NPROC": (most, most)}


def _limit(limits: Mapping[str, tuple[int, int]]) -> None:
    for name, (soft, hard) in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        most = bounded(hard, resource.getrlimit(number)[1])
        resource.setrlimit(number, (min(soft, most), most))


def _drop(uid: int | None) -> None:
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)  # all three of each, since we are root
        os.setuid(uid)


def _become(command: list[str]) -> None:
    """Be the command, as the job in the foreground of our terminal."""
    leash = os.getppid()
    os.setpgid(0, 0)
    if os.isatty(0):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.nice(NICE)
    if LINUX:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        _prctl(NO_NEW_PRIVS, 1)
        if KEYCTL is not None:
            _libc.syscall(KEYCTL, JOIN_SESSION_KEYRING, None)  # else the server's keys would be ours
        with suppress(OSError):
            os.write(
                os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC), b"1000"
            )  # not the server
        _prctl(PDEATHSIG, signal.SIGKILL)
        if os.getppid() != leash:
            return
    os.execv(command[0], command)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    os._exit(main(**json.loads(sys.argv[1])))

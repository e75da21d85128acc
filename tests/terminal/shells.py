"""Shells of real sandboxes in real PTYs, without what the package reads and writes them with.

As a program, `shells.py FOLDER MODE MARK SCRIPT`, it is a server that may be killed: it starts a shell,
feeds it the script, repeats what the shell prints, and waits.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import anyio
from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # it has no types

from eai_mcp.terminal import Limits
from eai_mcp.terminal.sandbox import Confinement, Launch, Mode, Mount, Sandbox

ROOT = os.geteuid() == 0
LIMIT_S = 15.0
RC = "unset HISTFILE; PS1= PS2=\n"
SMALL = Limits(cpu_s=60, memory_mb=256, processes=64, file_mb=8, open_files=64)


def sandbox(
    folder: Path,
    mode: Mode,
    mark: str,
    *,
    network: bool = False,
    mounts: Iterable[Mount] = (),
    limits: Limits = SMALL,
    **environ: str,
) -> Sandbox:
    """A sandbox whose every process has `mark` in its environment, so that it can be found."""
    return Sandbox(
        Confinement(folder=folder, mode=mode, network=network, mounts=tuple(mounts), passed=("MARK",)),
        limits=limits,
        environ={"PATH": os.environ["PATH"], "MARK": mark, **environ},
    )


def prepared(made: Sandbox, pty_session_id: str = "one") -> Launch:
    async def prepare() -> Launch:
        return await made.prepared("", pty_session_id, rc=RC)

    return anyio.run(prepare)


def marked(mark: str) -> set[int]:
    """The processes that have it in their environment, but for those that have ended."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found - {os.getpid()}


def all_end(mark: str) -> bool:
    """Whether all of them end in time; it is their ends that we wait for."""
    deadline = time.monotonic() + LIMIT_S
    while pids := marked(mark):
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                ended, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
                os.close(descriptor)
                if not ended:
                    return False
    return True


class Shell:
    """A shell that was started by a thread which has ended."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.text = ""
        started: list[PtyProcess] = []

        def start() -> None:
            started.append(
                PtyProcess.spawn(
                    list(launch.argv), cwd=str(launch.cwd), env=launch.env, echo=False, dimensions=(50, 200)
                )
            )

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        (self.process,) = started
        self.process.delayafterclose = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.process.closed:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
            self.end()

    def type(self, keys: str) -> None:
        os.write(self.process.fd, keys.encode())

    def feed(self, script: str) -> None:
        """Let the shell read the script from a file."""
        path = self.launch.scripts / "script"
        path.write_text(script, encoding="utf-8")
        path.chmod(0o644)
        self.type(f". {self.launch.scripts_inside}/script\n")

    def until(self, text: str) -> str:
        """What was printed, which has `text` in it by then."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.text:
            assert self._more(deadline), self.text
        return self.text

    def end(self) -> int:
        """The exit status: that of a shell that was ended by signal n is 128 + n."""
        deadline = time.monotonic() + LIMIT_S
        while self._more(deadline):
            pass
        self.process.wait()
        self.process.close()
        self.launch.release()
        if self.process.signalstatus is not None:
            return 128 + int(self.process.signalstatus)
        return int(self.process.exitstatus)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.process.fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more in time after {self.text!r}"
        try:
            read = os.read(self.process.fd, 65536)
        except OSError:  # the end, on Linux
            return False
        self.text += read.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(read)


def ran(launch: Launch, script: str) -> tuple[str, int]:
    """What the script prints, and the exit status of the shell that ends with it."""
    with Shell(launch) as shell:
        shell.feed(f"{script}\nexit\n")
        code = shell.end()
        return shell.text, code


def main(folder: str, mode: Mode, mark: str, script: str) -> None:
    with Shell(prepared(sandbox(Path(folder), mode, mark))) as shell:
        shell.feed(script)
        print(shell.until("ready"), flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], "off" if sys.argv[2] == "off" else "auto", *sys.argv[3:])

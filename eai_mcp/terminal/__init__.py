"""Terminals: a PTY with a shell each, by `pty_session_id`, made on first use and gone with the server.

    Terminals   all of one process; a terminal or a task belongs to the process that made it
    Terminal    one shell in its sandbox; cwd, environment and functions last from script to script
    Run         one script: its exit code, its output, whether it waits to be typed to

`sandbox` says how a shell is started, and with what rights.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

RunStatus: TypeAlias = Literal["running", "exited", "interrupted", "lost"]
"""`lost`: the shell was reset, reaped or killed under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the programs in one terminal may take, and how much of them is kept.

    `cpu_s`, `memory_mb`, `file_mb` and `open_files` hold for each process, `processes` for the terminal.
    `spill_mb` of a run's output are kept, the newest; of a terminal's runs that ended, the last `runs`. A
    terminal that is neither used nor printing for `idle_s` is closed. `terminals` are open at once.
    """

    cpu_s: int = 600
    memory_mb: int = 2048
    processes: int = 256
    file_mb: int = 1024
    open_files: int = 1024
    spill_mb: int = 64
    runs: int = 16
    idle_s: float = 1800.0
    terminals: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a run's output as a terminal shows it, from byte `offset` to `next_offset` of `total`.

    Bytes are those that the programs wrote. The first `dropped` of them are not kept any more.
    """

    text: str
    offset: int
    next_offset: int
    total: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a terminal stands; `task_id` and `running_s` of the run that is under way, if one is."""

    pty_session_id: str
    alive: bool
    task_id: str | None
    running_s: float | None
    waiting_for_input: bool
    idle_s: float

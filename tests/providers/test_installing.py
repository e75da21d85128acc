"""What pip and uv are told, and what their words mean."""

import errno
import os
import sys
from pathlib import Path

import anyio
import pytest

from eai_mcp.errors import CallTimeout, ConfigError, StorageFull, Unavailable
from eai_mcp.providers import installing, leash

TARGET, PINS = Path("/room/target"), Path("/room/pin.txt")


async def unheard(size):
    pass


def test_pip_checks_the_hash_and_takes_no_dependencies_and_no_source():
    words = installing.command(TARGET, PINS)

    assert list(words[:5]) == [sys.executable, "-P", "-m", "pip", "install"]
    assert {"--no-deps", "--require-hashes", "--no-input", "--quiet"} < set(words)
    assert list(words[words.index("--only-binary") :][:2]) == ["--only-binary", ":all:"]
    assert list(words[words.index("--target") :][:4]) == ["--target", str(TARGET), "--requirement", str(PINS)]


def test_uv_is_used_where_there_is_no_pip():
    words = installing.command(
        TARGET, PINS, find=lambda name: None, which=lambda name: f"/bin/{name}", environ={}
    )

    assert list(words[:3]) == ["/bin/uv", "pip", "install"]
    assert {"--no-deps", "--require-hashes", "--quiet", "--no-cache"} < set(words)
    assert list(words[-2:]) == ["--python", sys.executable]


def test_uv_is_found_where_it_says_it_is_and_where_it_installs_itself(tmp_path):
    asked = []

    def which(name, path=None):
        asked.append((name, path))

    for environ in ({"UV": "/opt/uv"}, {}):
        with pytest.raises(Unavailable):
            installing.command(TARGET, PINS, find=lambda name: None, which=which, environ=environ)
    assert [asked[0], asked[2]] == [("/opt/uv", None), ("uv", None)]
    assert asked[1][1].split(os.pathsep) == [str(Path.home() / ".local/bin"), str(Path.home() / ".cargo/bin")]


def test_without_pip_and_uv_the_repair_is_named():
    with pytest.raises(Unavailable, match=r"run `\S+ -m ensurepip`") as caught:
        installing.command(TARGET, PINS, find=lambda name: None, which=lambda name, path=None: None)
    assert not caught.value.retryable


NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("refused")': /simple/some/
ERROR: Could not find a version that satisfies the requirement some==1 (from versions: none)
ERROR: No matching distribution found for some==1
"""
NOT_THERE = """\
ERROR: Could not find a version that satisfies the requirement some==1 (from versions: 0.1, 0.2)
ERROR: No matching distribution found for some==1
"""
FORGED = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. Someone may have tampered with them.
    some==1:
        Expected sha256 00
             Got        11
"""
UV_NO_NETWORK = """\
error: Request failed after 3 retries in 7.1s
  cause: Failed to fetch: `some`
  cause: Connection refused (os error 111)
"""
UV_NOT_THERE = """\
error: No solution found when resolving dependencies
  cause: Because there is no version of some==1 and you require some==1, the requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("said", "retryable", "message"),
    [
        (NO_NETWORK, True, r"was not reached; .*try again \('NewConnectionError"),
        (UV_NO_NETWORK, True, r"was not reached; .*\(cause: Failed to fetch: `some`\)"),
        (NOT_THERE, False, r"does not have it \(ERROR: No matching distribution found for some==1\)"),
        (UV_NOT_THERE, False, r"does not have it \(error: No solution found"),
        (FORGED, False, r"another file than ours, which was not used \(ERROR: THESE PACKAGES DO NOT"),
        (
            "error: incomplete-download\nhint: Use --resume-retries",
            True,
            "broke off before its end; try again",
        ),
        ("  cause: Hash mismatch for `some==1`", False, "another file than ours"),
        ("ERROR: something new\n", True, r"\(ERROR: something new\)"),
        ("", True, r"\(it said nothing\)"),
    ],
)
def test_a_failure_says_why_and_whether_to_try_again(said, retryable, message):
    error = installing.failure("some==1", said)

    assert isinstance(error, Unavailable)
    assert error.retryable is retryable
    assert error.message.startswith("could not download some==1: ")
    with pytest.raises(Unavailable, match=message):
        raise error


@pytest.mark.parametrize("sign", ["[Errno 28] No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_told_apart(sign):
    assert isinstance(installing.failure("some==1", f"ERROR: Could not install: {sign}"), StorageFull)


def test_a_long_line_is_cut():
    assert len(installing.failure("some==1", "x" * 5000).message) < 500


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EROFS, ConfigError)])
def test_what_goes_wrong_while_writing_is_about_the_cache_folder(number, kind):
    with pytest.raises(kind, match="cache folder"), installing.writing(Path("cache")):
        raise OSError(number, "words of the system")


async def test_an_installer_that_takes_too_long_is_ended(tmp_path):
    def endless(target, pins):
        return [sys.executable, "-S", "-c", "import time; time.sleep(60)"]

    with pytest.raises(CallTimeout, match=r"some==1 was not downloaded within 0\.05 s"):
        await installing.install("some==1 --hash=x", tmp_path, unheard, build=endless, limit=0.05)


async def test_an_installer_that_cannot_be_run_is_named(tmp_path):
    def missing(target, pins):
        return [str(tmp_path / "no-such-program")]

    with pytest.raises(Unavailable, match=r"cannot run .*no-such-program: No such file") as caught:
        await installing.install("some==1 --hash=x", tmp_path, unheard, build=missing)
    assert not caught.value.retryable


async def test_an_installer_ends_with_whoever_started_it():
    """Issue 2: kill -9 of the server leaves no child process, also while it downloads."""
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    command = [sys.executable, "-P", leash.__file__, sys.executable, "-c", script]
    with anyio.fail_after(5):
        async with await anyio.open_process(command) as leashed:
            assert leashed.stdin is not None
            assert leashed.stdout is not None
            pid = int(await leashed.stdout.receive())
            await leashed.stdin.aclose()
            assert await leashed.wait() == 128 + 9
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

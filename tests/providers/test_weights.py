"""The weights: fetched once, checked always."""

import hashlib
import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from eai_mcp.errors import ConfigError, Unavailable
from eai_mcp.providers import weights

BYTES = b"GGUF" + bytes(1_500_000)
PIN = weights.Pin(
    name="Tiny-1M",
    alias="tiny",
    requirement="no-such-package==1.0",
    wheel_sha256="0" * 64,
    wheel_size=2_000_000,
    module="no_such_package_here",
    file="tiny.gguf",
    sha256=hashlib.sha256(BYTES).hexdigest(),
    size=len(BYTES),
)
RIGHT = "write(target / 'no_such_package_here' / 'tiny.gguf', b'GGUF' + bytes(1_500_000))"


class Heard(list[str]):
    async def __call__(self, text):
        self.append(text)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def installer(tmp_path):
    """Makes an installer of a few lines of Python, and counts how often it is used."""

    class Installer:
        uses = 0

        def __init__(self, lines):
            self.script = tmp_path / "installer.py"
            self.script.write_text(
                textwrap.dedent("""
                    import os, sys, time
                    from pathlib import Path
                    target = Path(sys.argv[1])
                    def write(path, content):
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content)
                """)
                + lines,
                encoding="utf-8",
            )

        def __call__(self, target, pins):
            self.uses += 1
            return [sys.executable, "-S", str(self.script), str(target), str(tmp_path)]

    return Installer


def left(cache):
    return sorted(path.name for path in (cache / "models").iterdir())


async def test_weights_are_fetched_once(tmp_path, heard, installer):
    install = installer(RIGHT)
    path = await weights.fetch(tmp_path / "cache", heard, pin=PIN, build=install)

    assert path.read_bytes() == BYTES
    assert path == PIN.kept(tmp_path / "cache") == weights.present(tmp_path / "cache", pin=PIN)
    assert await weights.fetch(tmp_path / "cache", heard, pin=PIN, build=install) == path
    assert install.uses == 1
    assert left(tmp_path / "cache") == [path.name]


async def test_size_and_source_are_said_first_then_how_far_it_is(tmp_path, installer):
    heard = []

    async def report(text):
        heard.append(text)
        if text == "fetching: 1 of 2 MB":
            (tmp_path / "go").touch()

    lines = "write(target / 'part', bytes(1_000_000))\n"
    lines += "while not (Path(sys.argv[2]) / 'go').exists(): time.sleep(0.01)\n" + RIGHT
    lines += "\nwrite(target / 'more', bytes(9_000_000))"
    await weights.fetch(tmp_path / "cache", report, pin=PIN, build=installer(lines), every=0.01)

    assert heard[0] == "fetching Tiny-1M, 2 MB, from the package index (once)"
    assert heard[-1] == "fetching: 2 of 2 MB"
    assert "fetching: 1 of 2 MB" in heard
    assert len(set(heard)) == len(heard)


async def test_the_installer_is_given_the_hash_and_a_temporary_folder_in_the_cache(
    tmp_path, heard, installer
):
    lines = "write(Path(sys.argv[2]) / 'seen', (target.parent / 'pin.txt').read_bytes())\n"
    lines += "assert Path(os.environ['TMPDIR']).parent == target.parent == Path.cwd(), os.environ\n"
    lines += "assert os.environ['PIP_INDEX_URL'] == 'https://mirror.example'\n" + RIGHT
    environ = {**os.environ, "PIP_INDEX_URL": "https://mirror.example"}
    await weights.fetch(tmp_path / "cache", heard, pin=PIN, build=installer(lines), environ=environ)

    assert (tmp_path / "seen").read_text() == f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n"


async def test_a_cache_folder_may_be_named_from_where_we_are(tmp_path, heard, installer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = await weights.fetch(Path("cache"), heard, pin=PIN, build=installer(RIGHT))

    assert path == PIN.kept(tmp_path / "cache")


async def test_a_package_with_another_file_is_not_used(tmp_path, heard, installer):
    lines = "write(target / 'no_such_package_here' / 'tiny.gguf', b'GGUF forged')"

    with pytest.raises(Unavailable, match=r"holds another tiny\.gguf than ours") as caught:
        await weights.fetch(tmp_path / "cache", heard, pin=PIN, build=installer(lines))
    assert not caught.value.retryable
    assert left(tmp_path / "cache") == []


async def test_a_package_without_the_file_is_not_used(tmp_path, heard, installer):
    with pytest.raises(Unavailable, match=r"left no tiny\.gguf; check pip's own settings"):
        await weights.fetch(tmp_path / "cache", heard, pin=PIN, build=installer(""))


async def test_a_folder_in_the_place_of_the_file_is_told_before_a_download(tmp_path, heard, installer):
    PIN.kept(tmp_path).mkdir(parents=True)

    with pytest.raises(ConfigError, match=rf"{PIN.kept(tmp_path).name} is in the way"):
        await weights.fetch(tmp_path, heard, pin=PIN, build=installer(RIGHT))


async def test_a_kept_file_with_a_wrong_hash_is_fetched_again(tmp_path, heard, installer):
    path = PIN.kept(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"GGUF" + bytes(1_499_999) + b"!")

    assert await weights.fetch(tmp_path, heard, pin=PIN, build=installer(RIGHT)) == path
    assert path.read_bytes() == BYTES


async def test_two_fetches_at_once_both_succeed(tmp_path, heard, installer):
    install = installer(RIGHT)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(lambda: weights.fetch(tmp_path / "cache", heard, pin=PIN, build=install))

    assert install.uses == 2
    assert left(tmp_path / "cache") == [f"{PIN.sha256}.gguf"]


@pytest.mark.parametrize("kept", [None, b"GGUF and no more"])
async def test_offline_names_the_command_that_fetches(tmp_path, heard, installer, kept):
    if kept is not None:
        PIN.kept(tmp_path).parent.mkdir()
        PIN.kept(tmp_path).write_bytes(kept)

    with pytest.raises(Unavailable, match=r"downloads are off: run `eai-mcp fetch`") as caught:
        await weights.fetch(tmp_path, heard, offline=True, pin=PIN, build=installer("raise SystemExit(1)"))
    assert not caught.value.retryable
    assert heard == []


async def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, heard, installer):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"cannot write to the cache folder .*file.models: .*EAI_MCP_CACHE"):
        await weights.fetch(tmp_path / "file", heard, pin=PIN, build=installer(RIGHT))


async def test_a_failed_download_leaves_nothing_behind(tmp_path, heard, installer):
    lines = "sys.stderr.write('ERROR: No matching distribution found\\n'); raise SystemExit(1)"

    with pytest.raises(Unavailable, match="does not have it"):
        await weights.fetch(tmp_path, heard, pin=PIN, build=installer(lines))
    assert left(tmp_path) == []


async def test_a_cancelled_download_ends_the_installer_and_leaves_nothing_behind(tmp_path, heard, installer):
    os.mkfifo(tmp_path / "started")
    lines = "open(Path(sys.argv[2]) / 'started', 'w').write(str(os.getpid()))\ntime.sleep(60)"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: weights.fetch(tmp_path, heard, pin=PIN, build=installer(lines)))
        with anyio.fail_after(5):
            pid = int(await to_thread.run_sync((tmp_path / "started").read_text, abandon_on_cancel=True))
        tasks.cancel_scope.cancel()

    assert left(tmp_path) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_killed_processes_left_behind_is_swept_after_a_day(tmp_path, heard, installer):
    models = tmp_path / "models"
    for name, age in (("old", 2 * 86_400), ("new", 60)):
        folder = models / f".fetch-{name}"
        folder.mkdir(parents=True)
        when = folder.stat().st_mtime - age
        os.utime(folder, (when, when))

    await weights.fetch(tmp_path, heard, pin=PIN, build=installer(RIGHT))
    assert left(tmp_path) == [".fetch-new", f"{PIN.sha256}.gguf"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A pin whose package is installed; its import would fail."""
    folder = tmp_path / "site" / "a_package_of_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('needs a compiler')")
    (folder / "tiny.gguf").write_bytes(BYTES)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return replace(PIN, module="a_package_of_weights")


async def test_the_file_of_an_installed_package_is_used(tmp_path, heard, package):
    expected = tmp_path / "site" / "a_package_of_weights" / "tiny.gguf"

    assert weights.present(tmp_path, pin=package) == expected
    assert await weights.fetch(tmp_path, heard, pin=package) == expected
    assert heard == []


async def test_another_version_of_an_installed_package_is_not_used(tmp_path, heard, installer, package):
    other = replace(package, sha256=hashlib.sha256(b"other").hexdigest(), size=5)
    lines = "write(target / 'a_package_of_weights' / 'tiny.gguf', b'other')"

    assert weights.present(tmp_path, pin=other) is None
    path = await weights.fetch(tmp_path, heard, pin=other, build=installer(lines))
    assert path == other.kept(tmp_path)


def test_a_package_without_the_file_is_as_good_as_none(tmp_path, package):
    assert weights.present(tmp_path, pin=replace(package, file="other.gguf")) is None


def test_only_a_file_that_begins_as_gguf_may_hold_weights(tmp_path):
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(b"GGUF...")
    bad.write_bytes(b"PK\3\4...")

    weights.check_gguf(good)
    with pytest.raises(ConfigError, match=r"bad\.gguf is not a GGUF file"):
        weights.check_gguf(bad)
    with pytest.raises(ConfigError, match=r"there is no weights file .*none\.gguf"):
        weights.check_gguf(tmp_path / "none.gguf")


def test_the_shipped_pin_is_whole():
    assert weights.SMOLLM2.megabytes == 93
    assert len(weights.SMOLLM2.sha256) == len(weights.SMOLLM2.wheel_sha256) == 64

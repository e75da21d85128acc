"""Whether a local model could answer, in words and without work."""

import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.providers import Parts, weights
from eai_mcp.providers.local_status import Interpreter, Status, missing, own_file, runtime_problem, status

DEFAULT = Model(name="local", provider="local", model="smollm2-135m")
PIN = "xllamacpp==2026.10.11549"  # what the extra `local` stands for in pyproject.toml
USUAL = Interpreter("linux-x86_64", "cpython-311-x86_64-linux-gnu", free_threaded=False)


def no_client():
    raise AssertionError("nothing is asked over the network")


def parts(cache, **fields):
    return Parts(environ={}, client=no_client, closing=AsyncExitStack(), cache=cache, **fields)


def have(*names):
    return lambda name: name if name in names else None


def test_a_runtime_that_is_there_is_no_problem_on_any_platform():
    musl = Interpreter("linux-x86_64", "cpython-311-x86_64-linux-musl", free_threaded=True)
    assert runtime_problem(interpreter=musl, find=have("xllamacpp")) is None


def test_a_missing_extra_names_the_command_for_this_interpreter():
    problem = runtime_problem(interpreter=USUAL, find=have("pip"))

    command = f"{sys.executable} -m pip install {PIN}"
    assert problem == Status(
        "extra_missing", f"local models need an extra: run `{command}`, or name another model"
    )


def test_without_pip_the_command_is_one_of_uv():
    problem = runtime_problem(find=have(), which=str)

    assert problem is not None
    assert f"`uv pip install --python {sys.executable} {PIN}`" in problem.text


def test_without_pip_and_uv_pip_comes_first():
    problem = runtime_problem(find=have(), which=lambda name: None)

    assert problem is not None
    commands = f"`{sys.executable} -m ensurepip` and then `{sys.executable} -m pip install {PIN}`"
    assert commands in problem.text


@pytest.mark.parametrize(
    ("model", "words"),
    [("~nobody-of-that-name/x.gguf", "no such home folder"), ("/tmp/a\0b.gguf", "no weights file")],
)
def test_a_path_that_cannot_be_one_is_a_state_like_any_other(tmp_path, model, words):
    entry = Model(name="own", provider="local", model=model)

    assert words in status(entry, parts(tmp_path), find=have("xllamacpp")).text


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes in folders")
def test_a_pipe_is_no_weights_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.gguf")

    found = status(DEFAULT, parts(tmp_path, gguf=tmp_path / "x.gguf"), find=have("xllamacpp"))
    assert found.state == "file_unusable"


@pytest.mark.parametrize(
    ("interpreter", "named"),
    [
        (Interpreter("linux-x86_64", "cpython-312-x86_64-linux-musl", free_threaded=False), "Alpine"),
        (Interpreter("win-arm64", "cp312-win_arm64", free_threaded=False), "Windows on ARM"),
        (Interpreter("linux-x86_64", "cpython-313t-x86_64-linux-gnu", free_threaded=True), "free-threaded"),
    ],
)
def test_a_platform_without_the_runtime_is_named(interpreter, named):
    problem = runtime_problem(interpreter=interpreter, find=have("pip"))

    assert problem is not None
    assert problem.state == "platform_unsupported"
    assert named in problem.text
    assert "name another model" in problem.text


def test_missing_weights_are_announced_with_their_size(tmp_path):
    assert status(DEFAULT, parts(tmp_path), find=have("xllamacpp")) == Status(
        "weights_missing",
        "the first call will fetch SmolLM2-135M-Instruct (93 MB); `eai-mcp fetch` does it now",
    )
    offline = status(DEFAULT, parts(tmp_path, offline=True), find=have("xllamacpp"))
    assert offline.state == "weights_missing"
    assert "downloads are off: run `eai-mcp fetch`" in offline.text


def test_weights_of_the_right_size_are_ready(tmp_path):
    path = weights.SMOLLM2.kept(tmp_path)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(weights.SMOLLM2.size)

    assert status(DEFAULT, parts(tmp_path), find=have("xllamacpp")) == Status("ready", f"ready: {path}", path)


def test_without_the_runtime_nothing_else_matters(tmp_path):
    assert status(DEFAULT, parts(tmp_path), find=have("pip")).state == "extra_missing"


def test_a_weights_file_of_ones_own_is_looked_at(tmp_path):
    path = tmp_path / "own.gguf"
    model = Model(name="own", provider="local", model=str(path))
    for chosen, given in ((model, parts(tmp_path)), (DEFAULT, parts(tmp_path, gguf=path))):
        path.unlink(missing_ok=True)
        absent = status(chosen, given, find=have("xllamacpp"))
        assert (absent.state, absent.path) == ("file_unusable", None)
        assert f"there is no weights file {path}" in absent.text

        path.write_bytes(b"GGUF")
        assert status(chosen, given, find=have("xllamacpp")) == Status("ready", f"ready: {path}", path)


def test_a_download_that_the_first_call_does_is_nothing_for_a_person_to_do(tmp_path):
    assert missing(DEFAULT, parts(tmp_path), find=have("xllamacpp")) is None
    path = tmp_path / "own.gguf"
    path.write_bytes(b"GGUF")
    assert missing(DEFAULT, parts(tmp_path, gguf=path), find=have("xllamacpp")) is None

    offline = missing(DEFAULT, parts(tmp_path, offline=True), find=have("xllamacpp"))
    assert offline is not None
    assert "run `eai-mcp fetch`" in offline
    extra = missing(DEFAULT, parts(tmp_path), find=have("pip"))
    assert extra is not None
    assert "pip install" in extra


def test_a_model_that_names_its_own_file_keeps_it(tmp_path):
    model = Model(name="own", provider="local", model="~/models/own.gguf")

    assert own_file(model, parts(tmp_path, gguf=Path("/other.gguf"))) == Path.home() / "models/own.gguf"


def test_a_name_that_is_neither_the_default_nor_a_whole_path_is_refused(tmp_path):
    unknown = Model(name="mine", provider="local", model="qwen3-0.6b")
    with pytest.raises(
        ConfigError, match=r"model 'mine': the provider local has no 'qwen3-0\.6b'; name 'smollm2"
    ):
        own_file(unknown, parts(tmp_path))
    assert own_file(unknown, parts(tmp_path, gguf=Path("/any.gguf"))) == Path("/any.gguf")

    relative = Model(name="mine", provider="local", model="models/own.gguf")
    with pytest.raises(ConfigError, match=r"name the weights file models/own\.gguf by its whole path"):
        own_file(relative, parts(tmp_path))
    assert status(relative, parts(tmp_path), find=have("xllamacpp")).state == "file_unusable"

"""The child's half: one line, then silence until stdin ends. The real server is in tests/e2e."""

import io
import threading
from types import SimpleNamespace

import pytest

from eai_mcp.providers import local_child


class Stdin(io.BytesIO):
    """A few bytes, then the end once the test says so."""

    def __init__(self):
        super().__init__(b"noise")
        self.ended = threading.Event()

    def read(self, size=-1, /):
        return super().read(size) or (self.ended.wait(5), b"")[1]


@pytest.fixture
def stdin():
    stdin = Stdin()
    yield stdin
    stdin.ended.set()


def start(stdin, serve, arguments=("model.gguf", "tiny", "2048")):
    """The exit status, what was said, and with which status it left."""
    said: list[dict[str, str]] = []
    left: list[int] = []

    def say(line):
        said.append(line)
        stdin.ended.set()

    status = local_child.main(arguments, "key", stdin, say=say, serve=serve, leave=left.append)
    return status, said, left


def test_the_address_is_said_once_and_the_end_of_stdin_is_the_end(stdin):
    asked = []

    def serve(*arguments, tiny):
        asked.append((*arguments, tiny))
        return "http://127.0.0.1:1234"

    assert start(stdin, serve) == (0, [{"base_url": "http://127.0.0.1:1234/v1"}], [0])
    assert asked == [("model.gguf", "tiny", 2048, "key", False)]


@pytest.mark.parametrize(
    "error", [RuntimeError("no such tensor"), ImportError("no GLIBC"), OSError("no memory")]
)
def test_what_keeps_it_from_starting_is_said(stdin, error):
    def serve(*arguments, tiny):
        raise error

    status, said, _ = start(stdin, serve)
    assert (status, said) == (1, [{"error": f"{error}"}])


def test_wrong_arguments_are_said(stdin):
    status, said, _ = start(stdin, "".join, arguments=["model.gguf"])

    assert status == 1
    assert "not enough values" in said[0]["error"]


def test_a_tiny_model_is_told_not_to_repeat_itself():
    sampling = SimpleNamespace(dry_multiplier=0.0, dry_allowed_length=2, dry_penalty_last_n=-1)
    local_child.without_loops(sampling)

    assert vars(sampling) == {"dry_multiplier": 0.8, "dry_allowed_length": 4, "dry_penalty_last_n": 512}


def test_settings_that_a_version_does_not_have_are_passed_over():
    def params(**optional):
        cpu = {"cpuparams": SimpleNamespace(n_threads=0), "cpuparams_batch": SimpleNamespace(n_threads=0)}
        return SimpleNamespace(model=SimpleNamespace(path=""), **cpu, **optional)

    old = local_child.choices(params(), "model.gguf", "tiny", 2048, "secret")
    assert not hasattr(old, "ui")
    assert (old.hostnames, old.port, old.api_keys, old.n_ctx) == (["127.0.0.1"], 0, ["secret"], 2048)
    assert 1 <= old.cpuparams.n_threads == old.cpuparams_batch.n_threads <= 4

    new = local_child.choices(params(ui=True), "model.gguf", "tiny", 2048, "secret")
    assert (new.ui, new.n_parallel) == (False, 1)

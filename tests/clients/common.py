"""What every client under test is told to do and tells, whoever made it."""

from typing import Any, Literal, TypeAlias

import anyio

Told: TypeAlias = dict[str, Any]
Transport: TypeAlias = Literal["stdio", "http", "sse"]
LIMIT_S = 30.0


class Refusal(Exception):
    """An error of the client's own kind: its class, its code and its sentence."""

    def __init__(self, name: str, code: int | str | None, message: str) -> None:
        super().__init__(f"{name} {code}: {message}")
        self.name, self.code, self.message = name, code, message


class Pending:
    """A command under way; `progress` is what was heard of it so far."""

    def __init__(self) -> None:
        self.progress: list[Told] = []
        self._outcome: Told | Refusal | None = None
        self._changed = anyio.Event()

    def hear(self, progress: Told) -> None:
        """Take note of progress."""
        self.progress.append(progress)
        self._wake()

    def settle(self, outcome: Told | Refusal) -> None:
        """Take note of the end."""
        self._outcome = outcome
        self._wake()

    async def heard(self, count: int = 1) -> list[Told]:
        """The progress, once there is so much."""
        with anyio.fail_after(LIMIT_S):
            while len(self.progress) < count:
                await self._changed.wait()
        return self.progress

    async def outcome(self) -> Told:
        """The result.

        Raises:
            Refusal: It is an error.
        """
        with anyio.fail_after(LIMIT_S):
            while self._outcome is None:
                await self._changed.wait()
        if isinstance(self._outcome, Refusal):
            raise self._outcome
        return self._outcome

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Client:
    """A connected client. `era` is the protocol it agreed on, `offered` the server's capabilities."""

    def __init__(self) -> None:
        self.era, self.offered = "", Told()
        self._notifications: list[Told] = []
        self._heard = anyio.Event()

    def begin(self, verb: str, **given: Any) -> Pending:
        """Give a command: list_tools, call, list_resources, read, list_prompts, get_prompt, complete, close,
        and subscribe, which also asks for word of changed lists where the protocol has them asked for.
        """
        raise NotImplementedError

    async def cancel(self, pending: Pending) -> None:
        """Give a command up, as this kind of client does."""
        raise NotImplementedError

    def hear(self, notification: Told) -> None:
        """Take note of what came unasked."""
        self._notifications.append(notification)
        self._heard.set()
        self._heard = anyio.Event()

    async def notified(self, method: str) -> Told:
        """The parameters of the next notification of that kind, which is then forgotten."""
        with anyio.fail_after(LIMIT_S):
            while True:
                for notification in self._notifications:
                    if notification["method"] == method:
                        self._notifications.remove(notification)
                        params: Told = notification.get("params") or {}
                        return params
                await self._heard.wait()


def call(client: Client, tool: str, **arguments: Any) -> Pending:
    """Call a tool without waiting for it, and hear its progress."""
    return client.begin("call", name=tool, arguments=arguments, progress=True)


async def ask(client: Client, verb: str, **given: Any) -> Told:
    """Give a command and wait for its result."""
    return await client.begin(verb, **given).outcome()


async def told(client: Client, tool: str, **arguments: Any) -> Told:
    """What a tool tells as structured content, be it an error."""
    return structured(await ask(client, "call", name=tool, arguments=arguments))


def structured(result: Told) -> Told:
    """The structured content of a tool's result."""
    assert result["content"]
    content: Told = result["structuredContent"]
    return content

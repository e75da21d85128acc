"""The Python SDK's client, told what to do in the same words as those of Node."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from anyio.abc import TaskGroup, TaskStatus
from mcp.client import Client as Connection
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from tests.clients.common import Client, Pending, Refusal, Told

LISTS = {"resources_list_changed": True, "prompts_list_changed": True, "tools_list_changed": True}


class SdkClient(Client):
    """One client, whose connection is held by a task of its own."""

    def __init__(self, tasks: TaskGroup) -> None:
        super().__init__()
        self._tasks = tasks
        self._scopes: dict[Pending, anyio.CancelScope] = {}
        self._leaving, self._left = anyio.Event(), anyio.Event()
        self._connection: Connection

    def begin(self, verb: str, **given: Any) -> Pending:
        pending = Pending()
        self._scopes[pending] = anyio.CancelScope()
        self._tasks.start_soon(self._run, pending, verb, given)
        return pending

    async def cancel(self, pending: Pending) -> None:
        self._scopes[pending].cancel()

    async def hold(self, given: Told, *, task_status: TaskStatus[None]) -> None:
        """Be connected until it is told to close."""
        try:
            async with Connection(
                _transport(given),
                mode=given["era"],
                message_handler=self._listen,
                elicitation_callback=_answering(given["answer"]) if given.get("answer") else None,
            ) as connection:
                self._connection, self.era = connection, connection.protocol_version
                self.offered = _plain(connection.server_capabilities)
                task_status.started()
                await self._leaving.wait()
        except Exception:
            if not self.era:
                raise  # to whoever connects; later on each command tells for itself that nobody answers
        finally:
            self._left.set()

    async def _listen(self, message: Any) -> None:
        if isinstance(message, BaseModel) and hasattr(message, "method"):
            self.hear(_plain(message))

    async def _run(self, pending: Pending, verb: str, given: Told) -> None:
        with self._scopes[pending] as scope:
            try:
                pending.settle(await self._done(pending, verb, given))
            except MCPError as error:
                pending.settle(Refusal("MCPError", error.error.code, error.error.message))
            except Exception as error:  # noqa: BLE001  # whoever waits for it is told, and the others go on
                pending.settle(Refusal(type(error).__name__, None, str(error)))
        if scope.cancelled_caught:
            pending.settle(Refusal("Cancelled", None, "cancelled by the test"))

    async def _done(self, pending: Pending, verb: str, given: Told) -> Told:
        if verb == "close":
            self._leaving.set()
            await self._left.wait()
            return {}
        if verb == "subscribe" and self.era == types.LATEST_PROTOCOL_VERSION:
            await self._tasks.start(self._subscribed, given["uri"])
            return {}
        return _plain(await _verbs(self._connection, pending)[verb](given))

    async def _subscribed(self, uri: str, *, task_status: TaskStatus[None]) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._connection.listen(resource_subscriptions=[uri], **LISTS))
            task_status.started()
            await self._leaving.wait()


@asynccontextmanager
async def python() -> AsyncIterator[Callable[..., Awaitable[SdkClient]]]:
    """Something that connects clients, which are all closed at the end."""
    async with anyio.create_task_group() as tasks:

        async def connect(**given: Any) -> SdkClient:
            client = SdkClient(tasks)
            await tasks.start(client.hold, given)
            return client

        yield connect
        tasks.cancel_scope.cancel()


def _transport(given: Told) -> AbstractAsyncContextManager[Any]:
    match given["transport"]:
        case "sse":
            return sse_client(given["url"])
        case "http":
            return streamable_http_client(given["url"])
        case _:
            command, args, env = given["command"], given["args"], given["env"]
            return stdio_client(StdioServerParameters(command=command, args=args, env=env))


def _answering(answer: Told) -> Any:
    async def callback(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult.model_validate(answer)

    return callback


def _verbs(connection: Connection, pending: Pending) -> Mapping[str, Callable[[Told], Awaitable[BaseModel]]]:
    async def listen(progress: float, total: float | None, message: str | None) -> None:
        pending.hear({"progress": progress, "message": message})

    return {
        "list_tools": lambda given: connection.list_tools(),
        "list_resources": lambda given: connection.list_resources(cursor=given.get("cursor")),
        "list_prompts": lambda given: connection.list_prompts(),
        "get_prompt": lambda given: connection.get_prompt(given["name"], given.get("arguments")),
        "complete": lambda given: connection.complete(_reference(given["ref"]), given["argument"]),
        "read": lambda given: connection.read_resource(given["uri"]),
        "subscribe": lambda given: connection.subscribe_resource(given["uri"]),
        "call": lambda given: connection.call_tool(
            given["name"],
            given["arguments"],
            given["timeout_ms"] / 1000 if "timeout_ms" in given else None,
            listen if given.get("progress") else None,
        ),
    }


def _reference(given: Told) -> types.PromptReference | types.ResourceTemplateReference:
    if given["type"] == "ref/prompt":
        return types.PromptReference.model_validate(given)
    return types.ResourceTemplateReference.model_validate(given)


def _plain(value: BaseModel) -> Told:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)

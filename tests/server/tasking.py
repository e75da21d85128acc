"""A client that declares tasks, and asks for them by the names of the wire."""

from dataclasses import dataclass
from typing import Any, Literal

import anyio
import anyio.lowlevel
import mcp_types as types
import pydantic
from mcp.client.extension import ClientExtension, ResultClaim

from tests.fakes import Held

TASKS = "io.modelcontextprotocol/tasks"


class Task(types.Result):
    """A task as it is on the wire."""

    model_config = pydantic.ConfigDict(extra="allow")
    result_type: Literal["task"] = "task"


class Anything(types.Result):
    """A result as it is on the wire."""

    model_config = pydantic.ConfigDict(extra="allow")


class Named(types.Request[dict[str, Any], str]):
    """A request of the extension."""


async def ask(client, method, **params):
    """What a request of the extension is answered."""
    answer = await client.session.send_request(Named(method=method, params=params), Anything)
    return {name: value for name, value in answer.model_dump(by_alias=True).items() if name != "_meta"}


async def talk(client, **arguments):
    """The result of `talk` as it comes."""
    return await client.session.call_tool(
        "talk", {"content": "paint", **arguments}, allow_claimed=True, allow_input_required=True
    )


async def begun(client, **arguments):
    """The id of the task that `talk` was answered with."""
    task = await talk(client, **arguments)
    assert isinstance(task, Task), task
    return (task.model_extra or {})["taskId"]


async def until(client, task, *statuses):
    """The task once it has one of some statuses."""
    with anyio.fail_after(5):
        while (told := await ask(client, "tasks/get", taskId=task))["status"] not in statuses:
            await anyio.lowlevel.checkpoint()
    return told


class Polling(ClientExtension):
    """A client that asks until its task is done."""

    identifier = TASKS

    def __init__(self, before=None):
        self._before = before

    def claims(self):
        return (ResultClaim(result_type="task", model=Task, resolve=self._resolved),)

    async def _resolved(self, claimed, context):
        if self._before:
            await self._before(context, claimed)
        task = claimed.model_extra["taskId"]
        told = await until(Asker(context.session), task, "completed")
        return types.CallToolResult.model_validate(told["result"], by_name=False)


@dataclass
class Asker:
    """What requests are sent by."""

    session: Any


def later(step):
    """A step that is held until its test lets it go."""
    held = Held()

    async def play(request, emit):
        await held.let_go.wait()
        return step

    return held, play

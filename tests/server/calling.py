"""Calls of tools, checked for what all answers have in common."""

import json


async def call(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    return result


async def refused(client, tool, **arguments):
    """The error that a call comes back with, checked to be the same in both forms."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content["error"]

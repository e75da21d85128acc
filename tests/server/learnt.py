"""A history with one of every kind of block, and how to look at what a session has."""

from typing import Any

from tests.server.calling import call

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LEARNT: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "What is in here? Ünïcode 🙂"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "text": "I should look.", "signature": "seal"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "u1", "name": "look", "input": {"at": ["here", 1.5, None]}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "u1",
                "content": [{"type": "text", "text": "a dot"}],
                "failed": False,
            },
            {"type": "image", "media_type": "image/png", "data": PIXEL},
            {"type": "document", "media_type": "text/plain", "data": "aGVsbG8=", "name": "notes"},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "A d"}], "partial": True},
]


def says(*texts):
    """Messages of plain text, the user's first."""
    roles = ("user", "assistant")
    return [
        {"role": roles[at % 2], "content": [{"type": "text", "text": text}]} for at, text in enumerate(texts)
    ]


async def told(client, tool, **arguments):
    """What a tool that works tells."""
    return (await call(client, tool, **arguments)).structured_content


async def kept(client, session="default"):
    """The messages of a session, as `content` would take them."""
    page = await told(client, "get_history", chat_session=session, limit=500)
    return [
        {name: value for name, value in message.items() if name in ("role", "content", "partial")}
        for message in page["messages"]
    ]


async def rows(client):
    """The list of sessions, without when each changed."""
    listed = (await told(client, "list_sessions"))["sessions"]
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in listed]

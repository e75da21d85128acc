"""What a file says of a session beside its messages."""

from eai_mcp import messages
from eai_mcp.formats import Head
from eai_mcp.store import SessionRow


def head(row: SessionRow) -> Head:
    """The choices, the usage and the time of a session."""
    choices = {name: str(choice) for name, choice in messages.told(row.choices).items()}
    return Head(session=row.name, updated_at=row.updated_at, choices=choices, usage=row.usage)

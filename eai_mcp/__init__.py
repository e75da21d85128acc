"""Chat as MCP tools: sessions that remember, behind a server that any MCP client can call.

`app.py` puts every part together; read it first.
"""

__version__ = "0.1.0"

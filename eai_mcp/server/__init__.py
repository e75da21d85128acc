"""The MCP face: what a client sees of us. The only part that knows the protocol.

`face.build` makes the low-level server of the SDK; `stdio` and `http` carry it.
"""

"""`python -m eai_mcp` is `eai-mcp`."""

from eai_mcp.cli import main

if __name__ == "__main__":
    main()

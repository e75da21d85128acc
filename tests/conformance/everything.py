"""A server for the conformance suite alone: its fixtures, published through our registries and our transport.

Run as a program it serves streamable HTTP; its first line on standard error is the URL.
"""

import argparse
import sys

import anyio
import mcp_types as types

from eai_mcp.server import face
from eai_mcp.server.completions import Completions
from eai_mcp.server.http import serve_http
from eai_mcp.server.prompts import Prompts
from eai_mcp.server.registry import ToolRegistry
from eai_mcp.server.resources import Resources
from eai_mcp.server.subscriptions import Notices
from tests.conformance import asking, reading, telling
from tests.conformance.given import noted


def build():
    """The server with every fixture."""
    notices = Notices()
    prompts = Prompts([reading.Prompts()])
    server = face.assemble(
        face.Published(
            tools=ToolRegistry([*telling.tools(notices), *asking.tools()]),
            resources=Resources([reading.Resources()]),
            prompts=prompts,
            completions=Completions(prompts, of_prompts={"arg1": reading.paris}, of_resources={}),
            notices=notices,
            elicit_limit_s=60,
        )
    )
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    server.middleware.append(noted)
    return server


async def set_level(context, params):
    """Ours has no log over the protocol; the older revision of the suite wants one."""
    return types.EmptyResult()


async def main(stateful: bool) -> None:
    """Serve until a signal ends it."""
    await serve_http(build(), stateful=stateful, announce=lambda url: print(url, file=sys.stderr, flush=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stateful", action="store_true")
    anyio.run(main, parser.parse_args().stateful)

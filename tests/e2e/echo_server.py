"""A small server on our transports, badly behaved on demand; its first argument names the transport."""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import mcp_types as types
from mcp.server.lowlevel import NotificationOptions, Server

from eai_mcp.errors import EaiError
from eai_mcp.server.stdio import serve_stdio, serve_with_threads

ANY = {"type": "object"}


class Echo(Server):
    def create_initialization_options(self, notification_options=None, *rest, **named):
        told = notification_options or NotificationOptions(True, True, True)
        return super().create_initialization_options(told, *rest, **named)


async def list_tools(ctx, params):
    names = ("echo", "hang", "junk", "long", "steps")
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=ANY) for name in names])


async def call_tool(ctx, params):
    given = params.arguments or {}
    match params.name:
        case "hang":
            try:
                await ctx.session.report_progress(1, message="hanging")
                await anyio.sleep_forever()
            finally:
                note("hang ended")
        case "junk":
            junk()
        case "long":
            return answer("x" * given["size"])
        case "steps":
            for number in range(1, 4):
                await ctx.session.report_progress(number, 3, f"step {number}")
                await anyio.lowlevel.checkpoint()
        case _:
            pass
    return answer(given.get("text", "done"))


async def list_resources(ctx, params):
    return types.ListResourcesResult(resources=[])


async def subscribe(ctx, params):
    return types.EmptyResult()


def answer(text):
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def junk():
    print("junk of print")
    os.write(1, b"junk of write\n")
    subprocess.run(["/bin/echo", "junk of a child"], check=True)
    subprocess.run([sys.executable, "-c", "print('junk at the exit of a child')"], check=True)
    sys.stdout.write("junk without a newline")


def note(text):
    os.write(2, f"{text}\n".encode())


def build():
    return Echo(
        "echo",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_subscribe_resource=subscribe,
    )


@asynccontextmanager
async def opened(cleanup_s):
    try:
        yield
    finally:
        note("cleaning up")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(cleanup_s)
            note("cleaned up")


async def main(options):
    server = build()
    async with opened(options.cleanup):
        if options.transport == "stdio":
            await serve_stdio(server, closing_s=options.closing)
        elif options.transport == "threads":
            await serve_with_threads(server)
        elif options.transport == "sdk":
            from mcp.server.stdio import stdio_server

            async with stdio_server() as streams:
                await server.run(*streams, server.create_initialization_options())
        else:
            from eai_mcp.server.http import serve_http

            await serve_http(
                server,
                port=options.port,
                sse=options.transport == "sse",
                max_body=1024 * 1024,
                stateful=options.stateful,
                announce=note,
                closing_s=options.closing,
            )


if __name__ == "__main__":
    # A background job of a plain shell is started with SIGINT ignored, and we would keep to that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = argparse.ArgumentParser()
    made.add_argument("transport", choices=["stdio", "sdk", "threads", "http", "sse"])
    made.add_argument("--port", type=int, default=0)
    made.add_argument("--cleanup", type=float, default=0.0)
    made.add_argument("--closing", type=float, default=10.0)
    made.add_argument("--stateful", action="store_true")
    made.add_argument("--backend", default="asyncio")
    chosen = made.parse_args()
    try:
        anyio.run(main, chosen, backend=chosen.backend)
    except* EaiError as errors:
        note(errors.exceptions[0].message)
        sys.exit(2)
    note("left")

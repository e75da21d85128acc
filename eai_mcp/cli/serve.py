"""`eai-mcp serve`: an MCP server on stdio, SSE or streamable HTTP."""

import argparse
import functools
import logging
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from eai_mcp import app
from eai_mcp.cli import logs, parser, screen, web
from eai_mcp.errors import ConfigError, EaiError
from eai_mcp.server import face, status, stdio
from eai_mcp.settings import DEFAULT_MODEL, Settings
from eai_mcp.store import database

if TYPE_CHECKING:
    from eai_mcp.server.admitted import Gate

LONGEST_WAIT_S = 86_400


def serve(options: argparse.Namespace) -> int:
    """Serve until the client leaves or a signal comes."""
    log_format = logs.format_named(options.log_format, os.environ)
    logs.to_stderr(options.log_level, never_wait=True, log_format=log_format)
    settings = parser.chosen_settings(options)
    if options.inline_wait is not None:
        if not 0 <= options.inline_wait <= LONGEST_WAIT_S:  # which no NaN is
            raise ConfigError(
                f"--inline-wait must be 0 to {LONGEST_WAIT_S} seconds, not {options.inline_wait:g}"
            )
        settings = replace(settings, inline_wait_s=options.inline_wait)
    limits = replace(
        settings.limits,
        turn_s=options.turn_limit,
        turn_steps=options.turn_steps,
        orphan_s=options.orphan_limit,
        question_s=options.question_limit,
        session_turns=options.session_turns,
        session_tokens=options.session_tokens,
        session_usd=options.session_usd,
        principal_rate=options.principal_rate,
        principal_burst=options.principal_burst,
        principal_turns=options.principal_turns,
        principal_sessions=options.principal_sessions,
    )
    settings = replace(
        settings,
        limits=limits,
        published=settings.published if options.published is None else options.published,
        on_disconnect=options.on_disconnect,
        elicit=settings.elicit or options.elicit,
        elicit_limit_s=options.elicit_limit,
        approve_by_talk=options.approve_by_talk,
        otel=settings.otel or options.otel,
        observers=(*settings.observers, *options.observers),
    )
    web.check(options, has_terminal=settings.terminal is not None)
    if options.transport == "stdio":
        anyio.run(_serve_stdio, settings)
    else:
        anyio.run(_serve_http, options, settings, web.gate(options))
    return 0


async def _serve_stdio(settings: Settings) -> None:
    if sys.stdin is not None and sys.stdin.isatty():
        logs.tell("eai-mcp serves MCP on these lines: let a client start it (see README). Ctrl-D ends it.")
    async with app.opened(settings) as opened:
        _warn(opened)
        await stdio.serve_stdio(face.build(opened))


async def _serve_http(options: argparse.Namespace, settings: Settings, gate: "Gate | None") -> None:
    from eai_mcp.server import http  # starlette's and uvicorn's parts, which stdio does without

    async with app.opened(settings) as opened:
        _warn(opened)
        await http.serve_http(
            face.build(opened),
            host=web.HOST if options.host is None else options.host,
            port=web.PORT if options.port is None else options.port,
            sse=options.transport == "sse",
            path=options.path or http.PATH,
            max_body=options.max_body or http.MAX_BODY,
            stateful=options.stateful,
            ready=functools.partial(status.readiness, opened),
            gate=gate,
            hosts=options.allow_host,
            origins=options.allow_origin,
            announce=lambda url: logs.tell(f"eai-mcp serves {url}"),
        )


def _warn(opened: app.App) -> None:
    _warn_of_the_store(opened.settings)
    _warn_of_the_default(opened)
    if opened.unconfined is not None:
        logs.tell(f"eai-mcp: NO SANDBOX: {opened.unconfined}", level=logging.WARNING)


def _warn_of_the_store(settings: Settings) -> None:
    """Say at once that nothing could be kept; the file may be mended while we run, so we go on."""
    if settings.store is not None:
        try:
            database.prepare(settings.store)
        except EaiError as error:
            logs.tell(f"eai-mcp: {screen.sentence(error)}", level=logging.WARNING)


def _warn_of_the_default(opened: app.App) -> None:
    """Say at once that nobody would answer; the catalog may be mended while we run, so we go on."""
    name = opened.settings.model
    if name == DEFAULT_MODEL:
        return  # reading the shipped models would only delay the start
    try:
        missing = opened.missing(opened.catalog.model(name))
    except EaiError as error:
        missing = screen.sentence(error)
    if missing:
        logs.tell(f"eai-mcp: the default model {name} cannot answer: {missing}", level=logging.WARNING)

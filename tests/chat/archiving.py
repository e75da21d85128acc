"""Histories into files and back in short, for the tests of the chat layer."""

from contextlib import contextmanager

from eai_mcp.formats import Tally


def whole(pieces):
    return b"".join(pieces)


async def exported(registry, session="work", form="eai-mcp", space=""):
    return (await registry.archive.export(space, session, form, whole, tally=Tally()))[1]


async def taken(registry, data, session="work", form="auto", space=""):
    return await registry.archive.replace(space, session, lambda: pieces(data), form, tally=Tally())


async def copied(registry, space=""):
    return await registry.archive.snapshot(space, whole, tally=Tally())


async def restored(registry, data, mode="merge", space=""):
    return await registry.archive.restore(space, lambda: pieces(data), mode, tally=Tally())


@contextmanager
def pieces(data):
    yield iter([data])


async def named(registry, space=""):
    return [row.name for row in await registry.sessions(space)]

"""Resources that the chat model pushes for whoever talks with it."""

import pytest

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat import pushed
from eai_mcp.chat.toolbox import pushing
from tests.chat.toolbox.using import tried, using


def works(tmp_path):
    (tmp_path / "desk").mkdir(exist_ok=True)
    return lambda registry: pushing.tools(lambda space, name: tmp_path / "desk")


async def pushes(catalog, tmp_path, **given):
    """What one push told, and what the caller got of it."""
    async with using(catalog, works(tmp_path), {"boss": tried("push_resource", **given)}) as talking:
        done = await talking.ask()
        ((told, failed),) = talking.heard()
        return told, failed, done.resources


async def test_text_is_pushed_under_a_uri_of_its_own(catalog, tmp_path):
    """Issue 7: push_resource."""
    told, failed, (resource,) = await pushes(
        catalog, tmp_path, text="a,b", kind="table", mime_type="text/csv"
    )
    assert not failed
    assert resource.uri.startswith("eai-push:///")
    assert told == {"pushed": resource.uri, "kind": "table", "mime_type": "text/csv", "size_bytes": 3}
    assert (resource.payload, resource.mime_type) == ("a,b", "text/csv")


async def test_a_file_of_the_terminal_is_pushed_as_what_it_is(catalog, tmp_path):
    works(tmp_path)
    (tmp_path / "desk" / "my plot.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "desk" / "notes").write_text("héllo", encoding="utf-8")
    (tmp_path / "desk" / "odd.txt").write_bytes(b"\xff\xfe")
    for path, uri, payload, mime_type in (
        ("my plot.png", "eai-push:///my%20plot.png", b"\x89PNG\0", "image/png"),
        ("/work/notes", "eai-push:///notes", "héllo", "text/plain"),
        ("odd.txt", "eai-push:///odd.txt", b"\xff\xfe", "text/plain"),
    ):
        _, _, resources = await pushes(catalog, tmp_path, file_path=path)
        assert resources == (ResourcePushed(kind="file", uri=uri, payload=payload, mime_type=mime_type),)


async def test_an_address_alone_is_passed_on(catalog, tmp_path):
    told, _, resources = await pushes(catalog, tmp_path, uri="https://example.com/a", kind="page")
    assert told == {"pushed": "https://example.com/a", "kind": "page"}
    assert resources == (ResourcePushed(kind="page", uri="https://example.com/a"),)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "invalid_argument: give text, file_path or uri"),
        ({"text": "a", "file_path": "b"}, "invalid_argument: give text or file_path"),
        ({"uri": "no scheme", "text": "a"}, "invalid_argument: a pushed resource needs a uri"),
        ({"text": "x" * (pushed.MOST_BYTES + 1)}, "limit_exceeded"),
        ({"file_path": "large"}, "limit_exceeded: 'large' has more than"),
        ({"file_path": "../secret"}, "path_denied"),
        ({"file_path": "none"}, "not_found"),
    ],
)
async def test_what_cannot_be_pushed_says_why(catalog, tmp_path, given, why):
    """Issue 7: size limits."""
    works(tmp_path)
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    (tmp_path / "desk" / "large").write_bytes(b"x" * (pushed.MOST_BYTES + 1))
    told, failed, resources = await pushes(catalog, tmp_path, **given)
    assert (failed, resources) == (True, ())
    assert told.startswith(why)


async def test_without_terminals_there_are_no_files_to_push(catalog, tmp_path):
    tool = {"boss": tried("push_resource", file_path="a")}
    async with using(catalog, lambda registry: pushing.tools(None), tool) as talking:
        await talking.ask()
        assert "this server has no terminals" in talking.refused()

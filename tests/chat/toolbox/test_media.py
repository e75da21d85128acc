"""Pictures and PDFs that the model looks at."""

import base64
import os

import pytest

from eai_mcp.chat.toolbox import media
from eai_mcp.messages import DocumentBlock, ImageBlock, TextBlock, Usage, user
from tests.chat.toolbox.painted import png
from tests.chat.toolbox.using import step, tried, using
from tests.fakes import Held, Scripted, said

PICTURE = png(640, 480)
PDF = b"%PDF-1.7 and so on"


@pytest.fixture
def desk(tmp_path, catalog):
    """The work directory of the terminal 'boss', beside a secret; models eagle and owl see."""
    for name in ("eagle", "owl"):
        text = 'provider = "openai_chat"\nmodel = "m"\nvision = true\n'
        (tmp_path / "models" / f"{name}.toml").write_text(text, encoding="utf-8")
    (tmp_path / "desks" / "boss" / "sub").mkdir(parents=True)
    (tmp_path / "desks" / "secret.png").write_bytes(PICTURE)
    return tmp_path / "desks" / "boss"


def looks(catalog, desk, call=None, **fields):
    def work(space, name):
        assert space == ""
        return desk.parent / name

    return lambda registry: media.tools(
        work, catalog=catalog, call_for=lambda model: call or Scripted([]), **fields
    )


async def look(catalog, desk, *paths, model="eagle", **given):
    """The blocks or the error that each path came to."""
    steps = [*[step("read_media_file", file_path=str(path), **given) for path in paths], said("done")]
    async with using(catalog, looks(catalog, desk), {"boss": steps}) as talking:
        await talking.ask(model=model)
        last = [one.messages[-1].content[0] for one in talking.voices["boss"].requests[1:]]
    return [one.content[0].text if one.failed else one.content for one in last]


async def test_a_picture_is_shown_with_its_name_kind_and_size(catalog, desk):
    """Issue 7: "read_media_file (images for the model to see; size limits)"."""
    (desk / "sub" / "plot.txt").write_bytes(PICTURE)  # it is what it is, whatever it is called
    paths = ("sub/plot.txt", "/work/sub/plot.txt", desk / "sub" / "plot.txt")
    for shown in await look(catalog, desk, *paths):
        assert shown == (
            TextBlock(f"plot.txt: image/png, {len(PICTURE)} bytes, 640 x 480 pixels"),
            ImageBlock("image/png", base64.b64encode(PICTURE).decode()),
        )


async def test_a_pdf_is_shown_as_a_document_to_any_model(catalog, desk):
    (desk / "a.pdf").write_bytes(PDF)
    (shown,) = await look(catalog, desk, "a.pdf", model="plain")
    assert shown == (
        TextBlock(f"a.pdf: application/pdf, {len(PDF)} bytes"),
        DocumentBlock("application/pdf", base64.b64encode(PDF).decode(), "a.pdf"),
    )


async def test_nothing_but_files_in_the_work_directory_can_be_seen(catalog, desk):
    """DESIGN section 8: "`read_media_file` reads only the terminal's work directory"."""
    (desk / "link.png").symlink_to(desk.parent / "secret.png")
    (desk / "out").symlink_to(desk.parent)
    os.mkfifo(desk / "pipe.png")
    outside = (
        "link.png",
        "out/secret.png",
        "../secret.png",
        "sub/../../secret.png",
        "/work/../secret.png",
        "/work//etc/passwd",
        "/etc/passwd",
        desk.parent / "secret.png",
        "pipe.png",
        "sub",
        "",
        "/work/",
        "a\0.png",
    )
    for told in await look(catalog, desk, *outside):
        assert told.startswith("path_denied: "), told
    (told,) = await look(catalog, desk, "none.png")
    assert told == "not_found: there is no file 'none.png' in the terminal's work directory"


async def test_devices_are_not_read(catalog, desk):
    for told in await look(catalog, desk.parent, "/dev/zero", "/proc/self/environ"):
        assert told.startswith("path_denied: "), told


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (png(1, 1, padding=media.MOST_OF_PICTURE), "limit_exceeded: 'a.png' has more than 5,242,880 bytes"),
        (PDF + bytes(media.MOST_OF_PDF), "limit_exceeded: 'a.png' has more than 10,485,760 bytes"),
        (png(8001, 1), "limit_exceeded: 'a.png' has 8,001 x 1 pixels; make it at most 8,000 a side"),
        (png(0, 1), "invalid_argument: 'a.png' is damaged"),
        (b"\x89PNG and no more", "invalid_argument: that is no PNG"),
        (b"hello", "invalid_argument: that is no PNG"),
        (b"", "invalid_argument: that is no PNG"),
    ],
)
async def test_what_is_too_large_or_no_picture_says_so(catalog, desk, data, why):
    """Issue 7: size limits."""
    (desk / "a.png").write_bytes(data)
    (told,) = await look(catalog, desk, "a.png")
    assert told.startswith(why)


async def test_a_huge_file_is_not_read_to_its_end(catalog, desk):
    with (desk / "a.png").open("wb") as file:
        file.write(PICTURE)
        file.truncate(2**40)
    (told,) = await look(catalog, desk, "a.png")
    assert told.startswith("limit_exceeded")


async def test_a_model_that_sees_nothing_is_told_who_does(catalog, desk):
    (desk / "a.png").write_bytes(PICTURE)
    (told,) = await look(catalog, desk, "a.png", model="plain")
    assert told.startswith("invalid_argument: model 'plain' sees no pictures; ask one that does")
    assert told.endswith("eagle, owl")


async def test_another_model_is_asked_once_about_a_picture(catalog, desk):
    """Facts, eai.md 5.1: read_media_file with a separate vision call."""
    (desk / "a.png").write_bytes(PICTURE)
    owl = Scripted([said("a cat", served_by="owl")])
    given = {"file_path": "a.png", "question": "What is it?"}
    scripts = {"boss": tried("read_media_file", **given, model="owl")}
    async with using(catalog, looks(catalog, desk, owl), scripts) as talking:
        done = await talking.ask()
        told = talking.said()
    usage = {"input": 2, "output": 3, "cache_read": 0, "cache_write": 0, "reasoning": 0}
    about = f"a.png: image/png, {len(PICTURE)} bytes, 640 x 480 pixels"
    assert told == {"file": about, "answer": "a cat", "model": "owl", "usage": usage}
    seen = ImageBlock("image/png", base64.b64encode(PICTURE).decode())
    assert owl.requests[0].messages == (user((seen, TextBlock("What is it?"))),)
    assert done.usage == Usage(6, 9)


async def test_a_question_goes_to_a_model_that_sees_and_is_there(catalog, desk):
    (desk / "a.png").write_bytes(PICTURE)
    (told,) = await look(catalog, desk, "a.png", question="What is it?", model_="x")
    assert "Extra inputs" in told
    (told,) = await asked(catalog, desk, question="What?", model="plain")
    assert told.startswith("invalid_argument: model 'plain' sees no pictures")
    (told,) = await asked(catalog, desk, question="What?", model="nobody")
    assert told.startswith("unknown_model")
    (told,) = await asked(catalog, desk, model="owl")
    assert told.startswith("invalid_argument: model is for a question")


async def asked(catalog, desk, **given):
    scripts = {"boss": tried("read_media_file", file_path="a.png", **given)}
    async with using(catalog, looks(catalog, desk), scripts) as talking:
        await talking.ask()
        return [told for told, failed in talking.heard() if failed]


async def test_a_model_that_does_not_answer_is_not_waited_for_without_end(catalog, desk):
    (desk / "a.png").write_bytes(PICTURE)
    scripts = {"boss": tried("read_media_file", file_path="a.png", question="What?")}
    silent = looks(catalog, desk, Scripted([Held()]), ask_s=-media.GRACE_S)
    async with using(catalog, silent, scripts) as talking:
        await talking.ask(model="owl")
        assert talking.refused().startswith("timeout: model 'owl' did not answer")


async def test_without_terminals_there_is_nothing_to_see(catalog):
    tools = media.tools(None, catalog=catalog, call_for=lambda model: Scripted([]))
    async with using(
        catalog, lambda registry: tools, {"boss": tried("read_media_file", file_path="a")}
    ) as talking:
        await talking.ask()
        assert "this server has no terminals" in talking.refused()

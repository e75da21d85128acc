import os
from pathlib import Path

import pytest

from eai_mcp.catalog.catalog import KINDS, Catalog
from eai_mcp.catalog.entries import Model, Problem, Prompt
from eai_mcp.errors import ConfigError, UnknownName


class Clock:
    """Time that moves when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now

    def later(self):
        self.now += 1.0


@pytest.fixture
def clock():
    return Clock()


def prompt_file(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_unknown_name_is_answered_with_the_nearest_ones(tmp_path):
    for name in ("coder", "analyst"):
        prompt_file(tmp_path / "prompts", name, "x")
    catalog = Catalog(roots=(tmp_path,))

    with pytest.raises(UnknownName) as caught:
        catalog.prompt("codr")
    assert caught.value.message == ("no prompt named 'codr'; nearest: coder")
    assert caught.value.code == "unknown_prompt"


@pytest.mark.parametrize("kind", ["model", "prompt", "card"])
def test_an_empty_catalog_knows_no_name(kind, tmp_path):
    catalog = Catalog(roots=(tmp_path,))

    with pytest.raises(UnknownName) as caught:
        getattr(catalog, kind)("x")
    assert caught.value.code == f"unknown_{kind}"


def test_the_name_of_a_bad_file_says_what_is_wrong_with_it(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.toml").write_text("vision = 1\nmodel = 'm'", encoding="utf-8")
    prompt_file(tmp_path / "prompts", "x", "")
    catalog = Catalog(roots=(tmp_path,))

    with pytest.raises(ConfigError) as caught:
        catalog.model("x")
    assert caught.value.message == (
        "the file of model 'x' cannot be used: x.toml: vision: must be true or false, not 1"
    )
    with pytest.raises(ConfigError, match=r"the file of prompt 'x' cannot be used: x\.md: is empty"):
        catalog.prompt("x")


def test_entries_are_listed_by_name(tmp_path):
    for name in ("b", "a.1", "C"):
        prompt_file(tmp_path / "prompts", name, name)
    catalog = Catalog(roots=(tmp_path,))

    assert [prompt.name for prompt in catalog.prompts()] == ["C", "a.1", "b"]


def test_the_first_folder_that_has_a_name_owns_it(tmp_path):
    named, mine, theirs = tmp_path / "named", tmp_path / "mine", tmp_path / "theirs"
    prompt_file(named, "a", "named")
    hidden = [prompt_file(mine / "prompts", "a", "mine")]
    prompt_file(mine / "prompts", "b", "mine")
    hidden += [prompt_file(theirs / "prompts", name, "theirs") for name in ("a", "b")]
    prompt_file(theirs / "prompts", "c", "theirs")
    catalog = Catalog(prompts=(named,), roots=(mine, theirs))

    assert [(prompt.name, prompt.text) for prompt in catalog.prompts()] == [
        ("a", "named"), ("b", "mine"), ("c", "theirs")
    ]  # fmt: skip
    assert catalog.shadowed() == tuple(hidden)
    assert catalog.problems() == ()


def test_a_bad_file_keeps_its_name_from_later_folders(tmp_path):
    """The shipped model of that name may send to another host."""
    bad = prompt_file(tmp_path / "mine" / "prompts", "a", " ")
    prompt_file(tmp_path / "theirs" / "prompts", "a", "theirs")
    catalog = Catalog(roots=(tmp_path / "mine", tmp_path / "theirs"))

    assert catalog.prompts() == ()
    assert catalog.problems() == (Problem(bad, None, "is empty"),)


def test_a_folder_given_twice_counts_once(tmp_path):
    prompt_file(tmp_path / "prompts", "a", "x")
    catalog = Catalog(prompts=(tmp_path / "prompts", tmp_path / "prompts"), roots=(tmp_path,))

    assert catalog.prompts() == (Prompt(name="a", text="x"),)
    assert (catalog.problems(), catalog.shadowed()) == ((), ())


def test_two_files_of_one_name_in_a_folder_are_a_problem_of_the_second(tmp_path):
    upper = prompt_file(tmp_path / "prompts", "a", "x").rename(tmp_path / "prompts" / "a.MD")
    second = prompt_file(tmp_path / "prompts", "a", "y")
    catalog = Catalog(roots=(tmp_path,))

    assert catalog.prompt("a").text == "x"
    assert catalog.problems() == (Problem(second, None, f"{upper.name} has the same name"),)


def test_a_folder_that_was_named_must_be_there(tmp_path):
    catalog = Catalog(models=(tmp_path / "modles",), roots=(tmp_path / "nowhere",))

    assert [str(problem) for problem in catalog.problems()] == [f"{tmp_path}/modles: there is no such folder"]


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    path = prompt_file(tmp_path, "prompts", "x").rename(tmp_path / "prompts")
    catalog = Catalog(roots=(tmp_path,))

    assert catalog.problems() == (Problem(path, None, "cannot be read: Not a directory"),)


def test_what_is_no_readable_file_of_the_kind_is_told_apart(tmp_path):
    folder = tmp_path / "prompts"
    good = prompt_file(folder, "good", "x")
    (folder / "folder.md").mkdir()
    (folder / "gone.md").symlink_to(tmp_path / "nothing")
    (folder / "ring.md").symlink_to(folder / "ring.md")
    (folder / "link.md").symlink_to(good)
    (folder / ".#good.md").symlink_to("somebody@somewhere:1")
    (folder / "notes.txt").touch()
    os.mkfifo(folder / "pipe.md")
    prompt_file(folder, "two words", "x")
    prompt_file(folder, "n" * 65, "x")
    (folder / os.fsdecode(b"\xff.md")).write_text("x", encoding="utf-8")
    catalog = Catalog(roots=(tmp_path,))

    assert [prompt.name for prompt in catalog.prompts()] == ["good", "link"]
    assert sorted(str(problem).removeprefix(f"{folder}/") for problem in catalog.problems()) == [
        "\\udcff.md: the name must be 1 to 64 letters, digits or . _ -",
        "folder.md: is not a file",
        "gone.md: is a link to nothing",
        f"{'n' * 65}.md: the name must be 1 to 64 letters, digits or . _ -",
        "pipe.md: is not a file",
        "ring.md: cannot be read: Too many levels of symbolic links",
        "two words.md: the name must be 1 to 64 letters, digits or . _ -",
    ]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails when it is read")
def test_a_file_that_fails_when_it_is_read_is_reported(tmp_path):
    path = tmp_path / "prompts" / "a.md"
    path.parent.mkdir()
    path.symlink_to("/proc/self/mem")
    catalog = Catalog(roots=(tmp_path,))

    assert catalog.problems() == (Problem(path, None, "cannot be read: Input/output error"),)


def test_nothing_is_read_before_the_first_look_up(tmp_path):
    catalog = Catalog(roots=(tmp_path,))
    prompt_file(tmp_path / "prompts", "a", "x")

    assert catalog.prompt("a").text == "x"


def test_a_change_is_seen_within_a_second_and_not_looked_for_before(tmp_path, clock):
    path = prompt_file(tmp_path / "prompts", "a", "old")
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    assert catalog.prompt("a").text == "old"

    path.write_text("new!", encoding="utf-8")
    clock.now += 0.9
    assert catalog.prompt("a").text == "old"
    clock.now += 0.1
    assert catalog.prompt("a").text == "new!"


def test_only_what_changed_is_read_again(tmp_path, clock):
    for name in ("a", "b"):
        prompt_file(tmp_path / "prompts", name, name)
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    before = catalog.prompts()

    prompt_file(tmp_path / "prompts", "b", "bb")
    clock.later()
    after = catalog.prompts()
    assert after[0] is before[0]
    assert after[1] == Prompt(name="b", text="bb")


def test_a_file_that_turns_bad_is_skipped_and_comes_back_when_it_is_good(tmp_path, clock):
    path = prompt_file(tmp_path / "prompts", "a", "x")
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    assert catalog.prompt("a").text == "x"

    path.write_bytes(b"\xff")
    clock.later()
    assert (catalog.prompts(), catalog.problems()) == (
        (),
        (Problem(path, None, "is not UTF-8 text: byte 0"),),
    )

    path.write_text("good again", encoding="utf-8")
    clock.later()
    assert (catalog.prompt("a").text, catalog.problems()) == ("good again", ())


def test_a_file_that_is_deleted_brings_the_shadowed_one_to_light(tmp_path, clock):
    mine = prompt_file(tmp_path / "mine" / "prompts", "a", "mine")
    prompt_file(tmp_path / "theirs" / "prompts", "a", "theirs")
    catalog = Catalog(roots=(tmp_path / "mine", tmp_path / "theirs"), clock=clock)
    assert catalog.prompt("a").text == "mine"

    mine.unlink()
    clock.later()
    assert catalog.prompt("a").text == "theirs"


def test_a_folder_may_appear_later(tmp_path, clock):
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    assert catalog.models() == ()

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.toml").write_text('model = "wire"', encoding="utf-8")
    clock.later()
    assert catalog.model("m") == Model(name="m", provider="openai_chat", model="wire")


def test_the_version_grows_with_each_change_and_with_nothing_else(tmp_path, clock):
    path = prompt_file(tmp_path / "prompts", "a", "x")
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    assert catalog.version == 0

    clock.later()
    assert catalog.version == 0

    os.utime(path, (1, 1))
    clock.later()
    assert catalog.version == 0, "the same words under another date are no change"

    path.write_text("y", encoding="utf-8")
    clock.later()
    catalog.prompts()
    assert catalog.version == 1

    path.unlink()
    clock.later()
    assert catalog.version == 2


def test_how_a_kind_stands_is_seen_without_reading_what_nobody_asked_for(tmp_path, clock):
    """Issue 8: catalog files that change on disk are reloaded and announced, or cheaper."""
    path = prompt_file(tmp_path / "prompts", "a", "x")
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    shown = catalog.look("prompts")
    assert ([file.name for file in shown.files], shown.entries) == (["a"], None)

    path.write_text("other", encoding="utf-8")
    assert catalog.look("prompts").files != shown.files

    catalog.prompts()
    assert catalog.shown("prompts").entries == {"a": Prompt(name="a", text="other")}


def test_what_was_last_shown_stays_so_until_somebody_looks(tmp_path, clock):
    path = prompt_file(tmp_path / "prompts", "a", "x")
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    catalog.prompts()
    path.write_text("other", encoding="utf-8")
    clock.later()

    shown = catalog.shown("prompts")
    assert shown.entries == {"a": Prompt(name="a", text="x")}
    assert catalog.look("prompts").entries == {"a": Prompt(name="a", text="other")}
    assert catalog.shown("prompts") is not shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_does_not_change_stands_as_it_stood(tmp_path, clock, kind):
    catalog = Catalog(roots=(tmp_path,), clock=clock)
    catalog.problems()
    before = catalog.shown(kind)
    clock.later()

    assert catalog.look(kind).files is before.files


def test_five_hundred_files_are_listed(tmp_path):
    for number in range(500):
        prompt_file(tmp_path / "prompts", f"p{number:03}", str(number))
    catalog = Catalog(roots=(tmp_path,))

    assert [prompt.text for prompt in catalog.prompts()] == [str(number) for number in range(500)]

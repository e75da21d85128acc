"""Scripts in one terminal: what lasts from one to the next, and how they end."""

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.errors import InvalidArgument
from tests.terminal.bare import floor


async def test_directory_variables_and_functions_last(ground):
    """Issue 7: cwd and variables kept between scripts, exit codes seen."""
    await ground.run(
        "mkdir in; cd in; export A=1; b='two  words'; list=(x y); f() { echo called $1; }; umask 027"
    )
    assert await ground.said("pwd | tail -c 4; echo \"$A $b ${list[1]}\"; sh -c 'echo $A'; f now; umask") == (
        "/in\n1 two  words y\n1\ncalled now\n0027\n",
        0,
    )


async def test_an_environment_that_is_entered_stays_entered(ground):
    await ground.run(
        "mkdir -p env/bin; printf '#!/bin/sh\\necho mine\\n' >env/bin/tool; chmod +x env/bin/tool\n"
        'echo \'PATH="$PWD/env/bin:$PATH"; PS1="(env) $PS1"; export PATH\' >env/activate; . env/activate'
    )
    assert await ground.said("tool") == ("mine\n", 0)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("(exit 7)", 7),
        ("return 5", 5),
        ("nothing-of-that-name 2>/dev/null", 127),
        ("", 0),
    ],
)
async def test_a_script_ends_with_the_code_of_its_last_command(ground, script, code):
    assert await ground.said(script) == ("", code)


async def test_output_and_errors_come_as_a_terminal_shows_them(ground):
    """Issue 7: exit code, duration, stdout and stderr as a terminal shows them."""
    run = await ground.run(
        "echo out; echo err >&2; printf '\\033[31mred\\033[0m\\n'; printf '1%%\\r2%%\\n'; echo 日本"
    )
    assert run.page().text == "out\nerr\nred\n2%\n日本\n"
    assert run.duration_s > 0


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("set -e; false; echo not here", 1), ("set -eu; false | true; (exit 9)", 9)],
)
async def test_after_a_script_that_ends_the_shell_its_state_is_there_again(ground, script, code):
    await ground.run("mkdir in; cd in; export A=1; b=2; f() { echo called; }; alias g='echo alias'")
    run = await ground.run(f"c=3; {script}")
    assert (run.status, run.exit_code, run.page().text) == ("exited", code, "")
    assert "as this one left them" in run.note
    assert await ground.said('pwd | tail -c 4; echo "$A$b$c $-"; f; g') == (
        "/in\n123 himBs\ncalled\nalias\n",
        0,
    )


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ("exec false", "exited", 1),
        ("exec sh -c 'exit 4'", "exited", 4),
        ("kill -9 $$", "lost", 137),
    ],
)
async def test_a_shell_that_cannot_leave_its_state_has_that_from_before_the_script(
    ground, script, status, code
):
    await ground.run("mkdir in; cd in; a=1")
    run = await ground.run(f"a=2; cd ..; {script}")
    assert (run.status, run.exit_code) == (status, code)
    assert "what the script changed in it is lost" in run.note
    assert await ground.said("pwd | tail -c 4; echo $a") == ("/in\n1\n", 0)


async def test_options_that_a_script_leaves_do_not_end_the_next_one(ground):
    await ground.run("set -eux; true")
    assert await ground.said("false; echo $nothing lives") == ("lives\n", 0)
    assert await ground.said("set -u; echo $nothing; echo not here") == (
        "bash: nothing: unbound variable\n",
        1,
    )


@pytest.mark.parametrize(
    ("script", "says", "code"),
    [
        ("if then", "syntax error", 2),
        ("echo 'open", "unexpected EOF", 2),
        ("cat <<END\nin it", "in it", 0),
        ("echo $((1 +", "unexpected EOF", 2),
    ],
)
async def test_a_script_that_is_no_script_leaves_the_shell_alone(ground, script, says, code):
    await ground.run("a=1")
    run = await ground.run(script)
    assert says in run.page().text
    assert (run.exit_code, run.note) == (code, "")
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_a_script_may_send_its_output_elsewhere(ground):
    assert await ground.said("exec >all.txt 2>&1; echo out; exec >/dev/tty 2>&1; cat all.txt") == ("out\n", 0)


async def test_a_script_may_have_a_prompt_of_its_own(ground):
    await ground.run("PROMPT_COMMAND='echo mine'; PS1='$ '; PS2='> '")
    assert await ground.said("echo here") == ("here\n", 0)


@pytest.mark.parametrize(
    "setting", ["stty raw", "stty echo -icanon", "stty -opost -isig", "IFS=:;", "set -f; set -o noclobber"]
)
async def test_odd_settings_do_not_keep_the_next_script_from_running(ground, setting):
    await ground.run(f"{setting} 2>/dev/null; true")
    run = await ground.run("echo here")
    assert (run.page().text.strip(), run.exit_code) == ("here", 0)


async def test_output_cannot_forge_an_end(ground):
    """Issue 7: per-run random markers that output cannot forge."""
    first = await ground.run("echo one")
    forged = "printf '\\033]7777;%s;0\\007'"
    run = await ground.run(
        f"{forged} {first.nonce} {'0' * 32} ''; printf '\\033]7777;'; set | grep __eai\necho more; (exit 6)"
    )
    assert run.page().text.endswith("more\n")
    assert run.exit_code == 6


async def test_what_is_printed_between_scripts_belongs_to_none(ground):
    printed = ground.sandbox.folder("", "work") / "printed"
    await ground.run("mkfifo go; { read line; echo stray; touch printed; } <>go &")
    (ground.sandbox.folder("", "work") / "go").write_text("\n", encoding="utf-8")
    with anyio.fail_after(10):
        while not printed.exists():
            await anyio.lowlevel.checkpoint()
    assert await ground.said("echo own") == ("own\n", 0)


async def test_letters_that_the_reads_split_are_whole(ground):
    """Issue 7: UTF-8 split across reads."""
    text, code = await ground.said(
        "for part in '\\346' '\\227' '\\245'; do printf $part; sleep 0.02; done; echo"
    )
    assert (text, code) == ("日\n", 0)


async def test_binary_junk_is_shown_as_text(ground):
    """Issue 7: binary junk."""
    run = await ground.run("head -c 300000 /dev/urandom; echo; echo end")
    assert run.exit_code == 0
    assert run.page(tail=5).text == "end\n"
    assert run.output.total >= 300_000


async def test_much_output_is_bounded(tmp_path):
    """Issue 7: bounded in memory with a spill file … oldest dropped and said."""
    async with floor(tmp_path / "small", spill_mb=1) as ground:
        run = await ground.run("seq -w 2500000 | cat")
        assert (run.exit_code, run.output.total) == (0, 2_500_000 * 9)
        page = run.page(offset=0)
        assert page.dropped == run.output.dropped > run.output.total - (2 << 20)
        assert run.page(tail=9).text == "2500000\n"
        assert run.page(offset=run.output.total - 18).text == "2499999\n2500000\n"
        assert await ground.said("yes | head -c 4") == ("y\ny\n", 0)


async def test_a_reader_that_leaves_ends_the_writer(ground):
    assert await ground.said("yes | head -n 1; echo ${PIPESTATUS[0]}") == ("y\n141\n", 0)


async def test_many_children_are_no_burden(ground):
    text, code = await ground.said("for n in $(seq 200); do true & done; wait; echo all")
    assert (text.splitlines()[-1], code) == ("all", 0)


async def test_half_of_a_character_is_refused(ground):
    with pytest.raises(InvalidArgument, match="UTF-8"):
        await ground.terminals.run("", "work", "echo \ud83d")
    assert await ground.said("echo here") == ("here\n", 0)


async def test_scripts_are_gone_when_they_are_over(ground):
    await ground.run("true")
    await ground.run("exit 1")
    scripts = ground.sandbox.folder("", "work").with_name("scripts")
    assert [path.name for path in scripts.iterdir()] == ["rc"]


async def test_a_shell_that_left_what_kills_the_next_one_is_replaced(ground):
    await ground.run("a=1")
    await ground.run("kill -9 $$")
    ground.sandbox.folder("", "work").with_name("state").write_text("exit 9", encoding="utf-8")
    assert await ground.said("echo .$a here") == (". here\n", 0)

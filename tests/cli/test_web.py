"""The options about serving over HTTP, and what is said of those that cannot work."""

from pathlib import Path

import pytest

from eai_mcp import cli
from eai_mcp.cli import parser, web
from eai_mcp.errors import ConfigError

HTTP = ("--transport", "http")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "127.0.0.1"), "--host says nothing on stdio; leave it out"),
        (("--port", "0"), "--port says nothing on stdio; leave it out"),
        (("--path", ""), "--path says nothing on stdio; leave it out"),
        ((*HTTP, "--path", ""), "--path takes a path like /mcp"),
        ((*HTTP, "--path", "/mcp/"), "without a slash at its end: '/mcp'"),
        ((*HTTP, "--host", "[::1"), "is no address"),
        ((*HTTP, "--allow-origin", "https://a:99999"), "--allow-origin takes the origin of a page"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(options, message):
    """Issue 8: "loopback by default; other addresses need …, else it refuses to start"."""
    made = parser.build().parse_args(["serve", *options])
    with pytest.raises(ConfigError) as caught:
        web.check(made, has_terminal=False)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-body", "1MB"), "argument --max-body: must be a whole number, not '1MB'"),
        (("--port", ""), "argument --port: must be a whole number, not ''"),
        (("--principal-rate", "x"), "argument --principal-rate: must be a number, not 'x'"),
        (("--token-file", ""), "argument --token-file: must be the path of a file; it is empty"),
    ],
)
def test_what_is_no_value_is_named_without_all_the_options_before_it(capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        cli.run(["serve", *options])
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert (len(said), said[-1].endswith(message)) == (2, True)


def test_what_is_not_said_is_left_to_its_default():
    made = parser.build().parse_args(["serve", *HTTP, "--host", "LOCALHOST", "--token-file", "tokens"])
    web.check(made, has_terminal=False)
    assert (made.port, made.path, made.token_file) == (None, None, Path("tokens"))

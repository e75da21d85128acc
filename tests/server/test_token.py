"""The token that callers over HTTP have to say."""

import pytest

from eai_mcp.errors import ConfigError
from eai_mcp.server.token import Token
from tests.server.test_http import asked, connected

SECRET = "made-up-token-0123456789"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "token"
    made.write_text(f"{SECRET}\nnot this\n", encoding="utf-8")
    made.chmod(0o600)
    return made


@pytest.mark.parametrize(
    ("header", "is_in"),
    [
        (f"Bearer {SECRET}", True),
        (f"bearer  {SECRET} ", True),
        (SECRET, False),
        (f"Basic {SECRET}", False),
        (f"Bearer {SECRET}x", False),
        ("Bearer ", False),
        ("Bearer \xe4", False),
        ("", False),
    ],
)
def test_the_token_is_taken_as_a_bearer_alone(file, header, is_in):
    assert Token(file).is_in(header) is is_in


def test_an_editors_mark_is_no_part_of_it(file):
    file.write_text(f"{SECRET}\r\n", encoding="utf-8-sig")
    assert Token(file).is_in(f"Bearer {SECRET}")


def test_a_file_that_can_be_no_secret_is_refused(file, tmp_path):
    with pytest.raises(ConfigError, match="cannot read the token file"):
        Token(tmp_path / "none")
    with pytest.raises(ConfigError, match="is no file"):
        Token(tmp_path)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others; chmod 600"):
        Token(file)
    file.chmod(0o600)
    for content in ("", "short\n", f"\n{SECRET}\n", "x" * 5000):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match="must have 16 to 4096 characters"):
            Token(file)


async def test_who_does_not_say_it_is_turned_away(file):
    """Issue 7: "over HTTP that needs a token even on loopback"."""
    async with connected(token=Token(file)) as client:
        for path, method in (("/mcp", "POST"), ("/mcp", "GET"), ("/none", "GET")):
            reply = await client.request(method, path, content="{}")
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
            assert SECRET not in reply.text
        assert (await client.get("/healthz")).status_code == 200
        said = {"authorization": f"Bearer {SECRET}"}
        assert "tools" in (await asked(client, "tools/list", headers=said))["result"]

import base64

import httpx2
import pytest

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import AuthFailed, ConfigError, MissingKey
from eai_mcp.providers import http

MODEL = Model(name="m", provider="openai_chat", model="wire-1", api_key_env="M_KEY")


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/chat/completions"),
        ("https://h/a%2Fb?api-version=1", "https://h/a%2Fb/chat/completions?api-version=1"),
    ],
)
def test_the_path_is_put_under_the_base_url(base, whole):
    assert str(http.address(MODEL, base, "chat/completions")) == whole


@pytest.mark.parametrize("base", ["", "api.openai.com/v1", "ftp://h/v1", "http://", "http://h:port/v1"])
def test_a_base_url_that_is_none_is_a_mistake_of_the_model_file(base):
    with pytest.raises(ConfigError, match="model 'm': base_url should be like https://host/v1"):
        http.address(MODEL, base, "chat/completions")


def test_credentials_of_a_url_are_not_shown():
    url = http.address(MODEL, "http://user:pass@host:81/v1", "x")

    assert http.place(url) == "host:81"
    assert http.place(httpx2.URL("https://host/v1")) == "host"


def test_the_key_is_looked_up_at_each_call():
    environ: dict[str, str] = {}
    key = http.key_from(environ, MODEL)

    for value in (None, " \n"):
        environ |= {"M_KEY": value} if value else {}
        with pytest.raises(
            MissingKey, match="model 'm' needs an API key: set the environment variable M_KEY"
        ):
            key()
    environ["M_KEY"] = "secret\n"
    assert key() == "secret"


def test_a_model_without_a_key_variable_needs_none():
    assert http.key_from({}, Model(name="m", provider="p", model="x"))() is None


def test_the_models_own_headers_win():
    model = Model(name="m", provider="p", model="x", headers={"authorization": "Token t", "X-Title": "eai"})

    sent = http.headers(model, "secret")
    assert (sent["Authorization"], sent["x-title"], sent["accept"]) == ("Token t", "eai", "text/event-stream")


def test_the_key_stands_in_the_header_that_the_endpoint_reads():
    assert http.headers(MODEL, "secret")["Authorization"] == "Bearer secret"
    assert http.headers(MODEL, "secret", key_header="api-key")["api-key"] == "secret"
    assert "Authorization" not in http.headers(MODEL, None)


@pytest.mark.parametrize("key", ["clé-secret", "secret\nX-Evil: 1", "secret\x00"])
def test_a_key_that_no_header_can_carry_is_named_but_not_shown(key):
    with pytest.raises(AuthFailed, match="check M_KEY") as caught:
        http.headers(MODEL, key)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X-A": "hidden\n"}, {"X-A": "hiddé"}, {"": "hidden"}])
def test_a_header_that_cannot_be_sent_is_named_but_its_value_is_not_shown(headers):
    with pytest.raises(ConfigError, match="characters that a header cannot carry") as caught:
        http.headers(Model(name="m", provider="p", model="x", headers=headers), None)

    assert "hidd" not in str(caught.value)


async def test_the_client_keeps_no_cookies_and_asks_no_proxy_for_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with http.new_client() as client:
        response = httpx2.Response(
            200, headers={"set-cookie": "a=b"}, request=httpx2.Request("GET", "http://h")
        )
        client.cookies.extract_cookies(response)

        assert list(client.cookies.jar) == []
        proxied = client._transport_for_url(httpx2.URL("https://elsewhere/v1"))
        for here in ("http://127.0.0.1:80/v1", "http://localhost/v1", "http://[::1]/v1"):
            assert client._transport_for_url(httpx2.URL(here)) is client._transport is not proxied


@pytest.mark.parametrize("proxy", ["socks5://user:hidden@h:1", "nonsense://user:hidden@h:1"])
async def test_a_proxy_that_cannot_be_used_is_said_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)

    async with http.new_client() as client:
        with pytest.raises(ConfigError, match="the proxy in HTTP_PROXY") as caught:
            await client.get("https://elsewhere/v1")
        assert "hidden" not in str(caught.value)
        here = client._transport_for_url(httpx2.URL("http://127.0.0.1:80/v1"))
        assert here is client._transport, "this machine is reached without it"


def test_what_a_header_has_to_hide_is_more_than_its_whole_value():
    """A server may repeat the key alone, without the word in front of it."""
    login = base64.b64encode(b"me:pass:word").decode()
    headers = {"Authorization": f"Basic {login}", "X-Api-Key": "Token abcdefgh"}

    assert {*http.secrets_in(headers)} == {
        f"Basic {login}", "Basic", login, "me:pass:word", "me", "pass:word",
        "Token abcdefgh", "Token", "abcdefgh",
    }  # fmt: skip
    assert [*http.secrets_in({"Authorization": "Basic not-base64!"})][-1] == "not-base64!"

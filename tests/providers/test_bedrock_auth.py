"""Who asks Bedrock. The credentials are botocore's to find, so this is with the real one."""

import json
import re
import sys

import anyio
import httpx2
import pytest

from eai_mcp.calls import unheard
from eai_mcp.errors import AuthFailed, CallTimeout, ConfigError, MissingKey
from eai_mcp.providers import adapter
from eai_mcp.providers.bedrock_auth import Signer, install, missing
from tests.providers.answering import HELLO, Answers
from tests.providers.bedrock_bytes import answer, model, parts, reply
from tests.providers.bedrock_signature import ACCESS, KEYS, SECRET, is_signed

pytest.importorskip("botocore")

URL = httpx2.URL("https://bedrock-runtime.eu-west-1.amazonaws.com/model/x%3A0/converse-stream")
HEADERS = httpx2.Headers(
    {"content-type": "application/json", "x-amzn-bedrock-guardrail": "g", "x-other": "o"}
)


@pytest.fixture
def nowhere(tmp_path):
    """An environment in which there are no credentials to be found."""
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


async def signed(environ, *, headers=HEADERS, **options) -> httpx2.Headers:
    with anyio.fail_after(10):
        return await Signer(model(), environ, lambda: "eu-west-1", **options)(URL, headers, b"{}")


def holds(headers: httpx2.Headers, secret: str = SECRET) -> bool:
    sent = {**headers, "host": URL.host}
    return is_signed(URL.raw_path.decode(), sent, b"{}", region="eu-west-1", secret=secret)


async def test_a_request_is_signed_where_there_is_no_key():
    """Issue 3: SigV4, the credential chain, in threads."""
    answers = Answers(answer(reply()))
    ask = adapter(model(headers={"X-Amzn-Own": "a"}), parts(answers, AWS_REGION="eu-west-1", **KEYS))
    with anyio.fail_after(10):
        await ask(HELLO, unheard)

    (request,) = answers.requests
    raw_path = request.url.raw_path.decode()
    assert is_signed(raw_path, request.headers, request.content, region="eu-west-1")
    assert not is_signed(raw_path, request.headers, request.content + b" ", region="eu-west-1")
    assert not is_signed(raw_path, request.headers, request.content, region="eu-west-2")


async def test_the_region_of_the_host_is_signed_for():
    for host in (
        "bedrock-runtime-fips.us-east-2.amazonaws.com",
        "vpce-1.bedrock-runtime.us-east-2.vpce.amazonaws.com",
    ):
        answers = Answers(answer(reply()))
        ask = adapter(model(base_url=f"https://{host}"), parts(answers, AWS_REGION="eu-west-1", **KEYS))
        with anyio.fail_after(10):
            await ask(HELLO, unheard)
        (request,) = answers.requests
        assert request.url.host == host
        assert is_signed(request.url.raw_path.decode(), request.headers, request.content, region="us-east-2")


async def test_the_signature_covers_what_no_proxy_changes():
    headers = await signed({**KEYS, "AWS_SESSION_TOKEN": "session"})

    assert holds(headers)
    assert headers["x-amz-security-token"] == "session"
    assert headers["x-other"] == "o"
    covered = "content-type;host;x-amz-date;x-amz-security-token"
    assert f"SignedHeaders={covered}," in headers["authorization"]


async def test_an_authorization_of_the_models_own_is_left_alone():
    own = httpx2.Headers({"authorization": "Bearer x"})

    assert await signed({}, headers=own) is own


async def test_credentials_are_read_from_the_profile_that_is_named_and_read_again(nowhere, tmp_path):
    """Whoever renews them by writing the file should not have to start us again."""
    file = tmp_path / "credentials"
    lines = "[work]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    signer = Signer(model(), {**nowhere, "AWS_PROFILE": "work"}, lambda: "eu-west-1")

    for secret in (SECRET, "another"):
        file.write_text(lines.format(ACCESS, secret), encoding="utf-8")
        with anyio.fail_after(10):
            assert holds(await signer(URL, HEADERS, b"{}"), secret)


async def test_credentials_that_renew_themselves_are_kept(nowhere, tmp_path):
    given = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "SessionToken": "t", "Version": 1}
    count = tmp_path / "count"
    shown = tmp_path / "shown.json"
    shown.write_text(json.dumps({**given, "Expiration": "2999-01-01T00:00:00Z"}), encoding="utf-8")
    program = tmp_path / "program.py"
    code = f"open({str(count)!r}, 'a').write('x')\nprint(open({str(shown)!r}).read())\n"
    program.write_text(code, encoding="utf-8")
    line = f"credential_process = {sys.executable} {program}\n"
    (tmp_path / "config").write_text(f"[default]\n{line}", encoding="utf-8")
    signer = Signer(model(), nowhere, lambda: "eu-west-1")

    with anyio.fail_after(10):
        for _ in range(3):
            assert holds(await signer(URL, HEADERS, b"{}"))
    assert count.read_text(encoding="utf-8") == "x"


async def test_without_credentials_it_is_said_what_to_set(nowhere):
    with pytest.raises(MissingKey) as caught:
        await signed(nowhere)

    assert str(caught.value) == (
        "model 'm' needs an API key or AWS credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID "
        "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile with credentials"
    )


async def test_credentials_that_cannot_be_had_are_an_error_of_ours(nowhere, tmp_path):
    with pytest.raises(AuthFailed, match=r"cannot be had: The config profile \(nobody\) could not be found"):
        await signed({**nowhere, "AWS_PROFILE": "nobody"})
    with pytest.raises(AuthFailed, match="AWS_SECRET_ACCESS_KEY"):
        await signed({**nowhere, "AWS_ACCESS_KEY_ID": ACCESS})

    (tmp_path / "config").write_text("[default]\ncredential_process = /no/such/program\n", encoding="utf-8")
    with pytest.raises(AuthFailed, match="cannot be had"):
        await signed(nowhere)


async def test_nobody_waits_for_credentials_longer_than_they_want_to(nowhere, tmp_path):
    script = f'{sys.executable} -c "import time; time.sleep(2)"'
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {script}\n", encoding="utf-8")

    with anyio.fail_after(1.5), anyio.move_on_after(0.1) as scope:
        await signed(nowhere)
    assert scope.cancelled_caught

    with pytest.raises(CallTimeout, match=r"credentials for model 'm' did not come within 0\.1 s"):
        await signed(nowhere, patience_s=0.1)


def absent(name: str) -> object:
    """Whether a package is there: botocore is not."""
    return None if name == "botocore" else name


async def test_without_the_extra_it_is_said_how_to_get_it():
    """Issue 3: extra [bedrock]."""
    with pytest.raises(ConfigError) as caught:
        await signed(KEYS, find=absent)

    assert str(caught.value).startswith(
        "model 'm' has no API key: set AWS_BEARER_TOKEN_BEDROCK; or, to sign with"
    )
    assert re.search(r"-m pip install '?(botocore|eai-mcp\[bedrock\])", str(caught.value))

    asked = parts(Answers(), AWS_REGION="eu-west-1")
    assert (missing(model(), asked, find=absent) or "").startswith(
        "set AWS_BEARER_TOKEN_BEDROCK to an API key"
    )
    assert (
        missing(model(), parts(Answers(), AWS_REGION="x", AWS_BEARER_TOKEN_BEDROCK="t"), find=absent) is None
    )


def test_uv_installs_where_there_is_no_pip():
    assert install(find=lambda _: None, which=lambda _: "uv").startswith("run `uv pip install --python ")
    assert "-m pip install" in install(find=lambda _: None, which=lambda _: None)

import subprocess
import sys

import anyio
import httpx2
import pytest

from eai_mcp.calls import ModelRequest, Samplers, TextDelta, unheard
from eai_mcp.errors import (
    AuthFailed,
    CallTimeout,
    ConfigError,
    MissingKey,
    RateLimited,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import assistant
from eai_mcp.providers import adapter, missing
from tests.providers.answering import HELLO, Answers, Bytes
from tests.providers.bedrock_bytes import (
    TYPE,
    answer,
    end,
    event,
    model,
    parts,
    reply,
    start,
    stop,
    text,
    usage,
)

TOKEN = {"AWS_BEARER_TOKEN_BEDROCK": "hunter2hunter2", "AWS_REGION": "eu-west-1"}
HOST = "https://bedrock-runtime.{}.amazonaws.com"


async def told(answers: Answers, environ: dict[str, str] = TOKEN, request: ModelRequest = HELLO, **fields):
    with anyio.fail_after(5):
        return await adapter(model(**fields), parts(answers, **environ))(request, unheard)


async def failure(kind: type[Exception], answers: Answers, *args, **fields):
    with pytest.raises(kind) as caught:
        await told(answers, *args, **fields)
    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)
    return caught.value


def refusal(status: int, name: str, words: str) -> httpx2.Response:
    headers = {"x-amzn-errortype": f"{name}:http://internal/", "x-amzn-requestid": "r1"}
    return httpx2.Response(status, json={"message": words}, headers=headers)


async def test_a_model_is_asked_in_its_region_with_the_key_of_the_environment():
    """Issue 3: API-key bearer without any extra."""
    answers = Answers(answer(reply()))
    response = await told(answers)

    (request,) = answers.requests
    assert request.method == "POST"
    assert str(request.url) == f"{HOST.format('eu-west-1')}/model/maker.wire-1%3A0/converse-stream"
    assert request.headers["authorization"] == "Bearer hunter2hunter2"
    assert request.headers["accept"] == TYPE
    assert "x-amz-date" not in request.headers
    assert answers.bodies == [{"messages": [{"role": "user", "content": [{"text": "hello"}]}]}]
    assert (response.message, response.served_by) == (assistant("hi"), "m")


async def test_a_key_that_the_models_file_names_comes_first():
    answers = Answers(answer(reply()))
    await told(answers, {**TOKEN, "M_KEY": "another"}, api_key_env="M_KEY")
    assert answers.requests[0].headers["authorization"] == "Bearer another"

    with pytest.raises(MissingKey, match="set the environment variable M_KEY"):
        await told(Answers(), api_key_env="M_KEY")


@pytest.mark.parametrize(
    ("fields", "environ", "host"),
    [
        ({}, {"AWS_DEFAULT_REGION": "us-west-2"}, HOST.format("us-west-2")),
        ({}, {"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-2"}, HOST.format("a-1")),
        ({"quirks": {"region": "us-east-1"}}, {"AWS_REGION": "a-1"}, HOST.format("us-east-1")),
        ({"base_url": "http://host:81/x/"}, {}, "http://host:81/x"),
    ],
)
async def test_the_region_comes_from_the_url_the_quirks_or_the_environment(fields, environ, host):
    answers = Answers(answer(reply()))
    await told(answers, {"AWS_BEARER_TOKEN_BEDROCK": "t", **environ}, **fields)

    assert str(answers.requests[0].url) == f"{host}/model/maker.wire-1%3A0/converse-stream"


async def test_an_arn_is_one_part_of_the_path():
    answers = Answers(answer(reply()))
    await told(answers, model="arn:aws:bedrock:eu-west-1:1:inference-profile/eu.x")

    path = b"/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.x/converse-stream"
    assert answers.requests[0].url.raw_path == path


@pytest.mark.parametrize(
    ("environ", "words"),
    [({}, "no AWS region is named"), ({"AWS_REGION": "x.evil/"}, "'x.evil/' is no AWS region")],
)
async def test_without_a_region_it_is_said_what_to_set(environ, words):
    error = await failure(ConfigError, Answers(), {"AWS_BEARER_TOKEN_BEDROCK": "t", **environ})

    assert str(error) == (
        f"model 'm': {words}; set AWS_REGION, or region under [quirks] in the model's file, to a name like "
        "us-east-1"
    )


def test_a_model_file_that_cannot_work_is_refused_when_it_is_first_used():
    for entry in (model(base_url="nowhere"), model(quirks={"x": 1})):
        with pytest.raises(ConfigError, match="model 'm'"):
            adapter(entry, parts(Answers()))


async def test_a_refused_default_is_left_out_and_the_callers_own_is_reported():
    """Issue 3: a 400 that names a default sampler is retried once; one that the caller set is reported."""
    words = "The model returned the following errors: `top_p` is deprecated for this model."
    defaults = Samplers(top_p=0.5)

    answers = Answers(refusal(400, "ValidationException", words), answer(reply()))
    response = await told(answers, samplers=defaults)
    assert ["inferenceConfig" in body for body in answers.bodies] == [True, False]
    assert response.warnings == ("top_p was not sent: this endpoint refuses the top_p of the model's file",)

    own = ModelRequest(messages=HELLO.messages, samplers=defaults)
    bad = refusal(400, "ValidationException", words)
    assert words.rstrip(".") in str(await failure(Rejected, Answers(bad), TOKEN, own))


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (refusal(403, "UnrecognizedClientException", "no"), AuthFailed, "no. Check AWS_BEARER_TOKEN_BEDROCK"),
        (refusal(404, "ResourceNotFoundException", "no model"), Rejected, "knows no such model or path"),
        (refusal(429, "ThrottlingException", "Too many tokens"), RateLimited, "asks to wait (HTTP 429)"),
        (refusal(429, "ThrottlingException", "tokens per day"), RateLimited, "no tokens left for today"),
        (refusal(424, "ModelErrorException", "it broke"), Unavailable, "(HTTP 424): it broke"),
    ],
)  # fmt: skip
async def test_refusals_are_told_apart_with_the_id_of_the_request(answered, kind, words):
    """Issue 3: errors mapped once, with request id, retryable or not."""
    error = await failure(kind, Answers(answered))

    assert words in str(error)
    assert error.details["request_id"] == "r1"


async def test_a_session_token_is_not_repeated_from_a_refused_signature():
    said = "should have been 'POST\n/model\n\nhost:x\nx-amz-security-token:IQoJb3JpZ2luX2VjEXAMPLE=\n\n'"
    error = await failure(AuthFailed, Answers(refusal(403, "InvalidSignatureException", said)))

    assert "IQoJ" not in str(error)
    assert "does not accept the key" in str(error)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], f"answered with {TYPE}, which is no reply"),
        ([start(), text("a")], "ended the stream before the reply was finished"),
        ([start(), text("a"), b"x" * 99], "cannot be followed: the beginning of a message is damaged"),
        ([start(), event("contentBlockDelta", b"{")], "sent a piece of the reply that is not JSON"),
        ([start(), b"\x00\x00", httpx2.ReadError("reset")], "broke off: reset"),
    ],
)
async def test_a_stream_that_is_not_whole_is_an_error(pieces, words):
    """Issue 3: a stream that ends without its terminal event is an error, as is a corrupt chunk."""
    assert words in str(await failure(Unavailable, Answers(answer(*pieces))))


@pytest.mark.parametrize("media_type", ["application/json", "text/html"])
async def test_a_success_that_is_no_stream_is_an_error(media_type):
    page = httpx2.Response(200, content=b"{}", headers={"content-type": media_type})

    assert f"answered with {media_type}, which is no" in str(await failure(Unavailable, Answers(page)))


@pytest.mark.parametrize("last", [[], [usage()]], ids=["finished", "done"])
async def test_a_finished_reply_does_not_wait_for_the_connection_to_end(last):
    answers = Answers(answer(start(), text("hi"), stop(), end(), *last, None))
    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.3)

    assert (await told(answers, TOKEN, request)).message == assistant("hi")


async def test_a_finished_reply_survives_what_happens_to_the_connection():
    answers = Answers(answer(start(), text("hi"), stop(), end(), httpx2.ReadError("reset")))

    assert (await told(answers)).message == assistant("hi")


async def test_the_deadline_ends_the_call_with_the_text_so_far():
    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.05)

    error = await failure(CallTimeout, Answers(answer(start(), text("so far"), None)), TOKEN, request)
    assert error.partial == "so far"


async def test_cancelling_closes_the_response_and_is_not_an_error():
    body = Bytes([start() + text("so far"), None])
    answers = Answers(httpx2.Response(200, headers={"content-type": TYPE}, stream=body))
    heard: list[object] = []

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(event: object) -> None:
                heard.append(event)
                tasks.cancel_scope.cancel()

            tasks.start_soon(adapter(model(), parts(answers, **TOKEN)), HELLO, hear)
    assert body.closed
    assert heard == [TextDelta("so far")]


def test_what_is_missing_is_told_before_anything_is_asked():
    assert missing(model(), parts(Answers())) == "AWS_REGION is not set"
    assert missing(model(quirks={"region": "eu-west-1"}), parts(Answers())) is None
    assert missing(model(), parts(Answers(), **TOKEN)) is None
    assert missing(model(api_key_env="M_KEY"), parts(Answers(), **TOKEN)) == "M_KEY is not set"


def test_the_adapter_pulls_in_no_sdk():
    """Issue 3: import of `eai_mcp.providers` pulls in no vendor SDK."""
    code = (
        "import sys, eai_mcp.providers.bedrock, eai_mcp.providers.bedrock_auth\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "[]\n"

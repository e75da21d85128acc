import email.utils
from typing import Any

import httpx2
import pytest

from eai_mcp.errors import (
    AuthFailed,
    CallTimeout,
    ContextOverflow,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
)
from eai_mcp.providers import failures
from eai_mcp.providers.complaints import Complaint
from eai_mcp.providers.failures import Endpoint

HERE = Endpoint(model="m", host="api.example", key_env="M_KEY", secrets=("hunter2hunter2",))
NOW = 1_700_000_000.0


def of_status(status: int, said: Complaint | None = None, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failures.of_status(
        HERE, said or Complaint(), status=status, headers=httpx2.Headers(named), now=lambda: NOW
    )


def of_stream(**said: Any):
    return failures.of_stream(HERE, Complaint(**said), partial="so far", headers={"x-request-id": "r1"})


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (302, Rejected, False),
        (400, Rejected, False),
        (401, AuthFailed, False),
        (402, RateLimited, False),
        (403, AuthFailed, False),
        (404, Rejected, False),
        (408, CallTimeout, True),
        (409, Unavailable, True),
        (413, ContextOverflow, False),
        (422, Rejected, False),
        (425, Unavailable, True),
        (429, RateLimited, True),
        (498, Unavailable, True),
        (500, Unavailable, True),
        (502, Unavailable, True),
        (503, Unavailable, True),
        (504, CallTimeout, True),
        (529, Unavailable, True),
    ],
)
def test_each_status_has_its_class(status, kind, retryable):
    error = of_status(status)

    assert (type(error), error.retryable, error.details["status"]) == (kind, retryable, status)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (429, Complaint(code="insufficient_quota", words="no money"), RateLimited),
        (429, Complaint(kind="enforced_spend_limit_reached"), RateLimited),
        (400, Complaint(code="context_length_exceeded"), ContextOverflow),
        (400, Complaint(kind="exceed_context_size_error"), ContextOverflow),
        (400, Complaint(words="This model's maximum context length is 8192 tokens."), ContextOverflow),
        (400, Complaint(words="prompt is too long: 9 tokens > 8 maximum"), ContextOverflow),
        (400, Complaint(words="input length and `max_tokens` exceed context limit: 8"), ContextOverflow),
        (400, Complaint(words="The input token count (9) exceeds the maximum"), ContextOverflow),
        (422, Complaint(words="Prompt contains 9 tokens, too large for model with 8"), ContextOverflow),
        (400, Complaint(words="max_tokens is too large; the maximum context length is 8"), Rejected),
        (400, Complaint(code="content_filter"), Refused),
        (400, Complaint(words="Incorrect API key provided"), AuthFailed),
        (400, Complaint(words="API key not valid. Please pass a valid API key."), AuthFailed),
        (400, Complaint(words="API key expired.", kind="API_KEY_INVALID"), AuthFailed),
        (404, Complaint(code="model_not_found"), Rejected),
        (413, Complaint(code="rate_limit_exceeded", kind="tokens"), ContextOverflow),
        (500, Complaint(kind="invalid_request_error"), Unavailable),
        (500, Complaint(words="image input is not supported"), Rejected),
    ],
)  # fmt: skip
def test_what_the_provider_says_counts_more_than_its_status(status, said, kind):
    error = of_status(status, said)

    assert type(error) is kind
    assert error.retryable is (kind is Unavailable)


def test_the_message_says_who_what_and_what_to_do():
    said = Complaint(words="Incorrect API key provided: hunter2hunter2.", code="invalid_api_key")

    assert str(of_status(401, said)) == (
        "model 'm' at api.example does not accept the key (HTTP 401): "
        "Incorrect API key provided: [hidden]. Check M_KEY"
    )
    assert "api_key_env in the model's file" in str(
        failures.of_status(Endpoint(model="m", host="h"), Complaint(), status=401, headers={})
    )
    assert "hunter2" not in repr(HERE)


def test_a_wait_that_is_asked_for_is_told_in_whole_seconds():
    error = of_status(429, Complaint(words="Rate limit reached"), retry_after="7")

    assert str(error) == (
        "model 'm' at api.example asks to wait (HTTP 429): Rate limit reached. Try again in 7 s"
    )
    assert error.retry_after_s == 7.0


def test_a_wait_may_stand_in_the_body_but_a_header_counts_more():
    """Facts, section 6: 429 carries `RetryInfo.retryDelay` ("34.4s") in details and no header."""
    said = Complaint(code="429", retry_after_s=34.4)

    assert of_status(429, said).retry_after_s == 34.4
    assert of_status(429, said, retry_after="7").retry_after_s == 7.0
    assert of_status(400, said).retry_after_s is None
    assert of_stream(code="429", retry_after_s=34.4).retry_after_s == 34.4


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
        ({"retry-after": email.utils.formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": email.utils.formatdate(NOW - 90, usegmt=True)}, None),
    ],
)
def test_every_form_of_retry_after_is_read(headers, wait_s):
    assert failures.retry_after_s(headers, now=lambda: NOW) == wait_s


def test_x_should_retry_overrides_the_status_but_not_an_empty_account():
    assert of_status(503, x_should_retry="false", retry_after="3").retryable is False
    assert of_status(503, x_should_retry="false", retry_after="3").retry_after_s is None
    assert of_status(400, x_should_retry="TRUE").retryable is True
    assert of_status(500, x_should_retry="maybe").retryable is True
    assert of_status(429, Complaint(code="insufficient_quota"), x_should_retry="true").retryable is False


@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "mistral-correlation-id",
        "x-ds-trace-id",
        "x-generation-id",
    ],
)
def test_the_providers_request_id_is_found_under_every_name(name):
    assert failures.request_id(httpx2.Headers({name: "abc"})) == "abc"


def test_a_request_id_is_short_and_printable():
    assert failures.request_id({"x-request-id": "x" * 500}) == "x" * 128
    assert failures.request_id({"x-request-id": "a\x1bb", "request-id": "c"}) == "c"


@pytest.mark.parametrize(
    ("said", "kind", "retryable"),
    [
        ({"words": "boom"}, Unavailable, True),
        ({"code": "server_error"}, Unavailable, True),
        ({"code": "502"}, Unavailable, True),
        ({"code": "429"}, RateLimited, True),
        ({"code": "1234"}, Unavailable, True),
        ({"kind": "rate_limit_exceeded"}, RateLimited, True),
        ({"kind": "invalid_request_error"}, Rejected, False),
        ({"kind": "overloaded_error"}, Unavailable, True),
        ({"kind": "timeout"}, CallTimeout, True),
        ({"code": "context_length_exceeded"}, ContextOverflow, False),
        ({"words": "prompt is too long"}, ContextOverflow, False),
        ({"code": "invalid_api_key"}, AuthFailed, False),
        ({"code": "content_filter"}, Refused, False),
    ],
)
def test_an_error_inside_a_stream_keeps_what_was_said_before_it(said, kind, retryable):
    error = of_stream(**said)

    assert (type(error), error.retryable, error.partial) == (kind, retryable, "so far")
    assert error.details["request_id"] == "r1"


TRANSPORT = {
    "HTTPError": Unavailable,
    "HTTPStatusError": Unavailable,
    "RequestError": Unavailable,
    "TransportError": Unavailable,
    "TimeoutException": CallTimeout,
    "ConnectTimeout": Unavailable,
    "ReadTimeout": CallTimeout,
    "WriteTimeout": CallTimeout,
    "PoolTimeout": Unavailable,
    "NetworkError": Unavailable,
    "ConnectError": Unavailable,
    "ReadError": Unavailable,
    "WriteError": Unavailable,
    "CloseError": Unavailable,
    "ProxyError": Unavailable,
    "UnsupportedProtocol": Rejected,
    "ProtocolError": Unavailable,
    "LocalProtocolError": Rejected,
    "RemoteProtocolError": Unavailable,
    "DecodingError": Unavailable,
    "TooManyRedirects": Rejected,
    "InvalidURL": Rejected,
}
OUR_BUGS = {
    "CookieConflict",
    "StreamError",
    "StreamConsumed",
    "StreamClosed",
    "ResponseNotRead",
    "RequestNotRead",
}
NOT_USED = {"SSEError"}


def test_every_exception_of_the_http_library_is_mapped_or_a_bug_of_ours():
    known = {
        name
        for name, kind in vars(httpx2).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and not name.startswith("_")
    }

    assert known - OUR_BUGS - NOT_USED == set(TRANSPORT) == {k.__name__ for k in failures.TRANSPORT}


@pytest.mark.parametrize(("name", "kind"), TRANSPORT.items())
def test_each_of_them_becomes_its_class_with_the_text_so_far(name, kind):
    cause = getattr(httpx2, name)
    more = {"request": None, "response": None} if name == "HTTPStatusError" else {}
    error = failures.of_transport(HERE, cause("words of hunter2hunter2", **more), partial="so far")

    assert (type(error), error.partial, error.retryable) == (kind, "so far", kind.retryable)
    assert str(error).startswith("model 'm' at api.example ")
    assert "hunter2" not in str(error)


def test_a_certificate_that_cannot_be_verified_is_not_tried_again():
    cause = httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    error = failures.of_transport(HERE, cause)

    assert str(error).endswith(
        "could not be reached: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"
    )
    assert error.retryable is False


def test_words_that_may_quote_a_header_are_left_out():
    error = failures.of_transport(HERE, httpx2.LocalProtocolError("Illegal header value b'other-secret'"))

    assert str(error) == (
        "model 'm' at api.example was not asked: the URL or a header of the request is malformed"
    )


def test_an_exception_that_is_new_counts_as_what_it_derives_from():
    new = type("NewTimeout", (httpx2.ReadTimeout,), {})

    assert type(failures.of_transport(HERE, new("x"))) is CallTimeout


def test_a_page_in_place_of_a_reply_is_named_by_its_title():
    error = failures.of_body(
        HERE,
        headers={"content-type": "text/html; charset=utf-8", "x-request-id": "r1"},
        body=b"<html><title>Portal login</title><body>secret</body></html>",
    )

    assert str(error) == (
        "model 'm' at api.example answered with text/html, which is no reply (a page titled 'Portal login'); "
        "does base_url lead to the API?"
    )
    assert error.details["request_id"] == "r1"


def test_an_empty_answer_is_said_to_be_none():
    assert str(failures.of_body(HERE, headers={})) == (
        "model 'm' at api.example answered with no stated type, which is no reply; "
        "does base_url lead to the API?"
    )


@pytest.mark.parametrize(
    ("status", "name", "words", "kind", "retryable"),
    [
        (400, "ValidationException", "bad", Rejected, False),
        (400, "ValidationException", "Input is too long for requested model.", ContextOverflow, False),
        (403, "AccessDeniedException", "no", AuthFailed, False),
        (403, "UnrecognizedClientException", "no", AuthFailed, False),
        (403, "ExpiredTokenException", "no", AuthFailed, False),
        (404, "ResourceNotFoundException", "no", Rejected, False),
        (408, "ModelTimeoutException", "slow", CallTimeout, True),
        (424, "ModelErrorException", "oops", Unavailable, True),
        (429, "ThrottlingException", "Too many tokens, please wait.", RateLimited, True),
        (429, "ThrottlingException", "Too many tokens per day, please wait.", RateLimited, False),
        (429, "ModelNotReadyException", "wait", RateLimited, True),
        (500, "InternalServerException", "oops", Unavailable, True),
        (503, "ServiceUnavailableException", "oops", Unavailable, True),
    ],
)
def test_the_names_of_aws_stand_in_a_header(status, name, words, kind, retryable):
    """Facts on Bedrock: `x-amzn-errortype: Name[:url]`; its "tokens per day" are not retried."""
    header = f"{name}:http://internal.example/"
    error = of_status(status, Complaint(words=words), x_amzn_errortype=header, x_amzn_requestid="r7")

    assert (type(error), error.retryable) == (kind, retryable)
    assert error.details["request_id"] == "r7"


def test_a_key_that_was_refused_is_told_from_one_that_may_not():
    refused = of_status(403, x_amzn_errortype="InvalidSignatureException")
    assert "does not accept the key" in str(refused)
    assert "does not allow this" in str(of_status(403, x_amzn_errortype="AccessDeniedException"))


@pytest.mark.parametrize(
    ("code", "words", "kind", "retryable"),
    [
        ("ThrottlingException", "Too many tokens, please wait.", RateLimited, True),
        ("ValidationException", "bad", Rejected, False),
        ("ValidationException", "Input is too long for requested model.", ContextOverflow, False),
        ("AccessDeniedException", "no", AuthFailed, False),
        ("424", "oops", Unavailable, True),
    ],
)
def test_the_names_of_aws_mean_the_same_inside_a_stream(code, words, kind, retryable):
    error = of_stream(code=code, words=words)

    assert (type(error), error.retryable) == (kind, retryable)

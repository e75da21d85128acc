import json

import pytest

from eai_mcp.messages import JsonObject
from eai_mcp.providers.complaints import Complaint, complaint, complaint_in, glimpse, media_type, plain

OPENAI = {"message": "bad", "type": "invalid_request_error", "param": "seed", "code": "unsupported_value"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": OPENAI},
            Complaint(words="bad", code="unsupported_value", kind="invalid_request_error", param="seed"),
        ),
        ({"error": {"message": "bad", "code": 429}}, Complaint(words="bad", code="429")),
        ({"error": "bad", "code": "x"}, Complaint(words="bad", code="x")),
        ({"message": "bad"}, Complaint(words="bad")),
        ({"detail": "Invalid API Key"}, Complaint(words="Invalid API Key")),
        (
            {"detail": [{"loc": ["body", "top_k"], "msg": "not permitted"}]},
            Complaint(words="top_k: not permitted", param="top_k"),
        ),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}, "type": "t"},
            Complaint(words="n: no", kind="t", param="n"),
        ),
        ({"detail": [{"message": "no"}]}, Complaint(words="no")),
        ({"detail": []}, Complaint()),
        ([{"error": {"message": "bad", "code": 400}}], Complaint(words="bad", code="400")),
        ({"type": "error", "error": {"type": "busy", "message": "x"}}, Complaint(words="x", kind="busy")),
        ({"error": {"message": "x", "details": {"error_code": "spend"}}}, Complaint(words="x", kind="spend")),
        ({"error": {"error": {"error": {"error": {"error": "too deep"}}}}}, Complaint()),
        ({"error": {"message": {"a": 1}, "code": None}}, Complaint()),
        ("bad", Complaint(words="bad")),
        ([], Complaint()),
        (7, Complaint()),
    ],
)  # fmt: skip
def test_the_sentence_is_found_in_every_shape(body, said):
    assert complaint(body) == said


def test_a_gateway_passes_on_what_the_provider_behind_it_said():
    raw = json.dumps({"error": {"message": "prompt is too long"}})
    error: JsonObject = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}

    assert complaint({"error": error}) == Complaint(words="prompt is too long", code="400")
    error["metadata"] = {"raw": "not json"}
    assert complaint({"error": error}) == Complaint(words="Provider returned error", code="400")


def test_an_input_that_a_gateway_flagged_counts_as_filtered():
    error: JsonObject = {
        "message": "flagged",
        "code": 403,
        "metadata": {"flagged_input": "…", "reasons": ["x"]},
    }

    assert complaint({"error": error}).kind == "content_filter"


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ([{"@type": "RetryInfo", "retryDelay": "34.4s"}], Complaint(words="x", retry_after_s=34.4)),
        ([{"@type": "RetryInfo", "retryDelay": "9s"}], Complaint(words="x", retry_after_s=9.0)),
        ([{"@type": "RetryInfo", "retryDelay": "0s"}], Complaint(words="x")),
        ([{"@type": "RetryInfo", "retryDelay": "soon"}], Complaint(words="x")),
        ([{"@type": "RetryInfo"}, 7, {}], Complaint(words="x")),
        ([{"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}], Complaint(words="x", kind="API_KEY_INVALID")),
        (
            [{"@type": "BadRequest", "fieldViolations": [{"field": "generation_config.top_k"}]}],
            Complaint(words="x", param="generationConfig.topK"),
        ),
        ([{"@type": "BadRequest", "fieldViolations": [7]}], Complaint(words="x")),
        ([{"@type": "BadRequest", "fieldViolations": []}], Complaint(words="x")),
    ],
)
def test_what_google_says_beside_its_words_counts_too(details, said):
    """Facts, section 6: 429 carries `RetryInfo.retryDelay` ("34.4s") in details and no header."""
    for note in details:
        if isinstance(note, dict) and note:
            note["@type"] = f"type.googleapis.com/google.rpc.{note['@type']}"

    assert complaint({"error": {"message": "x", "details": details}}) == said


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (b"<html><title>502 &amp;\n down</title><b>key</b>", "text/html", "a page titled '502 & down'"),
        (b"<!DOCTYPE html><body>x", "", "a page without a title"),
        (b"<title>" + b"t" * 200, "text/html", f"a page titled {'t' * 80!r}"),
        (b"upstream  connect\nerror", "text/plain", "upstream connect error"),
        (b"{broken", "application/json", "7 bytes"),
        (b"\x00\x01", "", "2 bytes"),
        (b"", "application/json", ""),
    ],
)
def test_of_a_body_that_is_no_json_only_a_glimpse_is_shown(body, content_type, shown):
    assert glimpse(body, content_type) == shown
    assert complaint_in(body, content_type) == Complaint(words=shown)


def test_a_json_body_is_read_whatever_its_type_says():
    assert complaint_in(b'{"error": "bad"}', "text/html") == Complaint(words="bad")


def test_the_media_type_stands_alone():
    assert media_type("Text/HTML; charset=utf-8") == "text/html"
    assert media_type("<script>") == "no stated type"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\n lines\x00\x1b[31m", "two lines [31m"),
        ("key hunter2hunter2 is wrong", "key [hidden] is wrong"),
        ("Incorrect key: sk-proj-abc***xyz.", "Incorrect key: [hidden]"),
        ("got Bearer abcdef123456", "got [hidden]"),
        ("half \ud83d", "half \ufffd"),
        ("<html><title>Down</title>secret</html>", "a page titled 'Down'"),
        ("x" * 600, "x" * 499 + "…"),
        ("v is v", "v is v"),
    ],
)
def test_words_are_one_line_without_keys(text, shown):
    assert plain(text, secrets=("hunter2hunter2", "v")) == shown


def test_aws_writes_its_message_with_a_capital_at_times():
    assert complaint({"Message": "no access"}).words == "no access"


def test_a_session_token_of_aws_is_cut_out_of_what_it_says_it_wanted_to_see():
    said = "should have been 'host:x\nx-amz-security-token:IQoJb3JpZ2luX2VjEXAMPLE//////////==\n'"

    assert plain(said) == "should have been 'host:x [hidden] '"

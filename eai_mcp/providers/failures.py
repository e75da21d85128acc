"""Where what went wrong at a provider becomes one of our errors, in words for a person.

of_status      an HTTP status other than success
of_stream      a complaint inside a stream that began well
of_transport   the connection itself
of_body        a success that is not a reply
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

import httpx2

from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    ContextOverflow,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
)
from eai_mcp.providers.complaints import LONGEST_TITLE, Complaint, glimpse, media_type, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Whom an error is about; `key_env` names the variable with the key, if there is one.

    Whatever is in `secrets` is cut out of the provider's words.
    """

    model: str
    host: str
    key_env: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"model {self.model!r} at {self.host}"


def broken(endpoint: Endpoint, sentence: str, *, partial: str, headers: Mapping[str, str]) -> Unavailable:
    """The error for a reply that cannot be used, with what there is of it; `sentence` follows the name."""
    return Unavailable(
        f"{endpoint} {sentence}", partial=partial, model=endpoint.model, request_id=request_id(headers)
    )


def of_status(
    endpoint: Endpoint,
    said: Complaint,
    *,
    status: int,
    headers: Mapping[str, str],
    now: Callable[[], float] = time.time,
) -> CallError:
    """The error for an HTTP status. `now` gives seconds since 1970, for a date in the headers."""
    said = _named(said, headers)
    meaning = _lasting(_meaning(said, status), said)
    return _error(
        endpoint,
        said,
        meaning,
        retryable=_should_retry(meaning, headers),
        wait_s=retry_after_s(headers, now=now) or said.retry_after_s,
        status=status,
        request_id=request_id(headers),
    )


def of_stream(endpoint: Endpoint, said: Complaint, *, partial: str, headers: Mapping[str, str]) -> CallError:
    """The error for a complaint that came after the status 200, whose own `retry-after` means nothing."""
    meaning = _lasting(_meaning(said, None), said)
    return _error(
        endpoint,
        said,
        meaning,
        retryable=meaning.retryable,
        wait_s=said.retry_after_s,
        partial=partial,
        request_id=request_id(headers),
    )


def of_transport(
    endpoint: Endpoint, error: httpx2.HTTPError | httpx2.InvalidURL, *, partial: str = ""
) -> CallError:
    """The error for an exception of the HTTP library."""
    row = next(TRANSPORT[kind] for kind in type(error).__mro__ if kind in TRANSPORT)
    words = plain(UNCONNECTED.get(str(error), str(error)), secrets=endpoint.secrets) if row.quoted else ""
    return row.kind(
        f"{endpoint} {row.sentence}" + (f": {words}" if words else ""),
        partial=partial,
        retryable=row.kind.retryable and "CERTIFICATE_VERIFY_FAILED" not in words,
        model=endpoint.model,
    )


def of_body(endpoint: Endpoint, *, headers: Mapping[str, str], body: bytes = b"") -> Unavailable:
    """The error for a success whose body is no reply: a page of some proxy, or nothing."""
    content_type = headers.get("content-type", "")
    shown = plain(glimpse(body, content_type), secrets=endpoint.secrets)
    return Unavailable(
        f"{endpoint} answered with {media_type(content_type)}, which is no reply"
        + (f" ({shown})" if shown else "")
        + "; does base_url lead to the API?",
        model=endpoint.model,
        request_id=request_id(headers),
    )


def retry_after_s(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait, as the headers of an error ask; None when they do not, or ask for no time at all."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    return _number(text) or _until(text, now)


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's name for the request, under any of the headers in use."""
    named = (headers.get(name, "") for name in _REQUEST_IDS)
    return next((value[:128] for value in named if value and value.isprintable()), None)


_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-ds-trace-id",
    "x-generation-id",
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a complaint comes to: a class, a sentence that follows the endpoint's name, and advice."""

    kind: type[CallError]
    sentence: str
    advice: str = ""
    retryable: bool = False


_AUTH = _Meaning(AuthFailed, "does not accept the key", "Check {key}")
_FORBIDDEN = _Meaning(AuthFailed, "does not allow this with the key", "Check what {key} may be used for")
_REQUEST = _Meaning(Rejected, "rejected the request")
_MISSING = _Meaning(Rejected, "knows no such model or path", "Check model and base_url in the model's file")
_MOVED = _Meaning(Rejected, "has moved", "Set base_url to the new address")
_OVERFLOW = _Meaning(ContextOverflow, "cannot read this much", "Shorten the history, or start a new session")
_QUOTA = _Meaning(RateLimited, "has no credit or quota left for the key", "Check the account's billing")
_BUSY = _Meaning(RateLimited, "asks to wait", retryable=True)
_DAILY = _Meaning(RateLimited, "has no tokens left for today")
_DOWN = _Meaning(Unavailable, "is not available", retryable=True)
_SLOW = _Meaning(CallTimeout, "gave up waiting", retryable=True)
_FILTER = _Meaning(Refused, "declined to answer")

_STATUSES: Mapping[int, _Meaning] = {
    401: _AUTH,
    402: _QUOTA,
    403: _FORBIDDEN,
    404: _MISSING,
    408: _SLOW,
    409: _DOWN,
    413: _OVERFLOW,
    424: _DOWN,
    425: _DOWN,
    429: _BUSY,
    498: _DOWN,
    504: _SLOW,
}
# Names that say more than the status they come with.
_NAMES: Mapping[str, _Meaning] = {
    "context_length_exceeded": _OVERFLOW,
    "exceed_context_size_error": _OVERFLOW,
    "model_context_window_exceeded": _OVERFLOW,
    "request_too_large": _OVERFLOW,
    "insufficient_quota": _QUOTA,
    "billing_error": _QUOTA,
    "billing_hard_limit_reached": _QUOTA,
    "enforced_spend_limit_reached": _QUOTA,
    "content_filter": _FILTER,
    "content_policy_violation": _FILTER,
    "moderation_blocked": _FILTER,
    "invalid_api_key": _AUTH,
    "API_KEY_INVALID": _AUTH,
    "authentication_error": _AUTH,
    "permission_error": _FORBIDDEN,
    "model_not_found": _MISSING,
    "not_found_error": _MISSING,
    "ThrottlingException": _BUSY,
    "UnrecognizedClientException": _AUTH,
    "ExpiredTokenException": _AUTH,
    "InvalidSignatureException": _AUTH,
}
# Names that are only worth something where there is no status.
_WEAK_NAMES: Mapping[str, _Meaning] = {
    "rate_limit_exceeded": _BUSY,
    "rate_limit_error": _BUSY,
    "invalid_request_error": _REQUEST,
    "timeout_error": _SLOW,
    "timeout": _SLOW,
    "ValidationException": _REQUEST,
    "AccessDeniedException": _FORBIDDEN,
    "ResourceNotFoundException": _MISSING,
    "ModelTimeoutException": _SLOW,
}
_OVERFLOW_STATUSES = (None, 400, 413, 422, 500)
_OVERFLOW_WORDS = re.compile(
    r"context (length|window|size)|maximum prompt length|prompt is too long|input is too long|too many tokens"
    r"|exceed context limit|reduce the length|token count .*exceeds the maximum|too large for model with",
    re.IGNORECASE,
)
_KEY_WORDS = re.compile(r"(incorrect|invalid) api.?key|api.?key (is )?(not valid|invalid)", re.IGNORECASE)


def _meaning(said: Complaint, status: int | None) -> _Meaning:
    if status is None and re.fullmatch(r"[3-5]\d\d", said.code):
        status = int(said.code)
    named = _NAMES.get(said.code) or _NAMES.get(said.kind)
    if named:
        return named
    if _is_overflow(said, status):
        return _OVERFLOW
    if status == 400 and _KEY_WORDS.search(said.words):
        return _AUTH
    if status == 500 and "not supported" in said.words:
        return _REQUEST  # llama.cpp blames itself for a picture that its model cannot see
    if status is None:
        return _WEAK_NAMES.get(said.code) or _WEAK_NAMES.get(said.kind) or _DOWN
    return _STATUSES.get(status) or (_MOVED if status < 400 else _REQUEST if status < 500 else _DOWN)


def _lasting(meaning: _Meaning, said: Complaint) -> _Meaning:
    """The same, but a limit that holds for the rest of the day is not worth a wait."""
    return _DAILY if meaning is _BUSY and "tokens per day" in said.words.lower() else meaning


def _named(said: Complaint, headers: Mapping[str, str]) -> Complaint:
    """The complaint with the name that AWS gives it in a header, as in `Name:http://…`."""
    name = headers.get("x-amzn-errortype", "").partition(":")[0]
    return replace(said, code=name) if name and not said.code else said


def _is_overflow(said: Complaint, status: int | None) -> bool:
    # A limit on the reply that is too high is a wrong argument, though servers put it in the same words.
    about_reply = said.words.lstrip("'\"`").startswith(("max_tokens", "max_completion_tokens"))
    return status in _OVERFLOW_STATUSES and not about_reply and _OVERFLOW_WORDS.search(said.words) is not None


def _should_retry(meaning: _Meaning, headers: Mapping[str, str]) -> bool:
    told = {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
    # Waiting brings no money.
    return meaning.retryable if told is None or meaning is _QUOTA else told


def _error(
    endpoint: Endpoint,
    said: Complaint,
    meaning: _Meaning,
    *,
    retryable: bool,
    wait_s: float | None = None,
    partial: str = "",
    status: int | None = None,
    request_id: str | None = None,
) -> CallError:
    words = plain(said.words, secrets=endpoint.secrets)
    advice = meaning.advice.format(key=endpoint.key_env or "api_key_env in the model's file: it names none")
    if retryable and wait_s is not None:
        advice = f"Try again in {math.ceil(wait_s)} s"
    sentence = f"{endpoint} {meaning.sentence}" + (f" (HTTP {status})" if status else "")
    message = (f"{sentence}: {words}" if words else sentence).rstrip(".")
    return meaning.kind(
        f"{message}. {advice}" if advice else message,
        partial=partial,
        retryable=retryable,
        retry_after_s=wait_s if retryable else None,
        model=endpoint.model,
        status=status,
        request_id=request_id,
        param=plain(said.param, secrets=endpoint.secrets, longest=LONGEST_TITLE) or None,
    )


def _number(text: str) -> float | None:
    """A number of more than 0; None for anything else."""
    return (float(text) or None) if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", text) else None


def _until(date: str, now: Callable[[], float]) -> float | None:
    try:
        left = parsedate_to_datetime(date).timestamp() - now()
    except (ValueError, OverflowError):
        return None
    return left if left > 0 else None


@dataclass(frozen=True, slots=True)
class Row:
    """What an exception of the HTTP library comes to; `quoted` where its own words help and are harmless."""

    kind: type[CallError]
    sentence: str
    quoted: bool = False


# It tries every address of the host, and keeps what each said to itself.
UNCONNECTED = {"All connection attempts failed": "nothing answers there; is it running, is base_url right?"}

_BROKEN = Row(Unavailable, "broke off", quoted=True)
# Their words quote the header or the URL that is wrong, and so perhaps the key.
_UNSENT = Row(Rejected, "was not asked: the URL or a header of the request is malformed")

TRANSPORT: Mapping[type, Row] = {
    httpx2.HTTPError: _BROKEN,
    httpx2.HTTPStatusError: _BROKEN,
    httpx2.RequestError: _BROKEN,
    httpx2.TransportError: _BROKEN,
    httpx2.TimeoutException: Row(CallTimeout, "did not answer in time"),
    httpx2.ConnectTimeout: Row(Unavailable, "could not be reached in time"),
    httpx2.ReadTimeout: Row(CallTimeout, "fell silent for too long"),
    httpx2.WriteTimeout: Row(CallTimeout, "did not take the request in time"),
    httpx2.PoolTimeout: Row(Unavailable, "was not asked: too many calls are under way here"),
    httpx2.NetworkError: _BROKEN,
    httpx2.ConnectError: Row(Unavailable, "could not be reached", quoted=True),
    httpx2.ReadError: _BROKEN,
    httpx2.WriteError: _BROKEN,
    httpx2.CloseError: _BROKEN,
    httpx2.ProxyError: Row(Unavailable, "could not be reached through the proxy", quoted=True),
    httpx2.UnsupportedProtocol: Row(Rejected, "was not asked: base_url should begin with https://"),
    httpx2.ProtocolError: Row(Unavailable, "does not speak HTTP as we do"),
    httpx2.LocalProtocolError: _UNSENT,
    httpx2.InvalidURL: _UNSENT,
    httpx2.RemoteProtocolError: Row(Unavailable, "closed the connection early, or does not speak HTTP"),
    httpx2.DecodingError: Row(Unavailable, "sent bytes that cannot be decompressed"),
    httpx2.TooManyRedirects: Row(Rejected, "sends us in circles; check base_url"),
}

"""What a provider says is wrong, read out of whatever shape it says it in, and made fit to pass on.

A provider's own sentence helps a person; the body round it does not, and either may hold a key.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from eai_mcp import wire

LONGEST_WORDS = 500
LONGEST_TITLE = 80
SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One error in the provider's words.

    `code` and `kind` are its machine names for it, `param` is the field of the request that it blames,
    `retry_after_s` is how long it asks to wait where it says so beside its words.
    """

    words: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""
    retry_after_s: float | None = None


def complaint(body: JsonValue) -> Complaint:
    """The complaint in the JSON of an error response or of an error event.

    The sentence is looked for in `error.message`, `error`, `message` and `detail`, in this order.
    """
    top = wire.fields(body[0] if isinstance(body, list) and body else body)
    inner = top.get("error")
    said = wire.fields(inner) or top
    metadata, code = wire.fields(said.get("metadata")), said.get("code")
    words, place = _words(body if isinstance(body, str) else inner if isinstance(inner, str) else said)
    kind = wire.string(wire.fields(said.get("details")).get("error_code")) or wire.string(said.get("type"))
    noted = _noted(said.get("details"))
    return Complaint(
        words=_passed_on(metadata.get("raw")) or words,
        code=str(code) if isinstance(code, str | int) else "",
        kind="content_filter" if "flagged_input" in metadata else kind or noted.kind,
        param=wire.string(said.get("param")) or place or noted.param,
        retry_after_s=noted.retry_after_s,
    )


def complaint_in(body: bytes, content_type: str) -> Complaint:
    """The complaint in the bytes of an error response: JSON, a page of HTML, or anything."""
    try:
        return complaint(wire.parsed(body))
    except ValueError:
        return Complaint(words=glimpse(body, content_type))


def glimpse(body: bytes, content_type: str) -> str:
    """The title of a page, the first words of a text, the size and type of anything else."""
    text = body[:65_536].decode("utf-8", "replace")
    if "html" in content_type or _is_page(text):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        shown = " ".join(html.unescape(title[1]).split()) if title else ""
        return f"a page titled {shown[:LONGEST_TITLE]!r}" if shown else "a page without a title"
    if not media_type(content_type).startswith("text/"):
        return f"{len(body)} bytes" if body else ""
    return " ".join(text.split())[:LONGEST_TITLE]


def media_type(content_type: str) -> str:
    """The type alone, without parameters."""
    named = content_type.partition(";")[0].strip().lower()
    return named if re.fullmatch(r"[\w.+-]+/[\w.+-]+", named) else "no stated type"


def plain(text: str, *, secrets: Iterable[str] = (), longest: int = LONGEST_WORDS) -> str:
    """One line of printable text without keys, cut at `longest` characters."""
    if _is_page(text):
        text = glimpse(text.encode("utf-8", "replace"), "text/html")
    text = _KEY_LIKE.sub("[hidden]", hidden(wire.mended(text), secrets))
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * longest]).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, in any case. This comes before it is cut, or a part would be left."""
    for secret in sorted(secrets, key=len, reverse=True):
        # Shorter ones are versions, flags and names rather than secrets, and words have them by chance.
        if len(secret) >= SHORTEST_SECRET:
            text = re.sub(re.escape(secret), "[hidden]", text, flags=re.IGNORECASE)
    return text


_KEY_LIKE = re.compile(
    r"(?i)\b(?:bearer\s+|x-amz-security-token:\s*|(?:sk|pk|rk|gsk|xai|key)[-_])[\w*.+/=-]{6,}"
)


def _is_page(text: str) -> bool:
    return text.lstrip()[:9].lower().startswith(("<!doctype", "<html", "<head"))


def _words(said: JsonValue) -> tuple[str, str]:
    """The sentence in an error, and the field it is about where only its place says so."""
    for _ in range(4):  # deeper nesting is nobody's format
        if isinstance(said, str):
            return said, ""
        if isinstance(said, list):
            return _first_mistake(said)
        found = wire.fields(said)
        said = found.get("message") or found.get("Message") or found.get("detail") or found.get("error")
    return "", ""


def _noted(details: JsonValue) -> Complaint:
    """What Google says beside its words: a list of values, each with the name of its type behind a slash.

    Source: google/rpc/error_details.proto. The fields in it are written as in the proto files.
    """
    named = {
        wire.string(note.get("@type")).rpartition("/")[2]: note
        for note in map(wire.fields, wire.items(details))
    }
    delay = wire.string(named.get("google.rpc.RetryInfo", {}).get("retryDelay"))
    blamed = wire.items(named.get("google.rpc.BadRequest", {}).get("fieldViolations"))
    field = wire.string(wire.fields(blamed[0]).get("field")) if blamed else ""
    return Complaint(
        kind=wire.string(named.get("google.rpc.ErrorInfo", {}).get("reason")),
        param=re.sub(r"_([a-z])", lambda found: found[1].upper(), field),
        retry_after_s=(float(delay[:-1]) or None) if re.fullmatch(r"\d{1,9}(\.\d*)?s", delay) else None,
    )


def _first_mistake(mistakes: list[JsonValue]) -> tuple[str, str]:
    """Of a list such as a request's validation gives: `loc`, the way to the field, and `msg`."""
    first = wire.fields(mistakes[0]) if mistakes else {}
    words = wire.string(first.get("msg")) or wire.string(first.get("message"))
    path = [str(step) for step in wire.items(first.get("loc")) if step != "body"]
    return (f"{'.'.join(path)}: {words}", path[0]) if path else (words, "")


def _passed_on(raw: JsonValue) -> str:
    """What the provider behind a gateway said, which the gateway passes on as text."""
    try:
        return _words(wire.fields(wire.parsed(wire.string(raw))))[0]
    except ValueError:
        return ""

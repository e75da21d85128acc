"""Model files: `NAME.toml`. What each field means stands in `entries.Model`."""

import re
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from eai_mcp.calls import Effort, Samplers
from eai_mcp.catalog import parse
from eai_mcp.catalog.entries import Breaker, Model, Reliability
from eai_mcp.catalog.fields import FILLED, NAME, Fields, Note
from eai_mcp.catalog.shelf import Fault

DEFAULT_PROVIDER: Final = "openai_chat"
_PROVIDER = re.compile(r"[a-z][a-z0-9_]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
# Upper case only: a key pasted here by mistake has lower-case letters, and the name is shown to callers.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_URL = re.compile(r"https?://[!-~]+")
_EFFORTS: tuple[Effort, ...] = get_args(Effort)
_POLICIES: tuple[Literal["error", "drop_oldest"], ...] = ("error", "drop_oldest")
_DAY_S = 86_400
_MILLION = 1_000_000


def read_model(name: str, content: bytes, note: Note) -> Model | None:
    """The model that a TOML file describes."""
    source = parse.text(content, note)
    fields = None if source is None else parse.toml(source, note)
    if fields is None:
        return None
    fields.forbid(
        "api_key", "must not stand in a file; api_key_env names the environment variable that has it"
    )
    model = Model(
        name=name,
        provider=fields.matching("provider", _PROVIDER, "an adapter's name or module:attribute")
        or DEFAULT_PROVIDER,
        model=fields.required("model", longest=256),
        base_url=_base_url(fields),
        api_key_env=fields.matching(
            "api_key_env", _VARIABLE, "the name of an environment variable, as in OPENAI_API_KEY", secret=True
        ),
        headers=fields.headers("headers"),
        description=fields.text("description", longest=2000) or "",
        vision=fields.flag("vision") or False,
        context_window=fields.whole("context_window", 1, 1000 * _MILLION),
        quirks=fields.json("quirks") or {},
        turn_limit_s=fields.number("turn_limit_s", 1, _DAY_S),
        samplers=_samplers(fields.table("samplers")),
        reliability=_reliability(fields.table("reliability")),
        context_policy=fields.table("context").choice("policy", _POLICIES) or "error",
    )
    fields.finish()
    return model


def read_reliability(content: bytes, note: Note) -> Reliability | None:
    """The numbers for all models that do not say otherwise, from a TOML file like their [reliability]."""
    source = parse.text(content, note)
    fields = None if source is None else parse.toml(source, note)
    if fields is None:
        return None
    fields.forbid("fallback", "belongs into the file of a model: no model can stand in for all")
    reliability = _reliability(fields)
    fields.finish()
    return reliability


def unsound(models: Mapping[str, Model], skipped: Collection[str]) -> dict[str, Fault]:
    """The models that fall back in a circle, or to one that cannot be used."""
    reasons = {name: reason for name in models if (reason := _circle(name, models))}
    while True:
        more = {
            name: reason
            for name, model in models.items()
            if name not in reasons and (reason := _dead_end(model, models, {*skipped, *reasons}))
        }
        if not more:
            return {name: ("reliability.fallback", reason) for name, reason in reasons.items()}
        reasons |= more


def _circle(start: str, models: Mapping[str, Model]) -> str | None:
    """The shortest way from a model back to itself."""
    ways: deque[tuple[str, ...]] = deque([(start,)])
    reached: set[str] = set()
    while ways:
        way = ways.popleft()
        for name in models[way[-1]].reliability.fallback:
            if name == start:
                return f"goes round in a circle: {' > '.join((*way, name))}"
            if name in models and name not in reached:
                reached.add(name)
                ways.append((*way, name))
    return None


def _dead_end(model: Model, models: Mapping[str, Model], skipped: Collection[str]) -> str | None:
    for name in model.reliability.fallback:
        if name in skipped:
            return f"names {name!r}, whose own file has a problem"
        if name not in models:
            return f"names {name!r}, and there is no such model"
    return None


def _base_url(fields: Fields) -> str | None:
    """An HTTP address to which a path can be added. No note repeats it: it may hold a secret."""
    url = fields.text("base_url", longest=2000)
    if url is None:
        return None
    reason = _fault_of_url(url)
    if reason:
        fields.refuse("base_url", reason)
    return url.rstrip("/")


def _fault_of_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port  # either may raise
    except ValueError:
        return "is no address that can be read"
    if "@" in url:
        return "must not hold a user or a password; api_key_env names the variable that has the key"
    if not host or not _URL.fullmatch(url):
        return "must be an address, as in https://api.example.com/v1"
    if "?" in url or "#" in url:
        return "must have no ? and no #: the adapter adds its own path"
    return None


def _samplers(fields: Fields) -> Samplers:
    return Samplers(
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.whole("top_k", 0, _MILLION),
        min_p=fields.number("min_p", 0, 1),
        max_tokens=fields.whole("max_tokens", 1, 100 * _MILLION),
        repetition_penalty=fields.number("repetition_penalty", 0, 10),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        stop_sequences=fields.texts("stop_sequences", FILLED, "text that is not empty", most=16),
        seed=fields.whole("seed", -(2**63), 2**63 - 1),
        anthropic_beta=fields.texts("anthropic_beta", NAME, "the name of a beta", most=16),
        reasoning_effort=fields.choice("reasoning_effort", _EFFORTS),
    )


def _reliability(fields: Fields) -> Reliability:
    first = fields.number("backoff_first_s", 0, 3600)
    longest = fields.number("backoff_longest_s", 0, 3600)
    if first is not None and longest is not None and longest < first:
        fields.refuse("backoff_longest_s", f"must not be less than backoff_first_s, {first:g}")
    return Reliability(
        attempts=fields.whole("attempts", 1, 20),
        attempt_timeout_s=fields.number("attempt_timeout_s", 0.1, _DAY_S),
        backoff_first_s=first,
        backoff_longest_s=longest,
        breaker=_breaker(fields),
        rate=fields.number("rate", 0.001, _MILLION),
        burst=fields.whole("burst", 1, _MILLION),
        concurrency=fields.whole("concurrency", 1, _MILLION),
        fallback=fields.texts("fallback", NAME, "a model's name", most=16) or (),
    )


def _breaker(fields: Fields) -> Breaker | None:
    default = Breaker()
    table = fields.table("breaker")
    failures = table.whole("failures", 1, 1000)
    recovery_s = table.number("recovery_s", 0.1, _DAY_S)
    if "breaker" not in fields:
        return None
    return Breaker(
        failures=default.failures if failures is None else failures,
        recovery_s=default.recovery_s if recovery_s is None else recovery_s,
    )

"""Models, prompts and cards as values: what a catalog file says, checked and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import JsonValue

from eai_mcp.calls import Samplers


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When to stop asking: after `failures` in a row, for `recovery_s` seconds."""

    failures: int = 5
    recovery_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The guards round a model's calls. None leaves the guard, or its number, to the server's default.

    `attempts` counts the first one; `rate` is calls a second, `burst` how many may come at once,
    `concurrency` how many may be under way; `fallback` names models to ask in turn once this one has failed.
    """

    attempts: int | None = None
    attempt_timeout_s: float | None = None
    backoff_first_s: float | None = None
    backoff_longest_s: float | None = None
    breaker: Breaker | None = None
    rate: float | None = None
    burst: int | None = None
    concurrency: int | None = None
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model by the name that callers use.

    `provider` is the name of an adapter, or `module:attribute`; `model` is what the provider calls it.
    `api_key_env` names the environment variable with the key, None where no key is needed. `context_window`
    is in tokens. `headers` may hold a secret, so nothing prints them. `quirks` are facts about an endpoint
    that its adapter should know.
    """

    name: str
    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    description: str = ""
    vision: bool = False
    context_window: int | None = None
    quirks: Mapping[str, JsonValue] = field(default_factory=dict)
    turn_limit_s: float | None = None
    samplers: Samplers = Samplers()
    reliability: Reliability = Reliability()
    context_policy: Literal["error", "drop_oldest"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A system prompt by name."""

    name: str
    text: str
    description: str = ""


Place: TypeAlias = Literal["before_char", "after_desc", "personality", "scenario", "after_char"]
"""Where in the system text lore stands: round the description, in two parts of it, or behind them all."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What may be said, any of it: texts, or expressions as `expressions.compiled` takes them."""

    texts: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lore:
    """An entry of a book: `content` is shown while one of its `keys` was said lately.

    Of each group in `also` one must have been said as well, and none of `never`. Their texts are case-folded
    unless `is_case_sensitive`. `always` needs no key, and `anyway` heeds no other condition either: that
    there are `after` replies, and a multiple of `every`.

    `scan_depth` is how many messages are looked at, None for what the book says. With a `depth` it is shown
    among the messages, that many from the end, else at its `place`. Where not all fit, those with the lowest
    `priority` are left out.
    """

    content: str
    keys: Keys = Keys()
    also: tuple[Keys, ...] = ()
    never: Keys = Keys()
    is_case_sensitive: bool = False
    always: bool = False
    anyway: bool = False
    after: int = 0
    every: int = 1
    scan_depth: int | None = None
    place: Place = "after_char"
    depth: int | None = None
    priority: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A card's lorebook: what may be shown at all, in the order in which it is shown.

    `scan_depth` None leaves it to us, `token_budget` None sets no limit. With `is_recursive`, what is shown
    may bring up other entries. `left_out` says which entry cannot be used, and why.
    """

    entries: tuple[Lore, ...] = ()
    scan_depth: int | None = None
    token_budget: int | None = None
    is_recursive: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A character card, V2 or V3, as far as a model or its user reads it.

    Kept out: pictures and their addresses, dates, sources, greetings for groups, other programs' extensions.
    `model`, `prompt`, `tools`, `pre_context` and `turn_limit_s` come from `extensions.eai`; None where the
    card is silent. `pre_context` is an export of a session, base64.
    """

    name: str
    title: str
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_message: str = ""
    example_messages: str = ""
    creator_notes: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    alternate_greetings: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    creator: str = ""
    version: str = ""
    nickname: str | None = None
    book: Book | None = None
    model: str | None = None
    prompt: str | None = None
    tools: tuple[str, ...] | None = None
    pre_context: str | None = None
    turn_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A catalog file that was skipped, or a part of it: which one, which field if it is known, and why."""

    path: Path
    field: str | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.path}: {self.field}" if self.field else f"{self.path}"
        # A file's name may hold bytes that are no text.
        return f"{where}: {self.reason}".encode("utf-8", "backslashreplace").decode()

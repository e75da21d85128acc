"""What a scripted model is told to say: the fields of a script, and where it is read from.

    provider = "scripted"
    model = "demo"

    [[quirks.replies]]                      # a rule: it has `when`, and takes no place in the order
    when = { contains = "weather" }
    tools = [{ name = "forecast", input = { city = "Oslo" } }]

    [[quirks.replies]]                      # the first in the order
    text = "Hello."
    fail = { code = "rate_limited", times = 2, retry_after_s = 1 }

A file of its own has the same fields at its top: `quirks = { script = "/whole/path.toml" }`, or `.json`. It
is read when the model is first used. A script without `replies` echoes.
"""

import functools
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import pydantic
from pydantic import AfterValidator, Field
from pydantic_core import SchemaError, SchemaValidator, core_schema

from eai_mcp import wire
from eai_mcp.calls import Stop
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.messages import JsonObject

LONGEST_FILE: Final = 16 * 2**20

Code: TypeAlias = Literal[
    "missing_api_key",
    "provider_auth",
    "provider_rejected",
    "context_overflow",
    "refused",
    "rate_limited",
    "circuit_open",
    "provider_unavailable",
    "timeout",
]
Then: TypeAlias = Literal["echo", "error", "last", "again"]
_Seconds: TypeAlias = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=10**12)]
_Some: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
_Filled: TypeAlias = Annotated[str, Field(min_length=1)]

_FORMATS: Mapping[str, Callable[[str], object]] = {".json": wire.strictly_parsed, ".toml": tomllib.loads}


@functools.lru_cache(maxsize=1000)
def pattern(regex: str) -> SchemaValidator:
    """What tests a text for the expression, in time that grows only with the text: Rust's regex, not `re`.

    Raises:
        ValueError: It is no such expression.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=regex, regex_engine="rust-regex"))
    except SchemaError as error:
        raise ValueError("is no regular expression without look-around and back references") from error


def _checked(regex: str) -> str:
    pattern(regex)
    return regex


class _Strict:
    """A value in whose JSON an unknown field is a mistake, and a number is not a text."""

    __slots__ = ()
    __pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace(_Strict):
    """How a reply is said; None leaves it to the script, and there to all at once.

    `delay_s` comes before the first piece, `pause_s` between two; `chunk` is the characters in a piece.
    """

    delay_s: _Seconds | None = None
    pause_s: _Seconds | None = None
    chunk: _Some | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class When(_Strict):
    """Which message a rule answers: one of which all that is given holds, letters' case included.

    `after_tool` names a tool whose result the message has; the texts are then looked for in the results, and
    else in the user's own words.
    """

    exact: str | None = None
    contains: str | None = None
    regex: Annotated[str, Field(max_length=1000), AfterValidator(_checked)] | None = None
    after_tool: str | None = None

    def __post_init__(self) -> None:
        if (self.exact, self.contains, self.regex, self.after_tool) == (None,) * 4:
            raise ValueError("needs one of exact, contains, regex, after_tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(_Strict):
    """A tool that the model asks for.

    Without `id` it gets one that no other has in the session. `raw` stands in the place of `input` for
    arguments that are no JSON, as models write them at times.
    """

    name: _Filled
    input: JsonObject = field(default_factory=dict)
    id: _Filled | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(_Strict):
    """How an attempt fails, after it has said `partial`.

    `times` is how many attempts fail before one answers, None for all of them. They are counted for each
    message of a session, and anew after an answer; with `shared`, once for all sessions.
    """

    code: Code
    message: str | None = None
    retryable: bool | None = None
    retry_after_s: _Seconds | None = None
    partial: str = ""
    times: _Some | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent(_Strict):
    """The usage to report; the meaning of each field stands in `messages.Usage`."""

    input: _Count = 0
    output: _Count = 0
    cache_read: _Count = 0
    cache_write: _Count = 0
    reasoning: _Count = 0
    cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Pace):
    """One reply.

    `tools` of one reply are asked for in parallel; the next reply of the order answers their results. A turn
    that waits for a person is a tool, too: `ask_user`. `endless` says its text again and again, or nothing
    for ever, until it is stopped; samplers do not shorten it. Without `usage`, words are counted.
    """

    when: When | None = None
    text: str = ""
    thinking: str = ""
    tools: tuple[Tool, ...] = ()
    stop: Stop | None = None
    usage: Spent | None = None
    warnings: tuple[str, ...] = ()
    endless: bool = False
    fail: Fail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script(Pace):
    """A whole script.

    `then` is what follows the last reply of the order: an echo, the same reply once more (`last`), the order
    from its start (`again`) or an error. None: an error, or an echo where there is no order.
    """

    replies: tuple[Reply, ...] = ()
    then: Then | None = None

    def __post_init__(self) -> None:
        if self.then in ("last", "again") and not self.ordered:
            raise ValueError(f"then = {self.then!r} needs a reply without `when`")

    @property
    def ordered(self) -> tuple[Reply, ...]:
        """The replies that answer one after the other."""
        return tuple(reply for reply in self.replies if reply.when is None)

    def pace(self, reply: Reply) -> Pace:
        """The reply's own pace, and the script's where that says nothing."""
        return Pace(
            delay_s=self.delay_s if reply.delay_s is None else reply.delay_s,
            pause_s=self.pause_s if reply.pause_s is None else reply.pause_s,
            chunk=reply.chunk or self.chunk,
        )


def script_of(model: Model) -> Script:
    """The script that the model's file holds or names.

    Raises:
        ConfigError: It cannot be read, or one of its fields cannot work.
    """
    if "script" not in model.quirks:
        return _script(model.quirks, f"model {model.name!r}: quirks")
    named = model.quirks["script"]
    where = f"model {model.name!r}: quirks.script"
    if len(model.quirks) > 1:
        raise ConfigError(f"{where}: the file says everything; no other quirk may stand beside it")
    if not isinstance(named, str) or not Path(named).is_absolute():
        raise ConfigError(f"{where}: must be a whole path, as in /home/me/script.toml")
    return _script(_read(Path(named), where), named)


def _read(path: Path, where: str) -> Mapping[str, object]:
    try:
        if not path.is_file():
            raise ConfigError(f"{where}: there is no file {path}")
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {path} cannot be read") from error
    if len(content) > LONGEST_FILE:
        raise ConfigError(f"{where}: {path} is longer than {LONGEST_FILE} bytes")
    read = _FORMATS.get(path.suffix)
    if read is None:
        raise ConfigError(f"{where}: must end in .toml or .json, not {path.suffix!r}")
    try:
        value = read(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a table of fields")
    return value


def _script(fields: Mapping[str, object], where: str) -> Script:
    try:
        # As JSON, since only there a list may become a tuple without more being forgiven; and a date of TOML
        # becomes text.
        return _adapter().validate_json(json.dumps(fields, allow_nan=False, default=str))
    except pydantic.ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(("", *map(str, mistake["loc"])))
        is_unknown = mistake["type"] == "unexpected_keyword_argument"
        said = "is not a known field" if is_unknown else mistake["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}{name}: {said}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: a number that JSON cannot write") from error


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Script]:
    return pydantic.TypeAdapter(Script)

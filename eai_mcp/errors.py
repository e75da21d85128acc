"""Every error we raise on purpose.

    EaiError
    ├── ConfigError             what the operator chose cannot work
    ├── InvalidArgument         what the caller sent cannot work
    ├── LimitExceeded           too large, too long, too many
    ├── ImportInvalid           a history that cannot be read
    ├── PathDenied              a file where we may not read or write
    ├── TurnFailed              how an earlier turn failed, told again
    ├── UnknownName             no model, prompt or card of that name
    ├── SessionError
    │   ├── SessionBusy         another turn is running
    │   ├── NoTask              nothing runs that could be stopped
    │   ├── NotFound            no such session, turn or position
    │   ├── AlreadyExists       a session of that name
    │   ├── CannotClose         the session that is always there
    │   └── TurnOver            something was emitted in a turn that has ended
    ├── StoreError
    │   ├── Conflict            changed, or taken over, by somebody else
    │   ├── StorageFull         the disk or the quota is used up
    │   └── StorageUnavailable  the file cannot be opened, read or written
    ├── CallError               the model could not be reached, or refused
    │   ├── MissingKey          no API key in the environment
    │   ├── AuthFailed          the provider does not take the key
    │   ├── Rejected            the provider does not take the request
    │   ├── ContextOverflow     the history is longer than the model reads
    │   ├── Refused             the model or its filter declined
    │   ├── RateLimited         too many requests for now
    │   │   └── Throttled       by our own limit, not the provider's
    │   ├── CircuitOpen         it failed too often just now to be asked again
    │   ├── Unavailable         not reached, not ready, or broken off
    │   └── CallTimeout         no answer within the limit
    └── Internal                a bug of ours; the traceback is on stderr under its id

Each class has one `code`, the name a caller may test for. The message says what, which one, and what to do.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Self, TypeAlias

SHOWN = 12

Detail: TypeAlias = str | int | float | bool | Sequence[str] | None


class EaiError(Exception):
    """An error with a code, a sentence for a person, and facts for a program.

    `retryable` means that the same request may succeed later; `retry_after_s` is how long somebody asked
    us to wait, None when nobody said. `details` holds small values only, never a key or a raw body.
    """

    code: str = "internal"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        **details: Detail,
    ) -> None:
        super().__init__(message)
        self.message = message
        if retryable is not None:
            self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.details: Mapping[str, Detail] = details

    def copy(self) -> Self:
        """Another one like it: whoever raised this one may keep it, and raise it in other turns too."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        other.__cause__ = self.__cause__
        return other.with_traceback(self.__traceback__)


class ConfigError(EaiError):
    """A setting, a folder or a catalog file cannot work as it is."""

    code = "invalid_argument"


class InvalidArgument(EaiError):
    """An argument is missing, of the wrong type or out of range; `field` in the details names it."""

    code = "invalid_argument"


class LimitExceeded(EaiError):
    """Something is larger than we take; `limit` and `actual` in the details, in the message's unit."""

    code = "limit_exceeded"


class UnknownName(EaiError):
    """No model, prompt or card of that name. The nearest names, or else the first, are in `known`."""

    def __init__(self, kind: str, name: str, *, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        shown = near or sorted(known)[:SHOWN]
        label = "nearest" if near else "known"
        more = f" and {len(known) - SHOWN} more" if not near and len(known) > SHOWN else ""
        super().__init__(
            f"no {kind} named {name!r}; {label}: {', '.join(shown) or 'none'}{more}",
            kind=kind,
            name=name,
            known=tuple(shown),
        )
        self.kind = kind
        self.code = f"unknown_{kind}"


class ImportInvalid(EaiError):
    """What should be imported is no history, is damaged, or says what no history can."""

    code = "import_invalid"


class PathDenied(EaiError):
    """A path leads out of the folder for exports, or to what is no file; `path` in the details."""

    code = "path_denied"


class TurnFailed(EaiError):
    """The failure of a turn that ended before, with the code and the sentence that it had then."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after_s: float | None = None,
        **details: Detail,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after_s=retry_after_s, **details)
        self.code = code


class SessionError(EaiError):
    """A session is not in the state that the request needs."""

    code = "conflict"


class SessionBusy(SessionError):
    """Another turn is running in the session: `turn_id` and `running_s` in the details."""

    code = "busy"
    retryable = True


class NoTask(SessionError):
    """Nothing is running that could be interrupted."""

    code = "no_task"


class NotFound(SessionError):
    """There is no session, turn or message of that name."""

    code = "not_found"


class AlreadyExists(SessionError):
    """There is a session of that name."""

    code = "already_exists"


class CannotClose(SessionError):
    """The default session is always there."""

    code = "cannot_close_default"


class TurnOver(SessionError):
    """Something was said or pushed in a turn, or an attempt, that has ended."""


class StoreError(EaiError):
    """The store could not keep what it was given."""

    code = "internal"


class Conflict(StoreError):
    """Somebody else changed the session, or took its turn over."""

    code = "conflict"


class StorageFull(StoreError):
    """There is no space left; nothing that was acknowledged is lost."""

    code = "storage_full"
    retryable = True


class StorageUnavailable(StoreError):
    """The file with the sessions cannot be opened, read or written; `path` in the details."""

    code = "storage_unavailable"
    retryable = True


class CallError(EaiError):
    """A model could not be reached, or refused.

    `partial` is the text that had already streamed. `status` (HTTP) and `request_id` (the provider's) stand
    in the details where they are known.
    """

    code = "provider_unavailable"

    def __init__(
        self,
        message: str,
        *,
        partial: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        **details: Detail,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after_s=retry_after_s, **details)
        self.partial = partial


class MissingKey(CallError):
    """The environment variable that should hold the API key is not set."""

    code = "missing_api_key"


class AuthFailed(CallError):
    """The provider does not accept the key, or the key may not use this model."""

    code = "provider_auth"


class Rejected(CallError):
    """The provider says that the request itself is wrong; repeating it will not help."""

    code = "provider_rejected"


class ContextOverflow(CallError):
    """The messages are longer than the model can read."""

    code = "context_overflow"


class Refused(CallError):
    """The model or its content filter declined to answer."""

    code = "refused"


class RateLimited(CallError):
    """The provider asks us to wait."""

    code = "rate_limited"
    retryable = True


class Throttled(RateLimited):
    """Our own limit for the model would make the call wait for too long; the provider was not asked."""


class CircuitOpen(CallError):
    """The model failed too often just now, and is not asked again before `retry_after_s` seconds."""

    code = "circuit_open"
    retryable = True


class Unavailable(CallError):
    """The provider could not be reached, is not ready, or broke off in the middle."""

    code = "provider_unavailable"
    retryable = True


class CallTimeout(CallError):
    """No answer, or no next byte, within the limit."""

    code = "timeout"
    retryable = True


class Internal(EaiError):
    """A bug of ours; the message holds the id under which stderr has the traceback."""

    code = "internal"


def sole(error: BaseException) -> BaseException:
    """The one exception in a group of one, however deep it lies; else `error` itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

import inspect
import re

from eai_mcp import errors
from eai_mcp.errors import EaiError, RateLimited, TurnFailed, Unavailable, UnknownName

CODES = {
    "busy", "no_task", "not_found", "invalid_argument", "missing_api_key", "provider_auth",
    "provider_rejected", "provider_unavailable", "rate_limited", "context_overflow", "refused",
    "timeout", "circuit_open", "limit_exceeded", "storage_full", "conflict", "internal",
    "already_exists", "cannot_close_default", "storage_unavailable", "import_invalid", "path_denied",
}  # fmt: skip


def all_classes():
    return [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, EaiError)]


def test_the_tree_in_the_docstring_names_every_class_under_its_parent():
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            drawn[match[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in all_classes()}


def test_every_code_is_one_that_callers_know():
    assert {each.code for each in all_classes()} == CODES


def test_an_unknown_name_comes_with_the_nearest_ones():
    error = UnknownName("model", "sonet", known=["haiku", "opus", "sonnet"])
    assert error.message == "no model named 'sonet'; nearest: sonnet"
    assert (error.code, dict(error.details)) == (
        "unknown_model",
        {"kind": "model", "name": "sonet", "known": ("sonnet",)},
    )


def test_without_a_near_name_all_are_shown():
    assert UnknownName("card", "zzzzz", known=["b", "a"]).message.endswith("; known: a, b")
    assert UnknownName("prompt", "x", known=[]).message.endswith("; known: none")
    many = [f"m{number:02}" for number in range(20)]
    assert UnknownName("model", "zzzzz", known=many).message.endswith("m10, m11 and 8 more")


def test_a_class_says_whether_to_try_again_and_an_error_may_say_otherwise():
    assert RateLimited("later", retry_after_s=2.0).retryable
    assert not Unavailable("gone", retryable=False).retryable
    assert TurnFailed("timeout", "late", retryable=True).code == "timeout"


def test_a_copy_is_equal_but_another_one():
    cause = KeyError("x")
    for error in (
        UnknownName("model", "sonet", known=["sonnet"]),
        Unavailable("503", partial="so far", status=503),
    ):
        error.__cause__ = cause
        other = error.copy()
        assert type(other) is type(error)
        assert other.__cause__ is cause
        assert (str(other), other.__dict__) == (str(error), error.__dict__)
        other.details = {}
        assert error.details != {}

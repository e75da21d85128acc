import pytest

from eai_mcp.chat import names
from eai_mcp.errors import InvalidArgument


@pytest.mark.parametrize("name", ["a", "default", "Team:plan@2026-11.v1+x_y", "x" * 128])
def test_good_names_pass(name):
    assert names.checked(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "1 to 128 characters, not 0"),
        ("x" * 129, "1 to 128 characters, not 129"),
        ("a/b", "not allowed"),
        ("..", "not allowed"),
        ("a b", "not allowed"),
        ("a\n", "not allowed"),
        ("é", "not allowed"),
        ("\ud800", "not allowed"),
    ],
)
def test_other_names_are_refused_with_the_reason(name, reason):
    with pytest.raises(InvalidArgument, match=reason):
        names.checked(name)


def test_the_argument_with_the_name_is_told():
    with pytest.raises(InvalidArgument, match="new_session 'bad name' has a character") as caught:
        names.checked("bad name", "new_session")
    assert caught.value.details == {"field": "new_session"}

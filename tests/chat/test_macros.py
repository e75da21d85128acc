import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.entries import Card
from eai_mcp.chat.macros import LARGEST, Macros
from eai_mcp.errors import ConfigError

SAILOR = Card(name="sailor", title="Sailor")
MACROS = Macros(card=SAILOR, user="Ann", session="s", turn="t")


def filled(text, **options):
    return MACROS.filled(text, "description", **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{char}} and {{user}}", "Sailor and Ann"),
        ("{{CHAR}} and {{ User }}", "Sailor and Ann"),
        ("<BOT>, <char> and <User>", "Sailor, Sailor and Ann"),
        ("<start> <{{user}}>", "<start> <Ann>"),
        ("{{reverse:Hello}}", "olleH"),
        ("{{reverse:{{user}}!}}", "!nnA"),
        ("a{{// {{user}} says}}b{{comment: no}}c{{hidden_key:d}}e", "abce"),
        ("{{random:a}} {{pick:b}} {{pick::c}} {{random::d,::d,}}", "a b c d,"),
        (r"{{random:a\,b}}", "a,b"),
        ("{{roll:1}} {{roll: D1 }}", "1 1"),
        ("{{roll:0}} {{roll:x}} {{roll:}}", "{{roll:0}} {{roll:x}} {{roll:}}"),
        ("{{unknown}} {{unknown:{{user}}}} {{}}", "{{unknown}} {{unknown:Ann}} {{}}"),
        ("{{user", "{{user"),
        ("}} {{ {{user}}", "}} {{ Ann"),
        ("{{{user}}}", "{{{user}}}"),
        ("no macro", "no macro"),
        ("a {{original}} b", "a  b"),
    ],
)
def test_macros_are_filled_in(text, expected):
    """Issue 7: macros. Character Card V3, "Curly Braced Syntaxes"; Character Card V1, "Fields"."""
    assert filled(text) == expected


def test_a_nickname_goes_before_the_name():
    macros = Macros(card=Card(name="x", title="Sailor", nickname="Salt"))
    assert macros.filled("{{char}} <bot> {{user}}", "description") == "Salt Salt User"


def test_what_takes_a_macros_place_is_not_looked_at_again():
    """Issue 7: a hostile card (… recursive macros …) is an error, not a hang."""
    macros = Macros(card=Card(name="x", title="{{char}}{{char}}"), user="{{roll:6}}")
    assert macros.filled("{{char}} {{user}}", "description") == "{{char}}{{char}} {{roll:6}}"
    assert filled("{{reverse:}}resu{{}}") == "resu{{}}"


def test_the_original_comes_once_with_its_names_and_nothing_else_filled_in():
    original = "{{user}} <bot> {{roll:6}} {{original}}"
    assert filled("{{original}}|{{original}}", original=original) == "Ann Sailor {{roll:6}} {{original}}|"


def test_hidden_keys_are_shown_to_the_book_alone():
    assert filled("a {{hidden_key:b}} {{//c}}{{comment:d}}", reveals=True) == "a b "


def test_chance_is_the_same_when_a_turn_is_told_again():
    text = "{{roll:d1000000}} {{random:a,b,c,d,e,f,g,h}} {{roll:1000000}}"
    first = filled(text)
    assert first == filled(text)
    dice = first.split()
    assert dice[0] != dice[2]
    assert 1 <= int(dice[0]) <= 1_000_000
    others = [Macros(card=SAILOR, session="s", turn="u"), Macros(card=SAILOR, session="o", turn="t")]
    assert first not in [other.filled(text, "description") for other in others]
    assert MACROS.filled(text, "scenario") != first


def test_a_pick_is_the_same_in_every_turn_of_a_session():
    text = "{{pick:" + ",".join(map(str, range(100_000))) + "}}"
    later = Macros(card=SAILOR, session="s", turn="later")
    assert later.filled(text, "description") == filled(text)
    assert Macros(card=SAILOR, session="other").filled(text, "description") != filled(text)
    assert later.filled("{{roll:9}}" + text, "description")[1:] == filled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{" * 500_000,
        "}}" * 500_000,
        "{{user" * 150_000,
        "{{reverse:" * 50_000 + "x" * 400_000 + "}}" * 50_000,
        "{{//" * 100_000 + "}}" * 300_000,
        "{{pick:a,b}}" * 80_000,
        "<" * 1_000_000,
        "{{random:" + "," * 1_000_000 + "}}",
    ],
    ids=["open", "close", "names", "nested", "comments", "picks", "angles", "choices"],
)
@pytest.mark.timeout(5)
def test_a_million_braces_are_gone_through_once(text):
    """Issue 7: a hostile card (… recursive macros …) is an error, not a hang."""
    assert len(filled(text)) <= len(text)


def test_a_text_that_grows_beyond_all_reason_is_refused():
    """Issue 7: a hostile card (… recursive macros …) is an error, not a hang."""
    macros = Macros(card=Card(name="bomb", title="x" * 200))
    with pytest.raises(ConfigError) as caught:
        macros.filled("{{char}}" * 100_000, "scenario")
    assert caught.value.message == (
        f"card 'bomb': scenario has more than {LARGEST:,} characters once its macros are filled in; "
        "shorten it"
    )


@given(st.text(alphabet="{}<>:/,ab\\", max_size=60) | st.text(max_size=60))
def test_whatever_a_text_is_something_comes_of_it(text):
    done = filled(text)
    assert filled(text) == done
    if "{{" not in text and "<" not in text:
        assert done == text

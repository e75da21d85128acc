import json

import pytest

from eai_mcp.catalog.card_decorators import Decorators, parted
from eai_mcp.catalog.cards import read_json_card
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Book, Keys, Lore
from eai_mcp.catalog.expressions import compiled, expression
from tests.catalog.packing import read


def book(*entries, **fields):
    """The book of a card with these entries, each of which says `x` if it says nothing."""
    table = fields | {"entries": [{"content": "x"} | entry for entry in entries]}
    card, noted = read(read_json_card, json.dumps({"name": "S", "character_book": table}).encode())
    assert noted == []
    return card.book


def lore(**entry):
    (one,) = book(entry).entries
    return one


def test_an_entry_needs_nothing_but_its_content():
    """Issue 7: cards of the wild; what the versions call optional may be absent or null."""
    assert lore() == Lore(content="x")
    names = ("keys", "enabled", "insertion_order", "priority", "position", "secondary_keys", "case_sensitive")
    assert lore(**dict.fromkeys(names)) == Lore(content="x")
    assert book() == Book()


def test_entries_stand_in_the_order_of_their_insertion():
    orders = [3, None, -1, 3, 2.5]
    found = book(*({"content": str(at), "insertion_order": one} for at, one in enumerate(orders)))
    assert [one.content for one in found.entries] == ["2", "1", "4", "0", "3"]


def test_what_can_never_be_shown_is_not_kept():
    assert book({"enabled": False}, {"content": " \n"}, {"content": "@@dont_activate\nx"}).entries == ()


def test_keys_are_folded_unless_their_case_counts():
    assert lore(keys=[" Straße ", ""]).keys == Keys(("strasse",))
    assert lore(keys=["Straße"], case_sensitive=True).keys == Keys(("Straße",))


def test_secondary_keys_count_where_the_entry_is_selective():
    assert lore(secondary_keys=["a"], selective=True).also == (Keys(("a",)),)
    assert lore(secondary_keys=["a"], selective=False).also == ()
    assert lore(secondary_keys=[], selective=True).also == ()


def test_the_priority_is_the_order_where_none_is_given():
    assert lore(insertion_order=7).priority == 7
    assert lore(insertion_order=7, priority=0).priority == 0


def test_what_needs_no_expression_is_a_text_even_where_expressions_are_meant():
    """The program that most cards come from says `use_regex` of every entry."""
    found = lore(keys=["Dragon", "wyrm|drake", "/Fire/"], use_regex=True, constant=True)
    assert found.keys == Keys(("dragon",), ("(?i)wyrm|drake", "Fire"))
    assert found.always


def test_an_expression_that_cannot_run_leaves_its_entry_out_and_is_told(tmp_path):
    """DESIGN section 7: its regex keys run with a time limit."""
    entries = [
        {"keys": ["(?=x)"], "content": "a", "use_regex": True},
        {"keys": ["a|b"], "content": "b", "use_regex": True},
        {"keys": ["("], "content": "c", "use_regex": True},
    ]
    card = {"name": "S", "character_book": {"entries": entries}}
    (tmp_path / "x.json").write_text(json.dumps(card), encoding="utf-8")
    catalog = Catalog(cards=(tmp_path,))
    found = catalog.card("x").book
    assert found
    assert [one.content for one in found.entries] == ["b"]
    (problem,) = catalog.problems()
    assert str(problem) == (
        f"{tmp_path}/x.json: character_book: entries.0 is never shown: it is no regular expression without "
        "look-around and back references; and 1 more"
    )


def test_a_book_may_have_a_hundred_expressions():
    """Issue 7: a hostile card (huge lorebook …) is an error, not a hang."""
    found = book(*({"keys": [f"a{at}+"], "use_regex": True} for at in range(103)))
    assert len(found.entries) == 100
    assert found.left_out[0] == "entries.100 is never shown: the book has more than 100 expressions"
    assert len(found.left_out) == 3


def test_a_file_that_is_wrong_in_thousands_of_places_is_told_of_in_twenty(tmp_path):
    table = {"entries": [{"content": 1}] * 5000}
    (tmp_path / "x.json").write_text(json.dumps({"name": "S", "character_book": table}), encoding="utf-8")
    assert len(Catalog(cards=(tmp_path,)).problems()) == 20


@pytest.mark.parametrize(
    ("content", "decorators", "rest"),
    [
        ("@@depth 4\n@@scan_depth 2\n\nA\n@@depth 5", Decorators(depth=4, scan_depth=2), "A\n@@depth 5"),
        ("\n@@depth -3\nA", Decorators(depth=0), "A"),
        ("@@constant\r\nA", Decorators(always=True), "A"),
        ("@@activate\n@@dont_activate\nA", Decorators(anyway=True), "A"),
        ("@@dont_activate\nA", Decorators(is_off=True), "A"),
        ("@@is_greeting 0\nA", Decorators(), "A"),
        ("@@is_greeting 1\nA", Decorators(is_off=True), "A"),
        ("@@activate_only_after 3\n@@activate_only_every 2\nA", Decorators(after=3, every=2), "A"),
        ("@@activate_only_every 0\nA", Decorators(), "A"),
        ("@@position before_desc\nA", Decorators(place="before_char"), "A"),
        ("@@position after_desc\nA", Decorators(place="after_desc"), "A"),
        ("@@position the_moon\nA", Decorators(), "A"),
        ("@@additional_keys a, b\n@@additional_keys c\nA", Decorators(also=(("a", "b"), ("c",))), "A"),
        ("@@exclude_keys a,,b\n@@exclude_keys c\nA", Decorators(never=("a", "b", "c")), "A"),
        ("@@additional_keys ,\nA", Decorators(), "A"),
        ("@@depth 1\n@@depth 2\nA", Decorators(depth=1), "A"),
        ("@@role system\n@@keep_activate_after_match\nA", Decorators(), "A"),
        ("@@theirs 4\n@@@depth 5\nA", Decorators(depth=5), "A"),
        ("@@theirs 4\n@@@others 4\n@@@depth 5\n@@@depth 6\nA", Decorators(depth=5), "A"),
        ("@@depth x\n@@@depth 5\nA", Decorators(depth=5), "A"),
        ("@@depth 4\n@@@scan_depth 5\nA", Decorators(depth=4), "A"),
        ("@@@depth 4\nA", Decorators(), "A"),
        ("@@\n@@ depth 4\n@@@@depth 4\nA", Decorators(), "A"),
        ("@@depth 4", Decorators(depth=4), ""),
        ("A\n@@depth 4", Decorators(), "A\n@@depth 4"),
    ],
)
def test_decorators_are_taken_from_the_beginning_of_an_entry(content, decorators, rest):
    """Character Card V3, "Decorators"."""
    assert parted(content) == (decorators, rest)


def test_decorators_settle_what_the_fields_say():
    found = lore(content="@@position scenario\n@@depth 2\nA", keys=["k"], position="before_char")
    assert found == Lore(content="A", keys=Keys(("k",)), place="scenario")
    assert lore(content="@@depth 2\nA", position="before_char").depth == 2
    assert lore(content="@@exclude_keys B\nA").never == Keys(("b",))


@pytest.mark.parametrize(
    ("written", "text", "is_found"),
    [
        (r"/dra(gon|ke)s?\b/i", "Two DRAKES!", True),
        (r"/dragon/", "Dragon", False),
        (r"/dragon/gu", "a dragon", True),
        (r"^a.c$", "A\u00fcC", True),
        (r"/^b/m", "a\nb", True),
        (r"/a.b/s", "a\nb", True),
        (r"/a\/b/", "a/b", True),
        (r"/\w+\d/", "\u00fc\u0663", False),
        (r"/[\w-]{3}/", "a-b", True),
        (r"/\\d/", r"\d", True),
        (r"/x{2,3}y/", "xxy", True),
    ],
)
def test_an_expression_of_javascript_is_understood(written, text, is_found):
    assert compiled(expression(written)).isinstance_python(text) == is_found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("(?=x)", "without look-around"),
        (r"(a)\1", "without look-around"),
        ("(", "no regular expression"),
        ("a" * 1001, "too large"),
        (r"(\w{100}){100}", "too large"),
        ("a{99999999999999999999}", "too large"),
        ("a{0000000000000000000001}b{1,9999}", "too large"),
        (r"\p{L}", "not known here"),
        ("(?ix)a{1 0 0 0}", "not known here"),
    ],
)
def test_an_expression_that_is_too_costly_is_none(written, said):
    with pytest.raises(ValueError, match=said):
        expression(written)


@pytest.mark.timeout(5)
def test_very_many_decorators_are_read_in_no_time():
    """Issue 7: a hostile card "is an error, not a hang"."""
    content = "@@\n" * 330_000 + "\U0001f600"
    assert parted(content) == (Decorators(), "\U0001f600")

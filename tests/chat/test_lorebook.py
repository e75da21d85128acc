import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.cards import read_json_card
from eai_mcp.catalog.entries import Book, Keys, Lore
from eai_mcp.chat import lorebook
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from tests.catalog.packing import read


def book(*entries, **fields):
    """The book of a card with these entries."""
    table = fields | {"entries": list(entries)}
    card, noted = read(read_json_card, json.dumps({"name": "S", "character_book": table}).encode())
    assert noted == []
    return card.book


def entry(content, *keys, **fields):
    return {"content": content, "keys": list(keys)} | fields


def shown(book, *messages, clock=lambda: 0.0):
    """The texts that are shown; a word in brackets is a hidden key."""
    found = lorebook.shown(
        book,
        [user(one) if isinstance(one, str) else one for one in messages],
        filled=lambda at, lore: lore.content.replace("[", "<").replace("]", ">"),
        revealed=lambda at, lore: lore.content,
        clock=clock,
    )
    return [text for _, text in found]


def test_an_entry_is_shown_while_one_of_its_keys_was_said_lately():
    """Issue 7: lorebook with keys, scan depth and budget."""
    sea = book(entry("The sea.", "ship", "HARBOUR"), entry("The moon.", "moon"))
    assert shown(sea, "to the Harbour!") == ["The sea."]
    assert shown(sea, "a battleship", "1", "2", "3") == ["The sea."]
    assert shown(sea, "a battleship", "1", "2", "3", "4") == []
    assert shown(sea, assistant("the moon")) == ["The moon."]
    assert shown(sea, user("x")) == []


def test_what_is_shown_stands_in_the_order_of_insertion():
    two = book(entry("second", "a", insertion_order=2), entry("first", "a", insertion_order=1))
    assert shown(two, "a") == ["first", "second"]


@pytest.mark.parametrize(("depth", "expected"), [(0, []), (1, []), (2, ["x"]), (None, ["x"])])
def test_the_scan_depth_is_the_books(depth, expected):
    assert shown(book(entry("x", "a"), scan_depth=depth), "a", "b") == expected


def test_an_entry_may_have_a_scan_depth_of_its_own():
    deep = book(entry("@@scan_depth 3\nx", "a"), entry("y", "a"), scan_depth=1)
    assert shown(deep, "a", "b", "c") == ["x"]


def test_messages_without_words_do_not_count():
    use = Message("assistant", (ToolUseBlock("1", "t", {}),))
    result = Message("user", (ToolResultBlock("1", (TextBlock("a ship"),)),))
    sea = book(entry("x", "a word"), scan_depth=2)
    assert shown(sea, "a word", use, result, "b") == ["x"]
    assert shown(book(entry("x", "ship")), "a", use, result) == []


def test_case_counts_where_the_entry_says_so():
    assert shown(book(entry("x", "Rose", case_sensitive=True)), "a rose") == []
    assert shown(book(entry("x", "Rose", case_sensitive=True)), "a Rose") == ["x"]
    assert shown(book(entry("x", "STRASSE")), "die Straße") == ["x"]


def test_a_selective_entry_needs_a_key_of_each_group():
    both = book(entry("@@additional_keys c,d\nx", "a", selective=True, secondary_keys=["b"]))
    assert shown(both, "a c") == []
    assert shown(both, "b d") == []
    assert shown(both, "d", "b", "a") == ["x"]


def test_an_excluded_key_keeps_an_entry_away():
    assert shown(book(entry("@@exclude_keys moon\nx", "a")), "a moon") == []


def test_a_constant_entry_needs_no_key_and_an_activated_one_no_condition_at_all():
    constant = book(
        entry("@@exclude_keys moon\nx", constant=True), entry("@@activate_only_after 1\ny", constant=True)
    )
    assert shown(constant, "sun") == ["x"]
    assert shown(constant, "moon") == []
    assert shown(book(entry("@@activate\n@@exclude_keys a\n@@activate_only_after 9\nx")), "a") == ["x"]


def test_an_entry_may_wait_for_replies():
    late = book(entry("@@activate_only_after 2\nx", "a"), entry("@@activate_only_every 2\ny", "a"))
    use = Message("assistant", (ToolUseBlock("1", "t", {}),))
    assert shown(late, "a") == ["y"]
    assert shown(late, "a", assistant("1"), use, "a") == []
    assert shown(late, "a", assistant("1"), "a", assistant("2"), "a") == ["x", "y"]


def test_an_expression_is_found_in_what_was_said():
    found = book(entry("x", r"/dra(gon|ke)s?\b/i", use_regex=True), scan_depth=1)
    assert shown(found, "two DRAKES") == ["x"]
    assert shown(found, "a dragonfly") == []
    assert shown(found, "a drake", "b") == []


def test_expressions_are_left_alone_once_their_time_is_up():
    """DESIGN section 7: its regex keys run with a time limit."""
    ticks = iter([0.0, 0.0, 1.0, 1.0])
    found = book(entry("x", "a+", use_regex=True), entry("y", "a*b?", use_regex=True), entry("z", "a"))
    assert shown(found, "a", clock=lambda: next(ticks)) == ["x", "z"]


def test_where_not_all_fit_the_lowest_priority_goes_first():
    """Issue 7: lorebook with keys, scan depth and budget."""
    entries = [entry(name * 30, "a", priority=priority) for name, priority in (("b", 1), ("c", 3), ("d", 2))]
    assert shown(book(*entries), "a") == ["b" * 30, "c" * 30, "d" * 30]
    assert shown(book(*entries, token_budget=20), "a") == ["c" * 30, "d" * 30]
    assert shown(book(*entries, token_budget=19), "a") == ["c" * 30]
    assert shown(book(*entries, token_budget=0), "a") == []


def test_what_is_shown_may_bring_up_other_entries():
    chain = [entry("of the [king]", "sword"), entry("and queen", "king"), entry("reign", "queen")]
    assert shown(book(*chain, recursive_scanning=True), "sword") == ["of the <king>", "and queen", "reign"]
    assert shown(book(*chain, recursive_scanning=True, scan_depth=0), "sword") == []
    assert shown(book(*chain, recursive_scanning=False), "sword") == ["of the <king>"]
    constant = [entry("the king", constant=True), entry("reigns", "king")]
    assert shown(book(*constant, recursive_scanning=True, scan_depth=0), "a") == ["the king", "reigns"]


def test_a_chain_of_entries_comes_to_an_end():
    """Issue 7: a hostile card (huge lorebook …) is an error, not a hang."""
    chain = book(*(entry(f"k{at + 1}.", f"k{at}.") for at in range(100)), recursive_scanning=True)
    assert len(shown(chain, "k0.")) == 1 + lorebook.MOST_ROUNDS


def test_only_the_newest_of_a_long_text_is_looked_at():
    long = "old " + "x" * lorebook.LONGEST + " new"
    assert shown(book(entry("o", "old"), entry("n", "new")), long) == ["n"]


HISTORY = ["the quick brown fox jumps over the lazy dog " * 200] * 60


@pytest.mark.parametrize(
    "key",
    ["k{at}.{nth}", "the quick brown fo{at}.{nth}", "{at}"],
    ids=["never begun", "begun everywhere", "short"],
)
@pytest.mark.timeout(10)
def test_a_huge_book_against_a_long_history_is_bounded_work(key):
    """Issue 7: a hostile card (huge lorebook …) is an error, not a hang."""
    entries = tuple(
        Lore(content="x", keys=Keys(tuple(key.format(at=at, nth=nth) for nth in range(100))))
        for at in range(5000)
    )
    huge = Book(entries=entries, scan_depth=1000, is_recursive=True)
    assert shown(huge, *HISTORY) == []
    assert shown(Book(entries=(*entries[:10], Lore(content="y", keys=Keys(("fox",))))), *HISTORY) == ["y"]


@given(
    st.lists(st.lists(st.text("abß", max_size=4), max_size=3), max_size=4),
    st.lists(st.text("abßS ", max_size=30), min_size=1, max_size=4),
)
def test_keys_are_found_just_where_they_are(keys, texts):
    sought = book(*(entry(str(at), *group) for at, group in enumerate(keys)))
    heard = "\n".join(reversed(texts)).casefold()
    wanted = [
        str(at) for at, group in enumerate(keys) if any(key and key.casefold() in heard for key in group)
    ]
    assert shown(sought, *texts) == wanted


@pytest.mark.timeout(10)
def test_keys_that_fail_late_at_every_place_are_bounded_work():
    """Issue 7: a hostile card (huge lorebook …) is an error, not a hang."""
    keys = tuple("a" * (97 + at % 3) + "ba" + "a" * (at % 100) for at in range(10_000))
    entries = tuple(Lore(content="x", keys=Keys(keys[at : at + 100])) for at in range(0, 10_000, 100))
    assert shown(Book(entries=entries), "a" * 30_000) == []

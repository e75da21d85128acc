"""What a real Erlang writes is read, and what the tests' own encoder writes is read by a real Erlang."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Limits, Repairs
from eai_mcp.formats.eai import Reader, Snapshot
from eai_mcp.formats.erlang import Atom, Map, Term, Terms
from eai_mcp.formats.packed import unpacked
from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, user
from tests.formats.terms import encoded, terms

Erlang: TypeAlias = Callable[..., bytes]

SCRIPT = Path(__file__).with_name("samples.escript")
ABSENT = "no `escript`, whose `term_to_binary` makes the samples: install erlang-base"
LIMITS = Limits()

WAYS = [
    "[]",
    "[compressed]",
    "[{compressed, 9}, {minor_version, 2}]",
    "[{minor_version, 0}]",
    "[{minor_version, 1}]",
    "[{minor_version, 2}, deterministic]",
]
"""What `term_to_binary` may be told."""

SAMPLES: dict[str, list[Term]] = {
    "[]": [],
    "[1, 255, 256, -1, 1 bsl 31, -(1 bsl 63), (1 bsl 512) - 1]": [
        *(1, 255, 256, -1, 2**31, -(2**63), 2**512 - 1),
    ],
    "[0.0, -0.0, 1.5, 1.0e300, -2.2250738585072014e-308]": [0.0, -0.0, 1.5, 1e300, -2.2250738585072014e-308],
    "[nil, 'two words', 'é', '€', list_to_atom(lists:duplicate(255, $€))]": [
        *map(Atom, ("nil", "two words", "é", "€", "€" * 255)),
    ],
    '["abc", "é", "€", lists:duplicate(70000, 7)]': [[*b"abc"], [0xE9], [0x20AC], [7] * 70_000],
    '"abc"': [*b"abc"],
    "[<<>>, <<0, 255>>, binary:copy(<<1>>, 100000)]": [b"", b"\0\xff", b"\1" * 100_000],
    "[{}, {1, {2}}, list_to_tuple(lists:seq(1, 300))]": [(), (1, (2,)), tuple(range(1, 301))],
    "[#{}, #{a => #{<<98>> => #{[] => 1}}}]": [
        Map(()),
        Map(((Atom("a"), Map(((b"b", Map((([], 1),))),))),)),
    ],
    "[lists:foldl(fun(N, Inner) -> [N, Inner] end, [], lists:seq(1, 99))]": [
        functools.reduce(lambda inner, number: [number, inner], range(1, 100), list[Term]()),
    ],
}

MESSAGES = """
[#{role => user, content => [{text, <<"Hi, é"/utf8>>}]},
 #{role => assistant, content => [
    {thinking, <<"hm">>},
    {tool_use, [{tool_use_id, <<"c1">>}, {name, <<"run">>},
                {input, #{<<"script">> => <<"ls">>, <<"n">> => 1.5, <<"x">> => [1, nil, true]}}]}]},
 #{role => user, content => [{tool_result, [{tool_use_id, <<"c1">>}, {content, [{text, "a.txt"}]}]}]},
 #{'__struct__' => 'Elixir.Eai.Message', role => assistant, content => [{text, "né"}, {text, "né €"}]}]
"""
READ = [
    user("Hi, é"),
    Message(
        "assistant",
        (ThinkingBlock("hm"), ToolUseBlock("c1", "run", {"n": 1.5, "script": "ls", "x": [1, None, True]})),
    ),
    Message("user", (ToolResultBlock("c1", (TextBlock("a.txt"),)),)),
    Message("assistant", (TextBlock("né"), TextBlock("né €"))),
]


@pytest.fixture(scope="module")
def erlang() -> Iterator[Erlang]:
    """The binary that an expression has for its value."""
    escript = shutil.which("escript")
    if escript is None:
        if os.environ.get("CI"):
            pytest.fail(ABSENT)
        pytest.skip(ABSENT)
    pipe = subprocess.PIPE
    with subprocess.Popen([escript, str(SCRIPT)], stdin=pipe, stdout=pipe) as process:
        to, back = process.stdin, process.stdout
        assert to is not None
        assert back is not None

        def value(expression: str, given: bytes = b"") -> bytes:
            for part in (expression.encode(), given):
                to.write(len(part).to_bytes(4) + part)
            to.flush()
            size = back.read(4)
            assert len(size) == 4, f"Erlang could not evaluate {expression}"
            return back.read(int.from_bytes(size))

        yield value


def read(whole: bytes) -> list[Term]:
    return list(Terms(iter([whole]), LIMITS).elements())


def history(pieces: Iterator[bytes]) -> list[Message]:
    reader = Reader(Repairs())
    elements = Terms(pieces, LIMITS).elements()
    return [said for place, element in enumerate(elements, 1) for said in reader.read(element, place)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_what_a_real_erlang_writes_is_read(erlang, sample, way):
    """Issue 5: in CI the real `term_to_binary` of Debian's `erlang-base` makes the samples."""
    whole = erlang(f"term_to_binary({sample}, {way})")

    assert repr(read(whole)) == repr(SAMPLES[sample])


def test_what_a_real_erlang_compresses_is_compressed(erlang):
    """Issue 5: compressed terms too."""
    whole = erlang("term_to_binary([binary:copy(<<1>>, 100000)], [{compressed, 9}])")

    assert whole[1] == 80
    assert len(whole) < 1000


@given(encoded(st.lists(terms, max_size=3)), st.sampled_from(WAYS))
def test_a_real_erlang_reads_the_tests_encoder_and_writes_the_same(erlang, sample, way):
    """Issue 5: Erlang-term samples: write an independent encoder for the tests from the published format."""
    term, whole = sample
    # A key that comes twice is no map to Erlang, where 0.0 and -0.0 are the same.
    again = erlang(
        f"try binary_to_term(Given) of Term -> term_to_binary(Term, {way}) catch error:badarg -> <<>> end",
        whole,
    )

    assert (_sorted(read(again)) if again else None) == (None if _is_odd(term) else _sorted(term))


@pytest.mark.parametrize("way", WAYS)
def test_a_history_from_a_real_erlang_is_read(erlang, way):
    """Issue 5: genuine Eai exports (gzip of Erlang external terms) for session files."""
    packed = erlang(f"zlib:gzip(term_to_binary({MESSAGES}, {way}))")

    assert history(unpacked(iter([packed]), LIMITS)) == READ


@pytest.mark.parametrize("way", WAYS)
def test_a_snapshot_from_a_real_erlang_is_read_though_its_cache_holds_what_lives(erlang, way):
    """Issue 5: genuine Eai exports for whole-system snapshots."""
    packed = erlang(f"""
        Blob = zlib:gzip(term_to_binary({MESSAGES}, {way})),
        Cache = #{{{{pty, 1}} => self(), <<"ref">> => make_ref(), port => hd(erlang:ports()),
                  <<"funs">> => [fun lists:map/2, fun(X) -> X end, fun() -> Blob end],
                  bits => <<1:3>>, large => 1 bsl 3000, deep => [[[#{{a => "text"}}]] | improper],
                  "text" => 1.5, many => maps:from_list([{{N, N * 1.0}} || N <- lists:seq(1, 100)])}},
        zlib:gzip(term_to_binary(#{{version => 1, exported_at => erlang:system_time(microsecond),
            chat_sessions => #{{<<"default">> => Blob, "work" => Blob}}, cache_entries => Cache}}, {way}))
    """)
    content = unpacked((packed[i : i + 100] for i in range(0, len(packed), 100)), LIMITS)
    sessions = Snapshot(Terms(content, LIMITS), LIMITS, unpacked).sessions()

    assert {name: history(pieces) for name, pieces in sessions} == {"default": READ, "work": READ}


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("self()", "PID"),
        ("make_ref()", "REFERENCE"),
        ("hd(erlang:ports())", "PORT"),
        ("fun lists:map/2", "EXPORT"),
        ("fun(X) -> X end", "NEW_FUN"),
        ("<<1:3>>", "BIT_BINARY"),
        ("1 bsl 3000", "LARGE_BIG"),
    ],
)
def test_what_lives_in_a_real_erlang_is_refused(erlang, value, tag):
    """Issue 5: whitelisted tags, no `binary_to_term` semantics."""
    with pytest.raises(ImportInvalid, match=rf"what is not data at byte 6: tag \d+ \(\w*{tag}"):
        read(erlang(f"term_to_binary([{value}])"))


def _sorted(term: Term) -> str:
    """The same text for maps that differ in order alone."""
    match term:
        case Map():
            return f"Map{sorted((_sorted(key), _sorted(value)) for key, value in term.pairs)}"
        case list() | tuple():
            return f"{type(term).__name__}{[_sorted(part) for part in term]}"
        case _:
            return repr(term)


def _is_odd(term: Term) -> bool:
    match term:
        case Map():
            keys = {_sorted(key).replace("-0.0", "0.0") for key, _ in term.pairs}
            return len(keys) < len(term.pairs) or any(_is_odd(part) for pair in term.pairs for part in pair)
        case list() | tuple():
            return any(_is_odd(part) for part in term)
        case _:
            return False

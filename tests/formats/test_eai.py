import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Repairs
from eai_mcp.formats.eai import Reader, is_message, to_json
from eai_mcp.formats.erlang import Atom, Map, Term
from eai_mcp.messages import (
    Block,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from tests.formats.terms import block, keywords, message, record, terms

PICTURE = base64.b64encode(b"\x89PNG").decode()


def image(data: bytes = PICTURE.encode(), kind: bytes = b"png") -> tuple[Term, ...]:
    return block("image", keywords(format=kind, source=(Atom("bytes"), data)))


def use(given: Term, own: bytes = b"call_1", name: Term = b"run") -> tuple[Term, ...]:
    return block("tool_use", keywords(tool_use_id=own, name=name, input=given))


def result(content: Term, own: bytes = b"call_1") -> tuple[Term, ...]:
    return block("tool_result", keywords(tool_use_id=own, content=content))


def read(*elements: Term) -> tuple[list[Message], tuple[str, ...]]:
    """The messages, and what was repaired."""
    repairs = Repairs()
    reader = Reader(repairs)
    found = [said for place, element in enumerate(elements, 1) for said in reader.read(element, place)]
    return [*found, *reader.close()], repairs.told()


def test_a_genuine_history_is_read_as_it_is():
    """Issue 5: genuine Eai exports."""
    run = record(command=b"ls")
    history = [
        message("user", block("text", b"Look here: \xc3\xa9"), image()),
        message(
            "assistant", block("thinking", b"hm"), block("text", b"I look."), use(run), use(run, b"call_2")
        ),
        message("user", result([block("text", b"a.txt"), image(kind=b"jpg")])),
        message("user", result([], b"call_2")),
        message("assistant", block("text", b"Done.")),
    ]
    assert all(is_message(element) for element in history)
    assert read(*history) == (
        [
            Message("user", (TextBlock("Look here: é"), ImageBlock("image/png", PICTURE))),
            Message(
                "assistant",
                (
                    ThinkingBlock("hm"),
                    TextBlock("I look."),
                    ToolUseBlock("call_1", "run", {"command": "ls"}),
                    ToolUseBlock("call_2", "run", {"command": "ls"}),
                ),
            ),
            Message(
                "user", (ToolResultBlock("call_1", (TextBlock("a.txt"), ImageBlock("image/jpeg", PICTURE))),)
            ),
            Message("user", (ToolResultBlock("call_2", ()),)),
            assistant("Done."),
        ],
        (),
    )


@pytest.mark.parametrize(
    "said",
    [
        message("user", block("text", b"hi")),
        record(
            __struct__=Atom("Elixir.Eai.Message"),
            id=7,
            content=[block("text", b"hi")],
            role=Atom("user"),
        ),
        Map(((b"role", b"user"), (b"content", [(b"text", b"hi")]))),
        keywords(role=Atom("user"), content=[block("text", b"hi")]),
        message("user", block("text", [104, 105])),
        message("user", block("text", [b"h", [[105], []]])),
        record(role=[*b"user"], content=[([*b"text"], b"hi")]),
        Map((*message("user", block("text", b"former")).pairs, (Atom("content"), [block("text", b"hi")]))),
        [*keywords(role=Atom("user"), content=[block("text", b"hi")]), *keywords(role=Atom("assistant"))],
    ],
)
def test_names_and_texts_may_be_written_in_any_of_erlangs_ways(said):
    assert read(said) == ([user("hi")], ())


@pytest.mark.parametrize(
    ("chars", "text"),
    [
        ([*"é".encode()], "é"),
        ([0xE9], "é"),
        ([0x1F600, 33], "😀!"),
        (["é".encode(), 0x20AC, [b"x"]], "é€x"),
        (["é".encode(), 0xE9], "éé"),
        ([0xD83D, 0xDE00], "😀"),
        ([0xD83D], "\ufffd"),
    ],
)
def test_a_charlist_is_utf8_or_else_characters(chars, text):
    """Issue 5: list-of-bytes strings too."""
    assert read(message("user", block("text", chars))) == ([user(text)], ())


def backwards(**fields: Term) -> list[Term]:
    return keywords(**fields)[::-1]


def texts(**fields: Term) -> Map:
    return Map(tuple((key.encode(), value) for key, value in fields.items()))


def littered(**fields: Term) -> list[Term]:
    return [*keywords(**fields), Atom("other"), (1, 2, 3), (1, 2)]


@pytest.mark.parametrize("keys", [backwards, texts, littered, record])
def test_a_keyword_list_may_have_any_order_or_be_a_map(keys):
    picture = keys(format=Atom("png"), source=keys(bytes=PICTURE.encode()))
    asked = keys(tool_use_id=b"1", name=Atom("run"), input=record(a=1))
    answer = keys(tool_use_id=b"1", content=[block("image", picture)])

    assert read(
        message("assistant", block("tool_use", asked)), message("user", block("tool_result", answer))
    ) == (
        [
            Message("assistant", (ToolUseBlock("1", "run", {"a": 1}),)),
            Message("user", (ToolResultBlock("1", (ImageBlock("image/png", PICTURE),)),)),
        ],
        (),
    )


def test_a_tools_input_becomes_json():
    given = Map(
        (
            (b"none", [Atom("nil"), Atom("undefined"), Atom("null")]),
            (Atom("said"), [Atom("true"), Atom("false"), Atom("other"), b"text"]),
            (b"numbers", (1, -2.5, 2**511)),
            (b"chars", [104, 105]),
            (b"keywords", keywords(a=1)),
            (b"inner", Map(((1, b"a"), ([*b"b"], b"b"), (1.5, b"c")))),
            (Atom("__struct__"), Atom("Elixir.Any")),
            (b"twice", 1),
            (b"twice", 2),
        )
    )
    (said,), repairs = read(message("assistant", use(given)))

    assert said.content == (
        ToolUseBlock(
            "call_1",
            "run",
            {
                "none": [None, None, None],
                "said": [True, False, "other", "text"],
                "numbers": [1, -2.5, 2**511],
                "chars": [104, 105],
                "keywords": [["a", 1]],
                "inner": {"1": "a", "b": "b", "1.5": "c"},
                "twice": 2,
            },
        ),
    )
    assert repairs == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Atom("nil"), {}),
        (b'{"a": 1}', {"a": 1}),
        (b"rm -r", {wire.INVALID_JSON: "rm -r"}),
        ([1, 2], {wire.INVALID_JSON: "[1,2]"}),
    ],
)
def test_a_tools_input_that_is_no_map_is_kept(given, kept):
    (said,), repairs = read(message("assistant", use(given)))

    assert said.content == (ToolUseBlock("call_1", "run", kept),)
    assert len(repairs) == (wire.INVALID_JSON in kept)


REPAIRED: list[tuple[Term, tuple[Block, ...], str]] = [
    (record(role=Atom("user"), content=b"hi"), (TextBlock("hi"),), "string content was taken as text"),
    (record(role=Atom("user"), content=[*b"hi"]), (TextBlock("hi"),), "string content was taken as text"),
    (
        message("user", block("text", b"a"), b"b"),
        (TextBlock("a"), TextBlock("b")),
        "string content was taken",
    ),
    (
        message("user", result(b"out")),
        (ToolResultBlock("call_1", (TextBlock("out"),)),),
        "string content was",
    ),
    (
        message("user", block("text", b"a"), block("video", b"b")),
        (TextBlock("a"),),
        "a block of unknown kind 'video'",
    ),
    (message("user", block("text", b"a"), (1, 2)), (TextBlock("a"),), "a block without a kind"),
    (message("user", block("text", b"a"), (1, 2, 3)), (TextBlock("a"),), "a block without a kind"),
    (message("user", block("text", b"a"), record(a=1)), (TextBlock("a"),), "a block without a kind"),
    (message("user", block("text", b"a"), use(Map(()))), (TextBlock("a"),), "a tool use said by the user"),
    (
        message("user", block("text", b"a"), block("thinking", b"b")),
        (TextBlock("a"),),
        "a thought said by the user",
    ),
    (message("user", block("text", b"a"), block("text", 1)), (TextBlock("a"),), "a text that is no string"),
    (message("user", block("text", b"a\xff")), (TextBlock("a\ufffd"),), "a text that is not UTF-8"),
    (message("user", block("text", b"a"), image(b"a:b")), (TextBlock("a"),), "whose data is no base64"),
    (message("user", block("text", b"a"), image(kind=b"")), (TextBlock("a"),), "without a media type"),
    (
        message("user", block("text", b"a"), block("image", b"png")),
        (TextBlock("a"),),
        "an image without a media type was left out",
    ),
    (
        message("user", result([use(Map(()))])),
        (ToolResultBlock("call_1", ()),),
        "a block of unknown kind 'tool_use'",
    ),
    (
        message("assistant", use(Map((((1, b"x"), 1), (b"y", 2))))),
        (ToolUseBlock("call_1", "run", {"y": 2}),),
        "a key that is neither a text nor a number was left out",
    ),
    (message("user", block("text", b"a"), result([], b"")), (TextBlock("a"),), "result without an id"),
]


@pytest.mark.parametrize(("element", "content", "repair"), REPAIRED)
def test_what_cannot_be_taken_is_left_out_and_told(element, content, repair):
    """Issue 5: string contents, unknown block kinds: repaired or refused, and the result reports which."""
    (said,), (told,) = read(element)

    assert said.content == content
    assert repair in told
    assert told.endswith(" (message 1)")


def test_what_the_other_role_says_is_left_out_of_an_assistants_message():
    (said,), repairs = read(message("assistant", block("text", b"a"), result([]), use(Map(()), b"")))

    assert said == assistant("a")
    assert len(repairs) == 2


@pytest.mark.parametrize(
    ("element", "repair"),
    [
        (message("user"), "a message without content was left out (message 1)"),
        (record(role=Atom("user")), "a message without content was left out (message 1)"),
        (
            record(role=Atom("user"), content=Atom("nil")),
            "a message without content was left out (message 1)",
        ),
        (message("user", block("text", b"")), "a message without content was left out (message 1)"),
        (message("system", block("text", b"x")), "a system message was left out: talk's `system` sets it"),
        (record(role=Atom("user"), content=7), "a content that is neither text nor a list was left out"),
    ],
)
def test_a_message_of_which_nothing_is_kept_is_told(element, repair):
    found, repairs = read(element)

    assert found == []
    assert repairs[0].startswith(repair)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (message("tool"), "message 2 has the role 'tool'; known are user, assistant, system"),
        (record(content=[]), "message 2 has no role"),
        (record(role=1, content=[]), "message 2 has no role"),
        (b"words", "message 2 has no role"),
        ([1, 2], "message 2 has no role"),
    ],
)
def test_what_is_no_message_is_refused(element, reason):
    with pytest.raises(ImportInvalid, match=reason):
        read(message("user", block("text", b"hi")), element)


def test_input_that_is_nested_too_deep_to_keep_is_refused():
    deep: Term = 1
    for _ in range(wire.DEEPEST + 2):
        deep = [deep]
    with pytest.raises(ImportInvalid, match="message 1 has a tool's input nested"):
        read(message("assistant", use(record(a=deep))))
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ImportInvalid, match="nested deeper than 200 levels"):
        to_json(deep)


def test_maps_for_keys_do_not_swell():
    inner: Term = Map(())
    for _ in range(100):
        inner = Map(((inner, inner),))

    assert to_json(inner) == {}


def test_maps_in_a_vendors_shape_are_told_apart_and_become_json():
    """Issue 5: genuine Eai exports."""
    plain = Map(((b"role", b"user"), (b"content", b"hi")))
    parts = Map(((b"role", b"user"), (b"content", [Map(((b"type", b"text"), (b"text", b"hi\xff")))])))
    named = record(role=b"user", content=[record(type=b"text", text=b"hi")])
    ours = [
        record(role=Atom("user"), content=b"hi"),
        record(role=Atom("user"), content=[]),
        message("user", (1,)),
    ]

    assert [is_message(element) for element in (plain, parts, named, b"x", record(content=[(1, 2)]))] == [
        False
    ] * 5
    assert [is_message(element) for element in ours] == [True] * 3
    assert to_json(plain) == {"role": "user", "content": "hi"}
    assert to_json(parts) == {"role": "user", "content": [{"type": "text", "text": "hi\ufffd"}]}
    assert to_json(named) == {"role": "user", "content": [{"type": "text", "text": "hi"}]}


@given(st.lists(terms, max_size=3), st.sampled_from(["user", "assistant"]), st.data())
def test_any_term_is_a_message_or_refused(parts, role, data):
    """Issue 5: no input makes the importer raise outside the error tree."""
    kinds = st.sampled_from(["text", "thinking", "image", "tool_use", "tool_result"])
    fields = ["format", "source", "tool_use_id", "name", "input", "content", "bytes"]
    payloads = st.dictionaries(st.sampled_from(fields), terms).map(lambda found: keywords(**found)) | terms
    blocks = [block(data.draw(kinds), data.draw(payloads)) for _ in parts]

    for element in (message(role, *blocks), message(role, *parts), *parts):
        to_json(element)
        is_message(element)
        with contextlib.suppress(ImportInvalid):
            found, _ = read(element)
            assert len(found) <= 1

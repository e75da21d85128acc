"""Generated histories: valid, and with whatever a valid one may hold.

Each tool use has its result in the very next message. Texts may be empty or hold half a character, ids have a
form that some vendor refuses, data be broken (`BROKEN`), messages be empty, and neighbours be of one role.
"""

import base64

from hypothesis import strategies as st

from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

BROKEN = "no base64!"
HALF = "\ud83d"

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9)
    | st.text(max_size=8)
    | st.just(HALF)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just(HALF), inner, max_size=3)
    ),
    max_leaves=5,
)
INPUTS = st.dictionaries(st.text(max_size=6), JSON, max_size=3)

TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "\n\t",
        "two\n\nparagraphs",
        "naïve 🙂 日本",
        HALF,
        f"half {HALF} of it",
        "Error: no",
        "\x00\x1f",
        "[image]",
    ]
)
DATA = st.binary(min_size=1, max_size=9).map(lambda raw: base64.b64encode(raw).decode()) | st.sampled_from(
    [base64.b64encode(said).decode() for said in (b"\xef\xbb\xbfwith a mark", b"%PDF-1.7", b"plain words")]
    + ["", BROKEN]
)
IMAGES = st.builds(
    ImageBlock,
    st.sampled_from(
        [
            "image/png",
            "image/jpeg",
            "image/jpg",
            "image/gif",
            "IMAGE/WEBP",
            "image/bmp",
            "image/png; q=1",
            "png",
        ]
    ),
    DATA,
)
DOCUMENTS = st.builds(
    DocumentBlock,
    st.sampled_from(
        [
            "application/pdf",
            "text/plain",
            "text/markdown",
            "text/csv; charset=utf-8",
            "text/x-python",
            "application/json",
            "application/zip",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ]
    ),
    DATA,
    st.sampled_from(["document", "report", "report", "a/b\u00e9.pdf", " spaced  out ", " ", "x" * 300, HALF])
    | st.text(min_size=1, max_size=9),
)
SHOWN = st.builds(TextBlock, TEXTS) | st.builds(TextBlock, TEXTS) | IMAGES | DOCUMENTS
SEALS = st.sampled_from([None, "", "c2VhbA==", HALF])
THOUGHTS = st.builds(ThinkingBlock, TEXTS, SEALS)
STATES = st.none() | st.builds(
    ProviderState, st.sampled_from(["anthropic", "openai_chat", "bedrock"]), st.just("model-1"), JSON
)

_ID_FORMS = ("call_{}", "toolu_{}", "call {}", "ü{}", HALF + "{}", "a.b:{}", "x" * 39 + "{}", "y" * 70 + "{}")
_NAMES = ("search", "run.this", "näme", "z" * 80, HALF)


@st.composite
def histories(draw, *, longest=5):
    """Up to that many exchanges: words of the user, an answer, and what its tools said."""
    messages: list[Message] = []
    for number in range(draw(st.integers(0, longest))):
        if draw(st.booleans()):
            messages.append(Message("user", tuple(draw(st.lists(SHOWN, max_size=3)))))
        if draw(st.booleans()):
            messages += draw(_answers(number))
    return messages


@st.composite
def _answers(draw, number):
    """An answer, and the results of the tools that it uses."""
    uses = [
        ToolUseBlock(
            draw(st.sampled_from(_ID_FORMS)).format(f"{number}-{index}"),
            draw(st.sampled_from(_NAMES)),
            draw(INPUTS),
        )
        for index in range(draw(st.sampled_from([0, 0, 1, 2, 3])))
    ]
    content = draw(st.permutations([*draw(st.lists(SHOWN | THOUGHTS, max_size=3)), *uses]))
    yielded = [Message("assistant", tuple(content), draw(st.booleans()), draw(STATES))]
    if uses:
        results = [
            ToolResultBlock(use.id, tuple(draw(st.lists(SHOWN, max_size=3))), draw(st.booleans()))
            for use in uses
        ]
        others = draw(st.sampled_from([[], []]) | st.lists(SHOWN, max_size=2))
        yielded.append(
            Message("user", tuple([*results, *others] if draw(st.booleans()) else [*others, *results]))
        )
    return yielded

from eai_mcp.formats import Head
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    line,
    user,
)
from tests.formats.moving import written

TRANSCRIPT = """\
# work

- model: plain
- system: 

```
Be brief.
Be kind.
```

## User, 1970-01-01 00:01:40 UTC

Look **here**.

*[image: image/png, 3 bytes]*

*[document notes.txt: text/plain, 3 bytes]*

## Assistant, 1970-01-01 00:01:41 UTC

> *thinking*
> 
> one
> two

**asks for the tool look** (u1)

```json
{
  "where": "日本"
}
```

## User

**the tool failed** (u1)

````
a ``` fence
````

*[image: image/png, 3 bytes]*

## Assistant

half

*(cut off here)*
"""  # noqa: W291  # as Markdown writers do


def test_a_transcript_reads_like_this():
    """Issue 5: `markdown` (a transcript for people)."""
    image, document = ImageBlock("image/png", "aGkh"), DocumentBlock("text/plain", "aGkh", "notes.txt")
    given = [
        line(user((TextBlock("Look **here**."), image, document)), at=100.0),
        line(
            Message(
                "assistant",
                (ThinkingBlock("one\ntwo"), ToolUseBlock("u1", "look", {"where": "日本"})),
            ),
            at=101.0,
        ),
        line(user((ToolResultBlock("u1", (TextBlock("a ``` fence"), image), failed=True),))),
        line(assistant("half", partial=True)),
    ]
    head = Head(session="work", choices={"model": "plain", "system": "Be brief.\nBe kind."})
    assert written("markdown", given, head).decode() == TRANSCRIPT


def test_half_a_character_does_not_stop_it():
    assert "�" in written("markdown", [line(user("\ud800"))]).decode()

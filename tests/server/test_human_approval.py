"""What a person who talks through a client may allow."""

from typing import Any

import mcp_types as types
import pytest

from eai_mcp.chat.toolbox.approval import BY_TALK
from eai_mcp.chat.values import Talk
from eai_mcp.messages import ToolUseBlock
from eai_mcp.server.human import Human
from tests.chat.taking import history, opened, results_in, told, uses
from tests.chat.toolbox.boxes import box, tool
from tests.fakes import said

RM = ToolUseBlock("u1", "rm", {"word": "é" * 9_000})


class Sitting:
    """A person whose client can ask them, and who sees all that they are asked."""

    fills_forms, is_modern = True, False

    def __init__(self, *words):
        self.words, self.seen = [*words], []

    async def asked(self, form):
        self.seen.append(form.message)
        if not self.words:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"answer": self.words.pop(0)})


async def run(given, use):
    return {"ran": "it"}


@pytest.mark.parametrize(
    ("content", "words", "approves", "wanted"),
    [
        ("", ("clean up", "approve"), True, '{"ran": "it"}'),
        ("clean up", ("approve",), True, '{"ran": "it"}'),
        ("", ("clean up", "no"), True, "refused: not approved"),
        ("", ("clean up", "approve"), False, f"refused: {BY_TALK}"),
    ],
)
async def test_a_person_allows_what_they_saw_whole_if_forms_count(catalog, content, words, approves, wanted):
    """Issue 8: nobody but the person approves; and the operator says whether forms are theirs."""
    toolbox = box(tool("rm", run, shown=lambda given, use: given.word), approvals={"rm": "ask"})
    someone: Any = Sitting(*words)
    async with opened(catalog, uses(RM), said("Done."), toolbox=toolbox) as (registry, _):

        async def follow(turn):
            return await registry.reply(turn, 5)

        human = Human(registry, approves=approves, limit_s=5)
        done: Any = await human.begun("", Talk(content=content), someone, follow)
        assert done.reply == "Done."
        assert [told(one) for one in results_in((await history(registry))[2])] == [wanted]
    assert someone.seen[-2].endswith(RM.input["word"])

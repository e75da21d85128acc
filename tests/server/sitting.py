"""People at the client who do what a test says, and a model that asks them."""

import mcp_types as types

from eai_mcp.messages import Message, ToolUseBlock
from tests.fakes import said

DECLINES = types.ElicitResult(action="decline")


def asks(text):
    """A reply that asks the person something."""
    use = ToolUseBlock("q1", "ask_user", {"question": text})
    return said("", message=Message("assistant", (use,)), stop="tools")


class Sitting:
    """A person who says what a test tells them to, and remembers what they were asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, context, params):
        self.asked.append(params)
        answer = self.answers.pop(0)
        if isinstance(answer, types.ElicitResult | types.ErrorData):
            return answer
        if isinstance(answer, str):
            return types.ElicitResult(action="accept", content={"answer": answer})
        return await answer()

    @property
    def shown(self):
        """What the forms said."""
        return [each.message for each in self.asked]


def at(person, **more):
    """The options of a connection where a person sits at the client."""
    return {"client": {"elicitation_callback": person}, "elicit": True, **more}

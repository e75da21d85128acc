"""How many steps a turn takes, how much its tools may say, and when the model is told to come to an end."""

from dataclasses import dataclass, replace

import anyio

from eai_mcp.errors import LimitExceeded
from eai_mcp.messages import DocumentBlock, ImageBlock, Message, TextBlock
from eai_mcp.middleware import ToolOutcome

WRAP_UP_STEPS = 3
WRAP_UP_SHARE = 0.1
"""Of a turn's time, what is left when the model is told."""
MOST_OUTPUT = 40_000
"""Characters of one result; what is more is cut out of its middle."""
MOST_OUTPUT_OF_TURN = 600_000
MOST_MEDIA_OF_TURN = 24 * 1024 * 1024
"""Characters of base64 in the pictures and files of a turn."""


@dataclass(slots=True)
class Budget:
    """What is left to a turn: steps, output, time until `deadline` (anyio's clock) of `limit_s` seconds."""

    most_steps: int
    deadline: float
    limit_s: float
    steps: int = 0
    output: int = 0
    media: int = 0

    def step(self) -> None:
        """Count a step.

        Raises:
            LimitExceeded: There were too many.
        """
        self.steps += 1
        if self.steps > self.most_steps:
            raise LimitExceeded(
                f"the model asked for tools {self.most_steps} times without an answer", limit=self.most_steps
            )

    def urging(self, results: Message) -> Message:
        """The results of a step, with a word behind them once the end is near."""
        steps, seconds = self.most_steps - self.steps, self.deadline - anyio.current_time()
        if steps > WRAP_UP_STEPS and seconds > self.limit_s * WRAP_UP_SHARE:
            return results
        left = f"{max(0, steps)} more rounds of tools" if steps <= WRAP_UP_STEPS else f"{seconds:.0f} s"
        note = f"[Only {left} left in this turn: finish what must be finished, and answer now.]"
        return replace(results, content=(*results.content, TextBlock(note)))

    def held(self, outcome: ToolOutcome) -> ToolOutcome:
        """An outcome within the limits of a tool and of the turn."""
        content = tuple(self._held(block) for block in outcome.content)
        return replace(outcome, content=content)

    def _held(self, block: TextBlock | ImageBlock | DocumentBlock) -> TextBlock | ImageBlock | DocumentBlock:
        if not isinstance(block, TextBlock):
            self.media += len(block.data)
            if self.media > MOST_MEDIA_OF_TURN:
                return TextBlock(f"[left out: this turn has had {MOST_MEDIA_OF_TURN:,} characters of files]")
            return block
        text = cut(block.text, MOST_OUTPUT)
        self.output += len(text)
        if self.output > MOST_OUTPUT_OF_TURN:
            return TextBlock(
                f"[left out: the tools of this turn have said {MOST_OUTPUT_OF_TURN:,} characters]"
            )
        return block if text is block.text else TextBlock(text)


def cut(text: str, most: int) -> str:
    """A text with its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"

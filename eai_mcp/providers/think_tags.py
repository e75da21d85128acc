"""Reasoning that raw models put in front of their text, between <think> and </think>."""

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """Tells reasoning from text while both stream in pieces that may end within a tag.

    Only a tag at the very start counts; after the closing one everything is text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._place: Literal["before", "inside", "between", "after"] = "before"

    def feed(self, piece: str) -> list[tuple[str, bool]]:
        """What is certain by now, in order; True marks reasoning."""
        self._held += piece
        told: list[tuple[str, bool]] = []
        if self._place == "before":
            self._look_for_start()
        if self._place == "inside":
            told.append((self._reasoning(), True))
        if self._place == "between":
            self._held = self._held.lstrip()
            self._place = "after" if self._held else "between"
        if self._place == "after":
            told.append((self._all(), False))
        return [(text, is_reasoning) for text, is_reasoning in told if text]

    def close(self) -> list[tuple[str, bool]]:
        """What was held back, now that no more will come."""
        text, is_reasoning = self._all(), self._place == "inside"
        return [(text, is_reasoning)] if text else []

    def _look_for_start(self) -> None:
        start = self._held.lstrip()
        if start.startswith(OPEN):
            self._held, self._place = start.removeprefix(OPEN), "inside"
        elif not OPEN.startswith(start):
            self._place = "after"

    def _reasoning(self) -> str:
        text, tag, rest = self._held.partition(CLOSE)
        if tag:
            self._held, self._place = rest, "between"
            return text
        uncertain = next(n for n in range(len(CLOSE), -1, -1) if text.endswith(CLOSE[:n]))
        self._held = text[len(text) - uncertain :]
        return text[: len(text) - uncertain]

    def _all(self) -> str:
        text, self._held = self._held, ""
        return text

"""How much of something callers over HTTP may hold at a time: each of them, and all together."""

from collections import Counter

from starlette.responses import PlainTextResponse, Response

RETRY_S = 5


class Share:
    """What is held, by each space and by all. Who lets a space go that holds nothing leaves no trace."""

    def __init__(self, *, each: int, whole: int) -> None:
        self._each = each
        self._whole = whole
        self._held: Counter[str] = Counter()

    def take(self, space: str, amount: int = 1) -> bool:
        """Whether there is that much left, which is then held."""
        if self._held[space] + amount > self._each or self._held.total() + amount > self._whole:
            self.give_back(space, 0)
            return False
        self._held[space] += amount
        return True

    def give_back(self, space: str, amount: int = 1) -> None:
        """Let go of what was taken."""
        self._held[space] -= amount
        if not self._held[space]:
            del self._held[space]


def spent(what: str) -> Response:
    """The answer to who asks for more: another time there may be some."""
    text = f"Too many {what} at a time; try again once some of yours are done."
    return PlainTextResponse(text, 429, headers={"Retry-After": str(RETRY_S)})

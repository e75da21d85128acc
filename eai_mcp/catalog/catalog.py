"""The catalog: models, prompts and cards by name, from folders that are looked at again as they are asked.

Nothing is read before the first look-up, each kind by itself. A changed file is seen within a second; one
that turned bad is reported and skipped.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, assert_never

from eai_mcp.catalog import card_files
from eai_mcp.catalog.entries import Card, Model, Problem, Prompt
from eai_mcp.catalog.models import read_model, unsound
from eai_mcp.catalog.prompts import read_prompt
from eai_mcp.catalog.shelf import Folder, Shelf, Shown

T = TypeVar("T")
Kind: TypeAlias = Literal["models", "prompts", "cards"]
KINDS: tuple[Kind, ...] = ("models", "prompts", "cards")


def shipped() -> Path:
    """The folder of the shipped entries: in the wheel beside the code, in a checkout at its top."""
    package = Path(__file__).resolve().parents[1]
    built_in = package / "builtin"
    is_checkout = not built_in.is_dir() and (package.parent / "pyproject.toml").is_file()
    return package.parent if is_checkout else built_in


class Catalog:
    """Models, prompts and cards by name.

    `models`, `prompts` and `cards` are folders for that kind alone, looked into first; each of `roots` may
    have the folders `models/`, `prompts/` and `cards/`. Where a name is in several, the first has it. `clock`
    is in seconds. One thread may use a catalog.
    """

    def __init__(
        self,
        *,
        models: Sequence[Path] = (),
        prompts: Sequence[Path] = (),
        cards: Sequence[Path] = (),
        roots: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._version = 0
        self._models: Shelf[Model] = Shelf(
            "model", _folders(models, roots, "models"), {".toml": read_model}, audit=unsound
        )
        self._prompts: Shelf[Prompt] = Shelf(
            "prompt", _folders(prompts, roots, "prompts"), {".md": read_prompt}
        )
        self._cards: Shelf[Card] = Shelf(
            "card",
            _folders(cards, roots, "cards"),
            card_files.READERS,
            largest=card_files.LARGEST_FILES,
            remarks=card_files.remarks,
        )

    @classmethod
    def standard(
        cls,
        *,
        models: Sequence[Path] = (),
        prompts: Sequence[Path] = (),
        cards: Sequence[Path] = (),
        config: Path | None = None,
    ) -> "Catalog":
        """The catalog of a server: the given folders, those of the user's configuration, the shipped ones."""
        roots = (shipped(),) if config is None else (config, shipped())
        return cls(models=models, prompts=prompts, cards=cards, roots=roots)

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            UnknownName: There is none.
            ConfigError: There is one, and its file is bad.
        """
        return self._fresh(self._models).get(name)

    def fallbacks(self, model: Model) -> tuple[Model, ...]:
        """The models that stand in for it, in order: each is followed by its own, and comes once.

        Raises:
            UnknownName, ConfigError: One cannot be used any more.
        """
        found: dict[str, Model] = {}
        for name in model.reliability.fallback:
            if name not in found:
                other = found[name] = self.model(name)
                found |= {one.name: one for one in self.fallbacks(other) if one.name not in found}
        return tuple(found.values())

    def prompt(self, name: str) -> Prompt:
        """The prompt of that name; raises as `model` does."""
        return self._fresh(self._prompts).get(name)

    def card(self, name: str) -> Card:
        """The card of that name; raises as `model` does."""
        return self._fresh(self._cards).get(name)

    def models(self) -> tuple[Model, ...]:
        """Every model, by name."""
        return tuple(self._fresh(self._models).entries.values())

    def prompts(self) -> tuple[Prompt, ...]:
        """Every prompt, by name."""
        return tuple(self._fresh(self._prompts).entries.values())

    def cards(self) -> tuple[Card, ...]:
        """Every card, by name."""
        return tuple(self._fresh(self._cards).entries.values())

    def problems(self, *kinds: Kind) -> tuple[Problem, ...]:
        """What is wrong with files that were skipped, wholly or in part; of all kinds if none is named."""
        return tuple(
            problem for kind in kinds or KINDS for problem in self._fresh(self._shelf(kind)).problems
        )

    def shadowed(self) -> tuple[Path, ...]:
        """Files that are not read because an earlier folder has their name."""
        return (
            *self._fresh(self._models).shadowed,
            *self._fresh(self._prompts).shadowed,
            *self._fresh(self._cards).shadowed,
        )

    def shown(self, kind: Kind) -> Shown[Model | Prompt | Card]:
        """How a kind stood when it was last looked at. It costs no reading, also if that was never."""
        return self._shelf(kind).shown()

    def look(self, kind: Kind) -> Shown[Model | Prompt | Card]:
        """How a kind stands now. What nobody asked for yet is not read for it."""
        shelf = self._shelf(kind)
        shown = shelf.shown()
        return shown if shown.entries is None else self._fresh(shelf).shown()

    @property
    def version(self) -> int:
        """A number that grows whenever what is offered has changed. Reading it looks, too."""
        self.problems()
        return self._version

    def _shelf(self, kind: Kind) -> Shelf[Any]:
        match kind:
            case "models":
                return self._models
            case "prompts":
                return self._prompts
            case "cards":
                return self._cards
            case _:
                assert_never(kind)

    def _fresh(self, shelf: Shelf[T]) -> Shelf[T]:
        self._version += shelf.look(self._clock())
        return shelf


def _folders(given: Sequence[Path], roots: Sequence[Path], kind: str) -> tuple[Folder, ...]:
    return (*(Folder(path, named=True) for path in given), *(Folder(root / kind) for root in roots))

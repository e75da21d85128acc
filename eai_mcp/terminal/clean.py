"""What a terminal would show of the bytes that programs wrote, as plain text.

A line is what stands in it at its end: a carriage return or a backspace moves back, and what follows
overwrites. A move to another line begins a new one, whatever was there before, so a progress bar over several
lines shows each of its states. A line is as wide as it is, and takes time in proportion to its bytes: what is
inserted or deleted in it shifts the rest of a screen's width, as at a terminal, and no more.
"""

import re
import unicodedata
from collections.abc import Callable

COLUMNS = 200
MARKS = 32
"""So many marks, as accents are, may stand on one letter where a line is overwritten."""

_TAB = 8
_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[(?P<args>[0-?]*+)[ -/]*+(?P<final>[@-~]?)"  # moves, colours, erasing
    r"|[\]PX^_][^\x07\x18\x1a\x1b]*+(?:\x07|\x1b\\)?"  # titles and other strings
    r"|[ -/]++[0-~]?"  # character sets
    r"|(?P<escape>[0-~]?))"
)
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOVES = re.compile(r"[\r\x08]|\x1b(?:[78DEM]|\[[0-?]*+[@-HJKPXbdfsu])")
_TOKEN = re.compile(
    rf"(?P<sequence>{_SEQUENCE.pattern})|(?P<text>[^\x00-\x1f\x7f-\x9f]++)|(?P<single>.)", re.DOTALL
)


def cleaned(raw: bytes) -> str:
    """The text; of the control characters only newline and tab are left."""
    text = raw.decode("utf-8", "replace")
    if not _ODD.search(text):
        return text
    return "\n".join(_line(line.rstrip("\r")) for line in text.split("\n"))


def _line(line: str) -> str:
    if not _ODD.search(line):
        return line
    if not _MOVES.search(line):
        return _ODD.sub("", _SEQUENCE.sub("", line))
    rows = _Rows()
    for token in _TOKEN.finditer(line):
        if text := token["text"]:
            rows.write(text)
        elif token["sequence"]:
            rows.obey(token["final"] or token["escape"] or "", token["args"])
        else:
            rows.row.move(token["single"])
    return rows.shown()


class _Rows:
    """What one line of the output shows: a row, and one more for each move to another that was written to."""

    def __init__(self) -> None:
        self.row = _Row()
        self._earlier: list[_Row] = []
        self._number: int | None = None  # of the row on the screen, once a program has said it
        self._kept: tuple[_Row, int] | None = None
        self._last = ""

    def shown(self) -> str:
        rows = self._earlier if self._earlier and not self.row.cells else [*self._earlier, self.row]
        return "\n".join("".join(row.cells) for row in rows)

    def write(self, text: str) -> None:
        self.row.write(text)
        self._last = text[-1]

    def obey(self, final: str, args: str | None) -> None:
        """Move, erase, insert or delete. Whatever else there is changes nothing that we show."""
        if args is None:
            self._escape(final)
        elif final in {"H", "f"}:
            line, _, column = args.partition(";")
            self._turn(_count(line, least=1))
            self.row.to(_count(column, least=1) - 1)
        elif final == "d":
            self._turn(_count(args, least=1))
        elif final and final in "ABEF":
            self._by(_count(args, least=1) * (-1 if final in "AF" else 1))
        elif final == "b":
            self.row.write(self._last * min(_count(args, least=1), COLUMNS))
        elif final in {"s", "u"} and not args:
            self._keep(back=final == "u")
        elif edit := _EDITS.get(final):
            edit(self.row, args)

    def _escape(self, final: str) -> None:
        if final in {"7", "8"}:
            self._keep(back=final == "8")
        elif final in {"D", "E", "M"}:
            self._by(-1 if final == "M" else 1)

    def _by(self, rows: int) -> None:
        self._turn(None if self._number is None else max(self._number + rows, 1))

    def _turn(self, number: int | None) -> None:
        """Go on in that row, in a new one if that cannot be known to be this one."""
        if self.row.cells and (number is None or number != self._number):
            self._earlier.append(self.row)
            self.row = _Row()
        self._number = number

    def _keep(self, *, back: bool) -> None:
        if not back:
            self._kept = self.row, self.row.at
        elif self._kept is not None:
            row, at = self._kept
            if row is not self.row:
                self._turn(None)
                self._kept = self.row, at
            self.row.to(at)


class _Row:
    """The cells of one line. A wide letter takes two, of which the second is empty."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.at = 0

    def write(self, text: str) -> None:
        self.cells.extend(" " * (self.at - len(self.cells)))
        if text.isascii():
            self._put(list(text))
            return
        for letter in text:
            if not (width := _width(letter)):
                self._mark(letter)
            else:
                self._put([letter, ""][:width])

    def move(self, control: str) -> None:
        if control == "\r":
            self.at = 0
        elif control == "\b":
            self.at = max(self.at - 1, 0)
        elif control == "\t":
            self._tab()

    def to(self, at: int) -> None:
        """Move to a column, counted from 0."""
        self.at = min(max(at, 0), max(len(self.cells), COLUMNS - 1))

    def erase(self, args: str) -> None:
        """Up to the end, up to here, or all."""
        part = _count(args)
        if part == 0:
            self._split(self.at)
            del self.cells[self.at :]
        elif part == 1:
            self._blank(self.at - self.at % COLUMNS, self.at + 1)
        elif part == 2:
            self.cells.clear()
            self.at = min(self.at, COLUMNS)

    def erase_below(self, args: str) -> None:
        """Of the whole screen only what is after the cursor in its row: what is above was shown."""
        if _count(args) == 0:
            self.erase(args)

    def blank(self, args: str) -> None:
        """Erase so many cells from here on."""
        self._blank(self.at, self.at + min(_count(args, least=1), COLUMNS))

    def delete(self, args: str) -> None:
        """Let the rest of the screen's row move up."""
        end = self._edge()
        rest = self._taken(min(self.at + _count(args, least=1), end), end)
        missing = end - self.at - len(rest) if end < len(self.cells) else 0
        self._change(end, [*rest, *" " * missing])

    def insert(self, args: str) -> None:
        """Let the rest of the screen's row make room; what does not fit in there is gone."""
        end = self._edge()
        if self.at < len(self.cells):
            room = self.at - self.at % COLUMNS + COLUMNS - self.at
            rest = self._taken(self.at, end)
            self._change(end, [*" " * min(_count(args, least=1), room), *rest][:room])

    def _put(self, cells: list[str]) -> None:
        end = self.at + len(cells)
        self._split(self.at)
        self._split(end)
        self.cells[self.at : end] = cells
        self.at = end

    def _edge(self) -> int:
        """Where the screen's row ends that the cursor is in, or the line in there."""
        return min(self.at - self.at % COLUMNS + COLUMNS, max(len(self.cells), self.at))

    def _taken(self, start: int, end: int) -> list[str]:
        self._split(self.at)
        self._split(start)
        self._split(end)
        return self.cells[start:end]

    def _change(self, end: int, cells: list[str]) -> None:
        self.cells[self.at : end] = cells
        self._split(min(self.at + len(cells), len(self.cells)))

    def _blank(self, start: int, end: int) -> None:
        end = min(end, len(self.cells))
        if start < end:
            self._split(start)
            self._split(end)
            self.cells[start:end] = " " * (end - start)

    def _split(self, at: int) -> None:
        """Half of a wide letter cannot stand."""
        if 0 < at < len(self.cells) and not self.cells[at]:
            self.cells[at - 1] = self.cells[at] = " "

    def _mark(self, letter: str) -> None:
        under = min(self.at, len(self.cells)) - 1
        if under > 0 and not self.cells[under]:
            under -= 1
        if under < 0:
            self._put([letter])
        elif len(self.cells[under]) <= MARKS:
            self.cells[under] += letter

    def _tab(self) -> None:
        if self.at < len(self.cells):
            self.at = min((self.at // _TAB + 1) * _TAB, len(self.cells))
        else:
            self.cells.extend(" " * (self.at - len(self.cells)))
            self._put(["\t"])


_EDITS: dict[str, Callable[[_Row, str], None]] = {
    "@": _Row.insert,
    "C": lambda row, args: row.to(row.at + _count(args, least=1)),
    "D": lambda row, args: row.to(row.at - _count(args, least=1)),
    "G": lambda row, args: row.to(_count(args, least=1) - 1),
    "J": _Row.erase_below,
    "K": _Row.erase,
    "P": _Row.delete,
    "X": _Row.blank,
}


def _count(args: str, *, least: int = 0) -> int:
    return max(int(args) if args.isdecimal() and len(args) < 5 else 0, least)


def _width(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1

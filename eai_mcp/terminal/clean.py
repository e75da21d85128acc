"""What a terminal would show of the bytes that programs wrote, as plain text.

A line is what stands in it at its end: a carriage return or a backspace moves back, and what follows
overwrites. Moves to other lines are left out, so a progress bar over several lines shows each of its states.
A line is as wide as it is, and takes time in proportion to its bytes.
"""

import re
import unicodedata

COLUMNS = 200
MARKS = 32
"""So many marks, as accents are, may stand on one letter where a line is overwritten."""

_TAB = 8
_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[(?P<args>[0-?]*+)[ -/]*+(?P<final>[@-~]?)"  # moves, colours, erasing
    r"|[\]PX^_][^\x07\x18\x1a\x1b]*+(?:\x07|\x1b\\)?"  # titles and other strings
    r"|[ -/]++[0-~]?"  # character sets
    r"|[0-~]?)"
)
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOVES = re.compile(r"[\r\x08]|\x1b\[[0-?]*+[KCDG]")
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
    row = _Row()
    for token in _TOKEN.finditer(line):
        if text := token["text"]:
            row.write(text)
        elif token["sequence"]:
            row.obey(token["final"] or "", token["args"] or "")
        else:
            row.move(token["single"])
    return "".join(row.cells)


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

    def obey(self, final: str, args: str) -> None:
        """Erase, or move within the line. Whatever else there is changes nothing that we show."""
        count = int(args) if args.isdecimal() and len(args) < 5 else 0
        if final == "K" and count == 0:
            self._split(self.at)
            del self.cells[self.at :]
        elif final == "K" and count == 2:
            self.cells.clear()
            self.at = min(self.at, COLUMNS)
        elif final == "D":
            self.at = max(self.at - max(count, 1), 0)
        elif final in {"C", "G"}:
            to = self.at + max(count, 1) if final == "C" else max(count, 1) - 1
            self.at = min(to, max(len(self.cells), COLUMNS - 1))

    def _put(self, cells: list[str]) -> None:
        end = self.at + len(cells)
        self._split(self.at)
        self._split(end)
        self.cells[self.at : end] = cells
        self.at = end

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


def _width(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1

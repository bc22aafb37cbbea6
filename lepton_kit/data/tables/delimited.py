"""CSV and its relatives: finds out encoding, separator, quotes and header, and reads rows of fields with their lines."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, BinaryIO

from lepton_kit.data.tables.heading import Record, heading_of, titles_above
from lepton_kit.data.tables.values import is_number
from lepton_kit.errors import DataError

SEPARATORS = (",", ";", "\t", "|", "::", " ")
NAMES = {"\t": "tab", ";": "semicolon", "|": "bar", "::": "two colons", " ": "blanks", ",": "comma"}
STAND_IN = "\x1f"
"""The sign that `csv`, which takes one sign, is given for a separator of several: ASCII's unit separator."""
FEWEST_OF_SEVERAL = 3
"""Two colons stand in names of programs and addresses too, so that fewer fields say nothing."""
SAMPLE_LINES = 200
SAMPLE_BYTES = 2**20
PIECE = 2**20
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
ESCAPED = re.compile(r"\\\"[^\"\s,;|]")
"""A backslash that belongs to the quotation mark behind it, since the field goes on; as one at its end does not."""


@dataclass(frozen=True)
class Dialect:
    """How to read a file of delimited text; what is None is found out from the file."""

    separator: str | None = None
    encoding: str | None = None
    quote: str | None = None
    comment: str | None = None
    header: bool | int = True
    units: bool | None = None


@dataclass
class Delimited:
    """A file of delimited text: its column names, and its rows as often as they are asked for."""

    name: str
    open: Callable[[], BinaryIO]
    dialect: Dialect
    names: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tail: str | None = None  # the last line, once all are read
        self.doubts: list[str] = []
        self.encoding = self.dialect.encoding or self._encoding()
        sample = self._sample()
        quoted = '"' if self.dialect.quote is None else self.dialect.quote
        self.format: dict[str, Any] = {
            "quotechar": quoted or None,
            "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            "escapechar": None,
            "skipinitialspace": True,
        }
        self.start = 0
        self._understand(sample)

    def _encoding(self) -> str:
        """UTF-8 where all of the file is, else what its first bytes or its look say. Raises `DataError`."""
        with self.open() as stream:
            head = stream.read(PIECE)
            for mark, encoding in BOMS:
                if head.startswith(mark):
                    return encoding
            odd, even = head[1:4096:2].count(0), head[0:4096:2].count(0)
            if odd + even > len(head[:4096]) // 4:
                return "utf-16-le" if odd > even else "utf-16-be"
            if b"\0" in head:
                line = head[: head.index(b"\0")].count(b"\n") + 1
                raise DataError(f"{self.name}: line {line} holds a zero byte; expected a text file")
            decoder, lines, strange = codecs.getincrementaldecoder("utf-8")(), 0, b""
            piece = head
            while True:
                try:
                    decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as failure:
                    lines += piece[: failure.start].count(b"\n")
                    strange = piece[max(0, failure.start - 2000) : failure.start + 20000]
                    break
                if not piece:
                    return "utf-8"
                lines += piece.count(b"\n")
                piece = stream.read(PIECE)
        letters = sum(chr(byte).isalpha() for byte in strange if byte < 128)
        others = sum(byte >= 128 for byte in strange)
        if others > letters / 2 or any(byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) for byte in strange):
            raise DataError(
                f"{self.name}: line {lines + 1} is not UTF-8, nor hardly a Western encoding; give encoding=, such as "
                "'gb18030', 'shift_jis', 'euc_kr', 'cp1251' or 'cp1250'"
            )
        self.notes[
            f"{self.name} is not UTF-8 (line {lines + 1}): it is read as Windows-1252, the Western encoding; "
            "give encoding= for another"
        ] = 1
        return "cp1252"

    def lines(self) -> Iterator[str]:
        """The lines of the file with their ends, as `csv.reader` takes them. Raises `DataError`."""
        self.tail, line = None, ""
        try:
            with self.open() as stream, io.TextIOWrapper(stream, self.encoding, newline="") as text:
                yield next(text, "").lstrip("\ufeff")
                for line in text:
                    yield line
                self.tail = line
        except (UnicodeError, LookupError) as failure:
            raise DataError(f"{self.name}: not readable as {self.encoding} ({failure})") from None

    def _sample(self) -> list[str]:
        found, size = [], 0
        lines = self.lines()
        for line in lines:
            found.append(line)
            size += len(line)
            if len(found) >= SAMPLE_LINES or size > SAMPLE_BYTES:
                break
        lines.close()  # type: ignore[attr-defined]  # a generator
        self.tail = None
        if not any(line.strip() for line in found):
            raise DataError(f"{self.name}: an empty file; no header line")
        return found

    def _understand(self, sample: list[str]) -> None:
        """Separator, lines before the header, and the header. Raises `DataError`."""
        given = self.dialect.separator
        if sample[0].lower().startswith("sep=") and len(sample[0].strip()) == 5:  # as Excel writes it
            given, self.start = given or sample[0][4], 1
        comment = self.dialect.comment
        if comment is None and sample[self.start][:1] == "#":
            comment = "#"
        self.comment = comment
        # As programs of Unix write a quotation mark within others.
        escapes = [None, "\\"] if any('\\"' in line for line in sample) else [None]
        best: tuple[float, list[tuple[int, list[str]]]] = (-2.0, [])
        found: dict[str, Any] = {}
        for separator, escape in product([given] if given else SEPARATORS, escapes):
            self.format["escapechar"] = escape
            records = [
                (line, [one.strip() for one in fields])
                for line, fields in self._records(iter(sample), separator)
            ]
            # The last one may go on behind the sample.
            records = records[:-1] if len(sample) >= SAMPLE_LINES and len(records) > 2 else records
            # Blanks stand within dates and texts as well, so they come last.
            score = _score([len(fields) for _, fields in records], separator) - 0.2 * (separator == " ")
            score += 0.01 * (escape is not None and any(ESCAPED.search(line) for line in sample))
            if separator == " " and given is None and _is_prose([fields for _, fields in records]):
                continue
            if score > best[0]:
                best, found = (score, records), {"delimiter": separator, "escapechar": escape}
        if given is None and found["delimiter"] == "\t" and _hold_numbers([fields for _, fields in best[1]]):
            self.format |= {"delimiter": " "}  # a tab before the last of columns that blanks separate
            records = [
                (line, [one.strip() for one in fields]) for line, fields in self._records(iter(sample), " ")
            ]
            if len({len(fields) for _, fields in records}) == 1:
                best, found = (best[0], records), {**found, "delimiter": " "}
        self.format |= found
        separator, records = self.format["delimiter"], best[1]
        if not records:
            raise DataError(f"{self.name}: no header line")
        if separator != "," and given is None:
            self.notes[f"{self.name}: its columns are separated by {NAMES[separator]}"] = 1
        self._header(records, sample)

    def _header(self, records: list[Record], sample: list[str]) -> None:
        named: list[str] = self._commented(records, sample) if self.dialect.header is True else []
        found = heading_of(records, False if named else self.dialect.header, self.dialect.units, self.name)
        self.names, self.skip_to, self.units = named or found.names, found.skip_to, found.units
        self.looks_like_data = bool(found.values)
        self.doubts += found.doubts
        self.notes.update(dict.fromkeys((*found.notes, *found.doubts), 1))

    def _commented(self, records: list[Record], sample: list[str]) -> list[str]:
        """The names in a comment above numbers, as numpy.savetxt writes them; nothing for other files."""
        line, fields = records[titles_above([fields for _, fields in records])]
        marked = sample[line - 2][1:].strip() if self.comment and line > 1 else ""
        named: list[str] = next(self._reader(iter([marked]), self.format["delimiter"]), []) if marked else []
        fits = len(named) == len(fields) > 1 and all(map(is_number, fields))
        return [name.strip() for name in named] if fits else []

    def _reader(self, lines: Iterator[str], separator: str | None) -> Any:
        """`csv.reader` of lines, with a stand-in for a separator of several signs."""
        if separator is None or len(separator) == 1:
            return csv.reader(lines, **{**self.format, "delimiter": separator})
        told = (line.replace(separator, STAND_IN) for line in lines)
        return csv.reader(told, **{**self.format, "delimiter": STAND_IN})

    def _records(self, lines: Iterator[str], separator: str | None) -> Iterator[tuple[int, list[str]]]:
        """(number of the line where it begins, fields) of each row that is not empty. Raises `DataError`."""
        if self.comment or separator == " ":
            lines = (self._plain(line, separator) for line in lines)
        reader = self._reader(lines, separator)
        line = 0
        try:
            for fields in reader:
                start, line = line + 1, reader.line_num
                if not fields or start <= self.start or fields == ["\x1a"]:  # the end of a file of DOS
                    continue
                yield start, fields
                if line > start and fields[-1].endswith(("\n", "\r")) and self.tail is not None:
                    self._check_closed(start)
        except csv.Error as failure:
            raise DataError(
                f"{self.name}: line {line + 1}: {failure}; is a quotation mark left open there?"
            ) from None

    def _plain(self, line: str, separator: str | None) -> str:
        """A line without a comment, and with one kind of blank where blanks separate."""
        if self.comment and line.startswith(self.comment):
            return "\n"
        return line.strip().replace("\t", " ") + "\n" if separator == " " else line

    def _check_closed(self, line: int) -> None:
        """Raise `DataError` where the last row of the file ends within quotation marks."""
        if not (self.tail or "").rstrip().endswith(self.format["quotechar"]):
            raise DataError(
                f"{self.name}: line {line} opens a quotation mark that is never closed; close it, or give quote='' where "
                "the marks mean nothing"
            )

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, fields) of every row of data, each as long as `names`. Raises `DataError` that names the line."""
        names, width, empty, again, longer = self.names, len(self.names), 0, 0, 0
        for line, fields in self._records(self.lines(), self.format["delimiter"]):
            if line <= self.skip_to:
                continue
            if len(fields) != width:
                extra = fields[width:]
                if not any(fields):
                    empty += 1
                    continue
                if len(fields) < width or any(extra):
                    raise DataError(self._ragged(line, fields))
                longer += 1
                fields = fields[:width]
            if not fields[0] or fields[0].strip() == names[0]:
                if not any(fields):
                    empty += 1
                    continue
                if [one.strip() for one in fields] == names:
                    again += 1
                    continue
            yield line, fields
        for count, text in (
            (empty, "rows without any value are skipped"),
            (again, "rows that repeat the header are skipped"),
            (longer, "rows end with an extra separator, which is ignored"),
        ):
            if count:
                self.notes[f"{self.name}: {count} {text}"] = count

    def _ragged(self, line: int, fields: list[str]) -> str:
        text = f"{self.name}: line {line} has {len(fields)} fields; expected {len(self.names)}"
        if len(fields) == 1:
            return f"{text}: {fields[0][:40]!r}; take a note or a footer out of the file"
        if self.format["delimiter"] == "," and len(fields) > len(self.names):
            return f"{text}; is a decimal comma or a comma in a text not quoted there?"
        return text


def _hold_numbers(rows: list[list[str]]) -> bool:
    """Whether a column holds several numbers with blanks between in each row: it is several columns.

    >>> _hold_numbers([["1.5  8 3", "a b"], ["2.5  4 ?", "c"]]), _hold_numbers([["2024-01-01 10:00", "5"]])
    (True, False)
    """

    def several(cell: str) -> bool:
        parts = cell.split()
        return len(parts) > 2 and all(is_number(part) or part in ("?", "NA") for part in parts)

    return any(all(map(several, cells)) for cells in zip(*rows, strict=False))


def _is_prose(rows: list[list[str]]) -> bool:
    """Whether rows of blanks are words below one name: a column of texts, which blanks do not separate.

    >>> _is_prose([["text"], ["good", "film"], ["bad", "film"]]), _is_prose([["x"], ["r1", "5"], ["r2", "6"]])
    (True, False)
    """
    return (
        len(rows) > 1
        and len(rows[0]) == 1
        and not any(is_number(row[-1]) for row in rows[1:] if len(row) > 1)
    )


def _score(widths: list[int], separator: str | None) -> float:
    """How much rows of these widths look like a table: the share of the usual width, more for more columns."""
    if not widths:
        return -1.0
    usual, times = Counter(widths).most_common(1)[0]
    if usual < (FEWEST_OF_SEVERAL if separator in SEPARATORS and len(separator or "") > 1 else 2):
        return 0.0
    return times / len(widths) + min(usual, 50) / 1000

"""`TablePreprocessing`: the columns of a table as the training rows defined them; encodes frames, files and records."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.data.preprocessing import Encoded, Input, Preprocessing
from lepton_kit.data.tables.chunks import Chunk, Table, is_frame, of_frame
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.delimited import NAMES, Dialect
from lepton_kit.data.tables.fields import field_of
from lepton_kit.data.tables.heading import ROW_NAMES
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.values import filled
from lepton_kit.errors import DataError
from lepton_kit.specs import Section


class Reading(Section):
    """How the training file was read, so that a new file of the same dialect is read alike.

    ``separator`` is the one that was given or found; the others are what was given.
    """

    separator: str | None = None
    quote: str | None = None
    comment: str | None = None
    header: bool | int = True
    units: bool | None = None
    sheet: str | int | None = None
    query: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], separator: str | None) -> Reading:
        """From the options of a table and the separator of its file."""
        names = ("quote", "comment", "header", "units", "sheet", "query")
        return cls(separator=separator, **{name: options[name] for name in names})


class TablePreprocessing(Preprocessing):
    """Rows of a table become float32 ``(features,)``, column by column.

    Columns that the training rows had beside these are in ``others``, such as the target; they are not read.

    >>> age = Column(name="age", kind="number", mean=40.0, scale=10.0)
    >>> TablePreprocessing(columns=(age,)).encode([{"age": 50}, {"age": "thirty"}]).problems
    {1: "column 'age': 'thirty' is not a number"}
    """

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...]
    others: tuple[str, ...] = ()
    encoding: str | None = None
    reading: Reading = Reading()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features of a sample, in order."""
        return tuple(name for column in self.columns for name in column.features)

    def row_fields(self) -> tuple[Input, ...]:
        """The columns that the model reads, as fields with their ranges, choices and usual values."""
        return tuple(map(field_of, self.columns))

    def count(self, raw: Any) -> int | None:
        """How many rows a table in memory has; None for a file, which is not read for that."""
        if isinstance(raw, str | Path) or (isinstance(raw, list | tuple) and not is_frame(raw)):
            return None
        return sum(map(len, of_frame(raw).chunks())) if is_frame(raw) else None

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """Rows of a frame, a file, several files, a dictionary of columns, or a list of dictionaries.

        Rows of a frame have its index as their names, rows of a file their numbers, from 1, as errors count them.
        Raises `DataError` that names a column which is not there.
        """
        table = self.table(raw)
        notes = self._fitting(table)
        for chunk in table.chunks(rows):
            encoded = self.encode_chunk(chunk)
            yield Encoded(
                encoded.names,
                encoded.x,
                encoded.rows,
                encoded.problems,
                {**dict.fromkeys(notes, len(chunk)), **encoded.notes},
            )

    def table(self, raw: Any) -> Table:
        """Raw input as a table. Raises `DataError`."""
        if isinstance(raw, str | Path):
            raw = [raw]
        if isinstance(raw, list | tuple) and raw and all(isinstance(one, str | Path) for one in raw):
            return self._opened([Path(one).expanduser() for one in raw])
        if not is_frame(raw):
            names = ", ".join(column.name for column in self.columns[:5])
            raise DataError(
                f"input: a {type(raw).__name__}; expected a frame, a file or a list of dictionaries with the columns {names} …"
            )
        return of_frame(raw, "input", new_rows=True)

    def _opened(self, files: list[Path]) -> Table:
        """Files, read as the training file was where that finds the columns, else as they look."""
        how = self.reading

        def opened(separator: str | None, header: bool | int) -> Table:
            # Titles above the header are found anew: only "no header" holds for every file.
            dialect = Dialect(separator, self.encoding, how.quote, how.comment, header, how.units)
            return open_files(files, dialect, how.sheet, how.query, only_databases=True)

        needed = {column.name for column in self.columns if not column.flag}
        table = opened(how.separator, how.header is not False)
        if needed <= {*table.names}:
            return self._counted(table)
        if not isinstance(how.header, bool):
            own = opened(how.separator, how.header)
            if needed <= {*own.names}:
                return own
        if how.separator is not None and table.separator is not None:
            own = opened(None, how.header is not False)
            if own.separator not in (None, how.separator) and needed <= {*own.names}:
                return self._counted(own)
        return self._counted(table)

    def _counted(self, table: Table) -> Table:
        """Raise `DataError` where columns without names are not those of the training file."""
        known = [*(column.name for column in self.columns), *self.others]
        if self.reading.header or table.separator is None or len(table.names) == len(known):
            return table
        gone = set(known) - set(table.names)
        if len(table.names) > len(known) or gone - {*(self.target.name or "").split(", ")}:
            raise DataError(
                f"{table.source}: {len(table.names)} columns without a header; expected the {len(known)} of the "
                "training rows in their order, the last may be left out if it is the target"
            )
        return table

    def _fitting(self, table: Table) -> list[str]:
        """Sentences about columns that are not as in training. Raises `DataError` for one that can't be missing."""
        notes = [] if ROW_NAMES in self.others else list(table.doubts)
        usual = self.reading.separator
        if usual and table.separator not in (None, usual):
            one, two = (NAMES.get(sign, repr(sign)) for sign in (table.separator, usual))
            notes.append(f"{table.source}: separated by {one}, the training rows by {two}")
        for column in self.columns:
            if column.name in table.names:
                unit = table.units.get(column.name)
                if unit and column.unit and unit != column.unit:
                    notes.append(
                        f"column {column.name!r} is in {unit}, in the training rows in {column.unit}; its values are taken "
                        "as they stand"
                    )
                continue
            if column.flag:
                notes.append(
                    f"the column {column.name!r} is not there; taken as missing, as in some training rows"
                )
                continue
            near = difflib.get_close_matches(column.name.lower(), [name.lower() for name in table.names], n=1)
            like = [name for name in table.names if name.lower() in near]
            hint = f"; did you mean {like[0]!r}?" if like else ""
            raise DataError(
                f"{table.source}: no column {column.name!r}, which the model was trained on{hint}; it has "
                f"{', '.join(table.names[:20])}{table.hint}"
            )
        known = {column.name for column in self.columns} | set(self.others)
        new = [name for name in table.names if name not in known]
        if new:
            notes.append(f"columns that the training rows did not have are not used: {', '.join(new[:10])}")
        return notes

    def encode_chunk(self, chunk: Chunk) -> Encoded:
        """Some rows as samples. A row that can't be read has a problem and no sample."""
        count = len(chunk)
        x = np.zeros((count, len(self.feature_names)), np.float32)
        problems: dict[int, str] = {}
        notes: Counter[str] = Counter()
        place = 0
        for column in self.columns:
            cells = chunk.columns.get(column.name)
            block, found = column.encode(filled([None] * count) if cells is None else cells)
            x[:, place : place + block.shape[1]] = block
            place += block.shape[1]
            for row, why in found.problems.items():
                problems.setdefault(row, why)
            notes.update(found.notes)
        good = np.setdiff1d(np.arange(count), list(problems))
        whole = len(good) == count
        return Encoded(
            tuple(chunk.names),
            (x if whole else x[good]) if len(good) else None,
            good,
            dict(sorted(problems.items())),
            notes,
        )

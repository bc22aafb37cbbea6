"""What a text source learned from its training rows: new sentences become the token ids that they would have become."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

from lepton_kit.data.preprocessing import Encoded, Preprocessing
from lepton_kit.data.texts import subword
from lepton_kit.data.texts.reading import LINES, PLAIN, TABLES, Rows, decoded, rows_of, text_files
from lepton_kit.data.texts.tokens import Split, characters, ids, words
from lepton_kit.errors import DataError

Named = Iterator[tuple[Any, Any]]
"""(name, text) of every input; what is no text is a problem of that input."""


class TextPreprocessing(Preprocessing):
    """Texts become int32 ``(sequence_length,)``: ids of ``vocabulary``, 0 pads at the end, 1 is unknown.

    >>> plain = TextPreprocessing(vocabulary=("[padding]", "[unknown]", "a", "table"), sequence_length=3)
    >>> plain.encode(["A table"]).x.tolist()
    [[2, 3, 0]]
    """

    kind: Literal["text"] = "text"
    tokenizer: Literal["words", "characters", "subword"] = "words"
    lowercase: bool = True
    vocabulary: tuple[str, ...]
    sequence_length: PositiveInt
    subword: str | None = None
    """The JSON of the subword tokenizer."""
    column: str = "text"
    """Where the texts of a table stand."""
    header: bool | int = True
    separator: str | None = None
    """How the lines of a table are read."""
    whole_files: bool = False
    """Whether a text file is one text, as in a folder of them, or a text a line."""

    @cached_property
    def _split(self) -> Any:
        return splitter(self.tokenizer, self.lowercase, self.subword)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.vocabulary)}

    def ids(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(token ids, whether a text was cut, its unknown tokens); see `tokens.ids`."""
        return ids(texts, self._split, self._index, self.sequence_length)

    def count(self, raw: Any) -> int | None:
        """How many texts there are, where that is known before they are read."""
        if isinstance(raw, str):
            return None if _is_file(raw) else 1
        if isinstance(raw, os.PathLike) or (isinstance(raw, Sequence) and _are_paths(raw)):
            return None
        return len(raw) if hasattr(raw, "__len__") and not isinstance(raw, Mapping) else None

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """A sentence, a list of them, a column or frame, or files: tables, JSON lines, text files or a folder.

        An input without a text is a problem of its own. Raises `DataError` for a missing file or column.
        """
        source = self._texts(raw)
        while piece := list(islice(source, rows)):
            yield self._piece(piece)

    def _piece(self, piece: list[tuple[Any, Any]]) -> Encoded:
        problems = {place: why for place, (_, text) in enumerate(piece) if (why := _no_text(text))}
        where = np.array([place for place in range(len(piece)) if place not in problems], np.int64)
        names = tuple(name for name, _ in piece)
        x, cut, unknown = self.ids(piece[place][1] for place in where)
        tokens = (x > 0).sum(1)
        problems |= {int(place): "the text is empty" for place in where[tokens == 0]}
        good = tokens > 0
        notes = {
            f"cut to its first {self.sequence_length} {self.units}": cut,
            f"has {self.units} that no training text has; they count as {self.vocabulary[1]}": (unknown > 0)
            & (unknown < tokens),
            f"has no {self.units} that a training text has: the answer says nothing": good
            & (unknown == tokens),
        }
        counts = {text: int(true.sum()) for text, true in notes.items() if true.any()}
        return Encoded(names, x[good] if good.any() else None, where[good], problems, counts)

    @property
    def units(self) -> str:
        """What the tokens are called: words, characters or pieces."""
        return "pieces" if self.tokenizer == "subword" else self.tokenizer

    def _texts(self, raw: Any) -> Named:
        if isinstance(raw, str) and not _is_file(raw):
            return iter([(0, raw)])
        if isinstance(raw, str | os.PathLike):
            return self._of_path(Path(raw))
        if isinstance(raw, Mapping):
            return self._of_rows(Rows("input", {str(name): list(raw[name]) for name in raw}))
        if hasattr(raw, "columns"):  # a frame, of pandas or of another library
            names = [str(name) for name in raw.columns]
            found = self._column(names, "input")
            values = raw[raw.columns[names.index(found)]]
            return zip(_index_of(raw), values, strict=True)
        if hasattr(raw, "index") and hasattr(raw, "to_numpy"):  # a column of a frame
            return zip(_index_of(raw), raw, strict=True)
        if isinstance(raw, np.ndarray):
            if raw.ndim > 1 and raw.shape != (len(raw), 1):
                raise DataError(f"input: an array of shape {raw.shape}; expected one text a row")
            raw = [_decode(one) for one in raw.reshape(-1).tolist()]
        if not isinstance(raw, Iterable):
            raise DataError(f"input: got {type(raw).__name__}; expected sentences, a table, or text files")
        if isinstance(raw, Sequence) and _are_paths(raw):
            return (pair for one in raw for pair in self._of_path(Path(one), several=True))
        return ((place, _decode(one)) for place, one in enumerate(raw))

    def _of_path(self, path: Path, several: bool = False) -> Named:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if path.is_dir():
            files = text_files(path)
            if not files:
                raise DataError(f"{path}: no text files ({', '.join(PLAIN)})")
            return ((str(one.relative_to(path)), decoded(one)[0]) for one in files)
        if path.suffix.lower() in PLAIN and (self.whole_files or several):
            return iter([(path.name, decoded(path)[0])])
        if path.suffix.lower() in PLAIN:
            lines = decoded(path)[0].split("\n")
            return enumerate(lines[:-1] if lines[-1] == "" else lines)
        rows = self._of_rows(rows_of(path, self.header, self.separator))
        return ((f"{path.name}:{name}", text) for name, text in rows) if several else rows

    def _of_rows(self, rows: Rows) -> Named:
        return enumerate(rows.column(self._column(list(rows.columns), rows.file)))

    def _column(self, names: list[str], where: str) -> str:
        """The column of the texts: the one of training, or the only one there is."""
        if self.column in names:
            return self.column
        if len(names) == 1:
            return names[0]
        raise DataError(
            f"{where}: no column {self.column!r}, where the training texts stood; it has {', '.join(names[:30])}"
        )


def splitter(tokenizer: str, lowercase: bool, model: str | None = None) -> Split:
    """The function that cuts a text into tokens; ``model`` is the JSON of a trained subword tokenizer."""
    if tokenizer == "subword":
        return subword.loaded(model or "", lowercase)
    chosen = words if tokenizer == "words" else characters
    return lambda text: chosen(text, lowercase)


def _no_text(value: Any) -> str | None:
    """Why a value is no text."""
    if isinstance(value, str):
        return None
    missing = (
        value is None or (isinstance(value, float) and np.isnan(value)) or repr(value) in ("<NA>", "NaT")
    )
    return "there is no text" if missing else f"{type(value).__name__}; expected a text"


def _index_of(raw: Any) -> Iterable[Any]:
    return raw.index.tolist() if hasattr(getattr(raw, "index", None), "tolist") else range(len(raw))


def _decode(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_file(text: str) -> bool:
    """Whether a text names a file: one that is there, or a single word that ends as a file of texts does."""
    if len(text) > 1024 or "\n" in text or "\0" in text:
        return False
    named = Path(text).suffix.lower() in (*LINES, *TABLES, *PLAIN) and " " not in text
    try:
        return named or (os.sep in text and Path(text).exists())
    except OSError:
        return False


def _are_paths(raw: Sequence[Any]) -> bool:
    return len(raw) > 0 and all(
        isinstance(one, os.PathLike) or (isinstance(one, str) and _is_file(one)) for one in raw[:100]
    )

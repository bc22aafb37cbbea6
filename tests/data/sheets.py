"""Small files of rows and texts, and what is prepared of them: the helpers of the tests of tables and texts."""

import json
from pathlib import Path

import pandas as pd

from lepton_kit import data

COUNT = 60
"""Rows of the files that the fixture ``sheet`` writes."""
CITIES = ("Ulm", "Köln", "Bonn")
TALK = ["book a table", "cancel the table", "book two rooms please", "please cancel it"] * 10
MEANT = ["book", "cancel"] * 20


def only(path, **options):
    """Prepared data of a file with the columns a, b and y, and the column b."""
    options.setdefault("target", "y")
    prepared = data.table(path, **options).prepare()
    found = {column.name: column for column in prepared.preprocessing.columns}
    return prepared, found.get("b")


def said(prepared):
    """The notes as one text."""
    return " | ".join(prepared.notes)


def noted(text, put, **options):
    """Prepared data of a file with the target y, and its notes as one text."""
    prepared, _ = only(put(text), **options)
    return prepared, said(prepared)


def rows_of(head, of, count=COUNT):
    """The text of a file of so many rows."""
    return "\n".join([head, *(of(k) for k in range(count))]) + "\n"


def talk(path, texts=TALK, labels=MEANT, names=("text", "label"), **more):
    """Write a CSV file of texts with their labels."""
    pd.DataFrame({names[0]: texts, names[1]: labels, **more}).to_csv(path, index=False)
    return path


def json_lines(path, rows):
    """Write a file of JSON lines."""
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def written(path: Path, content):
    """Write text or bytes, in folders that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

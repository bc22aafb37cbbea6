"""What every kind of preprocessing shares: true answers as training had them, pieces joined to one, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from lepton_kit.data import preprocessing
from lepton_kit.data.preprocessing import Encoded, Preprocessing, Target
from lepton_kit.errors import DataError

CLASSES = Target(task="classification", class_names=("bad", "good"))
NUMBERED = Target(task="classification", class_names=("1", "2", "5"))
PRICE = Target(task="regression", mean=(200.0,), scale=(50.0,))
PLACE = Target(task="regression", mean=(1.0, 2.0), scale=(10.0, 20.0))


@pytest.mark.parametrize(
    ("target", "truth", "stored", "kind"),
    [
        (CLASSES, ["good", "bad", "good"], [1, 0, 1], np.int32),
        (CLASSES, [["good"], ["bad"]], [[1], [0]], np.int32),
        (CLASSES, [1, 0], [1, 0], np.int32),
        (CLASSES, [True, False], [1, 0], np.int32),
        (NUMBERED, [5, 1, 5, 2], [2, 0, 2, 1], np.int32),  # by name, where one is
        (NUMBERED, [5.0, 1.0], [2, 0], np.int32),
        (NUMBERED, ["5", "1"], [2, 0], np.int32),
        (Target(task="classification"), [3.0, 0.0], [3, 0], np.int32),
        (Target(task="multilabel"), [[1, 0], [1, 1]], [[1, 0], [1, 1]], np.float32),
        (Target(), [0.5, -1], [0.5, -1], np.float32),
        (PRICE, [200, 250.0], [0, 1], np.float32),
        (PRICE, [[300], [150]], [[2], [-1]], np.float32),
        (PLACE, [[1, 2], [11, -18]], [[0, 0], [1, -1]], np.float32),
    ],
)
def test_true_answers_are_as_training_had_them(target, truth, stored, kind):
    found = target.encoded(truth)
    assert (found.tolist(), found.dtype) == (stored, kind)
    if target.task == "regression":
        assert target.values(found).tolist() == truth


@pytest.mark.parametrize(
    ("target", "truth", "said"),
    [
        (CLASSES, ["good", "fair", "bad", "fair"], "true answer 1: fair; expected one of the classes bad, good, or their"),
        (CLASSES, [0, 1, 2], "true answer 2: 2; expected one of the classes"),
        (CLASSES, [0, -1], "true answer 1: -1; expected one of the classes"),
        (CLASSES, ["good", None], "true answer 1: None; expected"),
        (CLASSES, [0.5, 1.0], "true answer 0: 0.5; expected"),
        (NUMBERED, [1, 0], "true answer 1: 0; expected one of the classes 1, 2, 5, or their numbers"),
        (PRICE, ["1", "dear"], "true answer 1: dear; expected a number"),
        (PRICE, [1, None, "dear"], "true answer 1: None; expected a number"),
        (PLACE, [[1, 2], [3, {}]], "true answer 1: {}; expected a number"),
        (PLACE, [[1, 2], [3]], "true answers: .*; expected one answer an input, all of one form"),
        (PRICE, [1, np.nan, np.inf], "true answer 1 is nan; expected a number"),
        (PLACE, [[1, 2], [3, 4], [5, -np.inf]], r"true answer 2 is \[  5. -inf\]; expected a number"),
        (Target(task="classification"), [1, np.nan], "true answer 1 is nan"),
    ],
)  # fmt: skip
def test_the_first_answer_that_is_none_is_named(target, truth, said):
    with pytest.raises(DataError, match=said):
        target.encoded(truth)


def test_values_in_the_unit_of_the_target():
    assert Target(scale=(2.0,)).values(np.array([[3.0]])).tolist() == [[6.0]]
    assert Target(mean=(2.0,)).values(np.array([[3.0]])).tolist() == [[5.0]]
    found = Target().values(np.array([[3.0]], np.float32))
    assert (found.tolist(), found.dtype) == ([[3.0]], np.float64)


class Numbers(Preprocessing):
    """Numbers, two a piece; those below 0 can't be read, those over 9 are said."""

    kind: Literal["numbers"] = "numbers"
    several: bool = False

    def pieces(self, raw: Any, rows: int = 2) -> Iterator[Encoded]:
        for start in range(0, len(raw), rows):
            piece = np.array(raw[start : start + rows])
            good = np.flatnonzero(piece >= 0)
            x: Any = piece[good, None].astype(np.float32) if len(good) else None
            if self.several and x is not None:
                x = {"a": x, "b": -x}
            over = int((piece > 9).sum())
            problems = {int(k): f"{piece[k]} is below 0" for k in np.flatnonzero(piece < 0)}
            yield Encoded(
                tuple(f"n{one}" for one in piece), x, good, problems, {"over 9": over} if over else {}
            )


def test_pieces_are_joined_in_their_places():
    found = Numbers().encode([1, -2, -3, -4, 10, 11, 5, 12, -6])
    assert found.names == ("n1", "n-2", "n-3", "n-4", "n10", "n11", "n5", "n12", "n-6")
    assert found.rows.tolist() == [0, 4, 5, 6, 7]
    assert found.x.tolist() == [[1], [10], [11], [5], [12]]
    assert found.problems == {
        place: f"{value} is below 0" for place, value in ((1, -2), (2, -3), (3, -4), (8, -6))
    }
    assert found.notes == {"over 9": 3}
    several = Numbers(several=True).encode([1, 2, 3])
    assert {key: rows.ravel().tolist() for key, rows in several.x.items()} == {
        "a": [1, 2, 3],
        "b": [-1, -2, -3],
    }
    assert Numbers(several=True).encode([1]).x["b"].tolist() == [[-1]]
    for nothing in (Numbers().encode([]), Numbers().encode([-1])):
        assert nothing.x is None
        assert nothing.rows.tolist() == []


@pytest.mark.parametrize(
    ("raw", "count"),
    [([1, 2], 2), ((1,), 1), (np.zeros((3, 2)), 3), ("text", None), ({"a": 1}, None), (iter([1]), None)],
)
def test_inputs_are_counted_where_they_are_rows(raw, count):
    assert Numbers().count(raw) == count
    assert Numbers().row_fields() == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "here: kind None of preprocessing; this version knows arrays, images, table, text, windows"),
        ({"kind": "sound"}, "here: kind 'sound' of preprocessing"),
        ({"kind": "text"}, "here: preprocessing of version None; this lepton_kit reads version 1"),
        ({"kind": "text", "version": 2}, "here: preprocessing of version 2; this lepton_kit reads version 1"),
        ({"kind": "text", "version": 1}, "here: vocabulary: Field required"),
        (
            {
                "kind": "text",
                "version": 1,
                "vocabulary": [],
                "sequence_length": 1,
                "target": {"task": "guess"},
            },
            r"here: target\.task: Input should be",
        ),
    ],
)
def test_what_a_file_lacks_is_named(content, said):
    with pytest.raises(DataError, match=said):
        preprocessing.parse(content, "here")


def test_a_file_says_its_version_and_keeps_names_as_they_are():
    text = Numbers(target=Target(class_names=("né",))).to_json()
    assert json.loads(text)["version"] == preprocessing.VERSION
    assert '"né"' in text


def test_twenty_classes_are_told_and_no_more():
    target = Target(task="classification", class_names=tuple(f"c{k}" for k in range(30)))
    with pytest.raises(DataError, match="c18, c19, or their numbers"):
        target.encoded(["x"])


def test_a_file_that_is_none_is_named(tmp_path: Path):
    for path, content in ((tmp_path / "gone.json", None), (tmp_path / "torn.json", "{")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(DataError, match=f"{path.name}: not a readable preprocessing file"):
            preprocessing.load(path)

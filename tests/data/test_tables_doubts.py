"""What is doubtful in a table: said, or refused."""

import pandas
import pytest

from lepton_kit import data
from lepton_kit.errors import DataError


def noted(text, put, **options):
    """Prepared data of a file with the target y, and its notes as one text."""
    options.setdefault("target", "y")
    prepared = data.table(put(text), **options).prepare()
    return prepared, " | ".join(prepared.notes)


def lines(head, of, count=60):
    """A file of so many rows."""
    return "\n".join([head, *(of(k) for k in range(count))]) + "\n"


@pytest.mark.parametrize("words", [["-999"], [-999], [-999.0], ["-999.0"]])
def test_numbers_may_stand_for_missing(put, words):
    text = lines("a,y", lambda k: f"{-999 if k % 7 == 0 else k},{'pq'[k % 2]}")
    prepared, _ = noted(text, put, missing=words)
    assert prepared.feature_names == ("a", "a is missing")
    frame = pandas.DataFrame({"a": [-999, 5, 6] * 20, "y": [0, 1] * 30})
    assert len(data.table(frame, target="y", missing=words).prepare().feature_names) == 2
    assert prepared.preprocessing.encode({"a": [-999.0, 5.0]}).x[:, 1].tolist() == [1, 0]
    with pytest.raises(DataError, match="no value in the target"):
        noted(lines("a,y", lambda k: f"{k},{-999 if k == 7 else k + 0.5}"), put, missing=words)


def test_the_order_of_ambiguous_dates_is_said_for_time_too(put):
    text = lines("t,a,y", lambda k: f"{k % 12 + 1:02d}/{k % 11 + 1:02d}/2023,{k},{k % 2}")
    _, said = noted(text, put, time="t")
    assert "are read as month, day, year; day_first=True" in said


def test_two_currencies_of_a_target_are_said(put):
    _, said = noted(lines("a,y", lambda k: f"{k},{'$€'[k % 2]}{1000 + k * 37}"), put)
    assert "target 'y': values in $ and €; they are taken as they stand" in said

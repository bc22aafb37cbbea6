"""Texts in memory, and new sentences at prediction: they become the ids that they would have become in training."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.data import preprocessing
from lepton_kit.data.texts.reading import decoded
from lepton_kit.errors import DataError
from tests.data.sheets import MEANT, TALK, json_lines, talk, written


@pytest.fixture
def learned(tmp_path):
    return data.text(talk(tmp_path / "talk.csv"), validation_split=0, sequence_length=4).prepare()


def test_new_sentences_become_what_they_would_have_become_in_training(learned, tmp_path):
    kept = preprocessing.parse(json.loads(learned.preprocessing.to_json()), "here")
    assert kept == learned.preprocessing
    forms = [
        TALK,
        tuple(TALK),
        np.array(TALK),
        np.array(TALK)[:, None],
        np.array([one.encode() for one in TALK], object),
        pd.Series(TALK),
        pd.DataFrame({"label": 1, "text": TALK}),
        pd.DataFrame({"sentence": TALK}),
        {"text": TALK},
        iter(TALK),
        tmp_path / "talk.csv",
        str(tmp_path / "talk.csv"),
        written(tmp_path / "talk.txt", "\r\n".join(TALK) + "\n"),
        json_lines(tmp_path / "talk.jsonl", TALK),
    ]
    for form in forms:
        assert np.array_equal(kept.encode(form).x, learned.train.x), form
    one = kept.encode("Book a TABLE")
    assert one.x.tolist() == learned.train.x[:1].tolist()
    assert kept.encode(pd.Series(TALK[:2], index=["u", "v"])).names == ("u", "v")
    assert kept.count(TALK) == kept.count(forms[6]) == 40
    assert (kept.count("one"), kept.count(forms[10]), kept.count([forms[12]])) == (1, None, None)
    assert (kept.count({"text": TALK}), kept.count(iter(TALK))) == (None, None)
    several = kept.encode([forms[12], forms[10]])
    assert (several.names[0], several.names[1]) == ("talk.txt", "talk.csv:0")
    pieces = list(kept.pieces(TALK, rows=7))
    assert [len(piece.names) for piece in pieces] == [7] * 5 + [5]
    assert np.array_equal(np.concatenate([piece.x for piece in pieces]), learned.train.x)


def test_strange_sentences_are_named_and_kept_in_their_place(learned):
    found = learned.preprocessing.encode(
        ["book a table", None, "", "zebra lion", "book a zebra", float("nan"), 3, "a " * 99, pd.NA, " \u200b"]
    )
    assert found.rows.tolist() == [0, 3, 4, 7]
    assert found.x.shape == (4, 4)
    assert found.problems == {
        1: "there is no text",
        2: "the text is empty",
        5: "there is no text",
        6: "int; expected a text",
        8: "there is no text",
        9: "the text is empty",
    }
    assert found.notes == {
        "cut to its first 4 words": 1,
        "has words that no training text has; they count as [unknown]": 1,
        "has no words that a training text has: the answer says nothing": 1,
    }
    assert learned.preprocessing.encode([None]).x is None
    assert learned.preprocessing.encode([]).names == ()


def test_a_sentence_is_no_file_because_it_looks_a_little_like_one(learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "table", "book a table")
    for sentence in ("book a/the table", "table", "see talk.csv", "a" * 1100 + ".txt", "book\na.txt"):
        assert learned.preprocessing.encode(sentence).names == (0,)
        assert learned.preprocessing.count(sentence) == 1
    assert learned.preprocessing.encode(["talk.csv", "book a table"]).names == (0, 1)
    assert learned.preprocessing.count("./table") is None  # a path that is there


@pytest.mark.parametrize(
    ("value", "why"),
    [(pd.NaT, "there is no text"), (3.5, "float; expected a text"), (float("nan"), "there is no text")],
)
def test_what_is_no_text_is_told_apart_from_one_that_is_missing(learned, value, why):
    assert learned.preprocessing.encode(["book", value]).problems == {1: why}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            pd.DataFrame({"a": ["x"], "b": ["y"]}),
            "no column 'text', where the training texts stood; it has a, b",
        ),
        ("nowhere.csv", "no such file"),
        (Path("/nowhere/else"), "no such file"),
        (3, "got int; expected sentences"),
        (np.zeros((2, 3)), "an array of shape (2, 3)"),
    ],
)
def test_input_of_another_kind_is_refused(learned, raw, said):
    with pytest.raises(DataError) as caught:
        learned.preprocessing.encode(raw)
    assert said in str(caught.value)


def test_an_empty_folder_has_no_texts(learned, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files"):
        learned.preprocessing.encode(tmp_path / "empty")


def test_texts_in_memory_are_those_of_a_file(tmp_path):
    path = talk(tmp_path / "talk.csv")
    wanted = data.text(path).prepare()
    frame = pd.DataFrame({"text": TALK, "label": MEANT})
    for given in (frame, frame.to_dict("list"), frame.to_dict("records")):
        source = data.text(given)
        prepared = source.prepare()
        assert np.array_equal(prepared.train.x, wanted.train.x)
        assert np.array_equal(prepared.validation.y, wanted.validation.y)
        assert prepared.preprocessing == wanted.preprocessing
        assert data.Dataset.from_spec(source.store(tmp_path / "stored"), tmp_path).prepare().preprocessing
    numbers = data.text(pd.DataFrame({"text": [*TALK, None], "label": [1.0, 2.0] * 20 + [np.nan]})).prepare()
    assert numbers.class_names == ("1", "2")
    assert "left out: 1 of 41 without a text, the first at row 41" in numbers.notes
    lists = data.text(pd.DataFrame({"text": TALK, "label": [["a", "b"], []] * 20})).prepare()
    assert lists.task == "multilabel"
    with pytest.raises(DataError, match="columns of \\[1, 2\\] rows"):
        data.text({"text": ["a", "b"], "label": ["x"]})


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a.txt", "caf\xe9 \x93".encode("latin-1"), "cp1252"),
        ("b.txt", "caf\xe9 \x81".encode("latin-1"), "latin-1"),
        ("c.txt", "caf\xe9".encode("utf-8-sig"), "utf-8-sig"),
        ("d.txt", "caf\xe9".encode("utf-16"), "utf-16"),
        ("e.txt", b"", "utf-8"),
    ],
)
def test_the_encoding_of_a_file_is_found_out(tmp_path, name, content, encoding):
    text, found = decoded(written(tmp_path / name, content))
    assert found == encoding
    assert text.startswith("caf\xe9") or not content


def test_files_that_cannot_be_read_are_clean_errors(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        decoded(tmp_path)
    with pytest.raises(DataError, match="not readable JSON"):
        data.text(written(tmp_path / "deep.json", "[" * 100_000)).prepare()
    with pytest.raises(DataError, match=r"line 1 is no JSON"):
        data.text(written(tmp_path / "deep.jsonl", '{"a":' * 100_000)).prepare()

"""What can be picked for the length of a sample, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.data.describe.lengths import of_texts, of_windows


def test_lengths_of_texts_leave_known_shares_whole():
    texts = ["a"] * 10 + ["a b"] * 10 + ["a b c d"] * 19 + ["a " * 700]
    choices, meanings = of_texts(texts, {"tokenizer": "words"}, None)
    assert choices["sequence_length"] == ("auto", 2, 4, 512)
    assert meanings["sequence_length"] == {
        "auto": "auto: 4 words",
        2: "2 words: 50 % of the texts whole",
        4: "4 words: 98 % of the texts whole",
        512: "512 words: 98 % of the texts whole",
    }
    assert meanings["tokenizer"]["auto"] == "auto: words"


def test_texts_without_spaces_are_counted_in_characters():
    _, meanings = of_texts(["ACGT", "GATTACA"], {}, None)
    assert meanings["tokenizer"]["auto"] == "auto: characters"
    assert meanings["sequence_length"]["auto"] == "auto: 7 characters"


def test_texts_in_files_of_their_own_are_counted_as_they_were_prepared(tmp_path):
    for name, text in (("good", "fine film"), ("bad", "a very dull one")):
        (tmp_path / name).mkdir()
        for k in range(8):
            (tmp_path / name / f"{k}.txt").write_text(text)
    found = lk.data.describe(tmp_path)
    assert found.choices["sequence_length"] == ("auto", 2, 4)
    assert found.meanings["sequence_length"]["auto"] == "auto: 4 words"
    assert of_texts([], {"tokenizer": "subword"}, None)[0]["sequence_length"] == ("auto",)


def test_pieces_are_counted_by_the_trained_tokenizer(tmp_path):
    pytest.importorskip("tokenizers")
    lines = [f"{'book a table' if k % 2 else 'cancel the table'},{'ab'[k % 2]}" for k in range(40)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    found = lk.data.describe(tmp_path / "a.csv", tokenizer="subword", vocabulary_size=300)
    length = found.prepared.sample_shape[0]
    assert found.meanings["sequence_length"]["auto"] == f"auto: {length} pieces"
    assert found.meanings["sequence_length"][length] == f"{length} pieces: 100 % of the texts whole"


def test_windows_are_no_longer_than_the_shortest_recording(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["kind,which,t,v"]
    for kind in "ab":
        for which in range(2):
            rows = 60 + 30 * which
            lines += [f"{kind},{kind}{which},{k / 2},{rng.normal():.4f}" for k in range(rows)]
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    found = lk.data.describe(
        tmp_path / "long.csv", kind="windows", label="kind", recording="which", time="t", length=24
    )
    assert found.choices["length"] == (5, 10, 20, 24, 50, 60)
    assert found.meanings["length"][20] == "20 rows (10 by 't')"
    assert found.meanings["length"][60] == "60 rows, the shortest recording (30 by 't')"
    assert of_windows({}, None, None)[0]["length"][-1] == 1000

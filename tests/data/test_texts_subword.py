"""Texts as pieces of words: trained on the training texts, kept as JSON, refused in words."""

import json

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data import preprocessing
from lepton_kit.data.texts.preprocessing import TextPreprocessing
from lepton_kit.errors import DataError
from tests.data.sheets import talk


def test_pieces_of_words_are_trained_kept_as_json_and_have_no_unknowns(tmp_path):
    pytest.importorskip("tokenizers")
    texts = ["unbelievable tables", "believe in 我喜欢", "[padding] tables", "unbelievable!"] * 10
    path = talk(tmp_path / "a.csv", texts)
    prepared = data.text(
        path, tokenizer="subword", vocabulary_size=300, sequence_length=40, validation_split=0
    ).prepare()
    kept = preprocessing.parse(json.loads(prepared.preprocessing.to_json()), "here")
    assert isinstance(kept, TextPreprocessing)
    assert np.array_equal(kept.encode(texts).x, prepared.train.x)
    assert prepared.vocabulary[:2] == ("[padding]", "[unknown]")
    assert 258 < len(prepared.vocabulary) <= 300
    assert (prepared.train.x[:, 0] > 1).all()
    strange = kept.encode(["żółw 👍"])
    assert not strange.notes
    assert (strange.x != 1).all()
    again = data.text(path, tokenizer="subword", vocabulary_size=300, sequence_length=40, validation_split=0)
    assert again.prepare(cache=tmp_path / "other").preprocessing == prepared.preprocessing


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install lepton-kit\[text\]"):
        data.text(talk(tmp_path / "a.csv"), tokenizer="subword").prepare()


def test_a_broken_subword_model_is_a_clean_error():
    pytest.importorskip("tokenizers")
    broken = TextPreprocessing(
        vocabulary=("[padding]", "[unknown]"), sequence_length=2, tokenizer="subword", subword="{"
    )
    with pytest.raises(DataError, match="subword tokenizer can't be read"):
        broken.encode(["a"])

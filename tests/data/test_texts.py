"""Texts: every layout and encoding people bring, what is said about losses, and new sentences at prediction."""

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data.texts.tokens import _patterns, auto_length, characters, choose, ids, normal, words
from lepton_kit.errors import ConfigError, DataError
from tests.data.sheets import MEANT, TALK, json_lines, talk, written


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("我喜欢iPhone", ["我", "喜", "欢", "iphone"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("שָׁלוֹם \u200fעולם", ["שָׁלוֹם", "עולם"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("Don\u2019t rock'n'roll 'it'", ["don't", "rock'n'roll", "'", "it", "'"]),
        ("3.14 and 1,000.", ["3.14", "and", "1,000", "."]),
        ("good.Bad", ["good", ".", "bad"]),
        ("👨\u200d👩\u200d👧👍🏽🇩🇪", ["👨\u200d👩\u200d👧", "👍🏽", "🇩🇪"]),
        ("exam\u00adple\ufeff", ["example"]),
        ("a\0b \u200b", ["a", "b"]),
        ("\ud83d!", ["\ufffd", "!"]),
        ("İstanbul", ["i̇stanbul"]),
        (" \t\n\u3000", []),
    ],
)
def test_words_by_the_rules_of_unicode(text, tokens):
    assert words(text) == [unicodedata.normalize("NFC", one) for one in tokens]


def test_two_ways_of_writing_one_character_are_one_word():
    assert words("cafe\u0301") == words("café")
    assert words("A b", lowercase=False) == ["A", "b"]
    assert characters("Cafe\u0301 \n x") == ["c", "a", "f", "é", " ", "x"]


@given(st.text())
def test_tokens_are_neither_empty_nor_invisible_and_lose_no_letter(text):
    found = words(text)
    assert all(token and not token.isspace() for token in found)
    visible = [one for one in normal(text) if unicodedata.category(one)[0] in "LN"]
    assert [one for one in "".join(found) if unicodedata.category(one)[0] in "LN"] == visible
    "".join(found).encode("utf-8")
    assert all(characters(text))


@settings(max_examples=300)
@given(st.text(st.characters(max_codepoint=127) | st.sampled_from("a1.,'_ \t\n")))
def test_the_short_way_for_plain_english_is_the_same(text):
    rules = _patterns()
    assert words(text) == rules[0].findall(text.lower())
    assert characters(text) == [
        " " if one.isspace() else one for one in rules[1].findall(text.lower().strip())
    ]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), max_size=5), st.integers(1, 6))
def test_ids_say_what_is_cut_and_unknown(texts, length):
    found, cut, unknown = ids(texts, words, {"a": 2, "b": 3}, length)
    assert found.shape == (len(texts), length)
    for row, text in enumerate(texts):
        kept = words(text)[:length]
        assert np.count_nonzero(found[row]) == len(kept)
        assert unknown[row] == sum(one in "cd" for one in kept)
        assert cut[row] == (len(words(text)) > length)


def test_the_automatic_length_fits_95_of_100_texts():
    assert auto_length(list(range(1, 101))) == 95
    assert auto_length([]) == auto_length([0]) == 1
    assert auto_length([10**6]) == 512


def test_characters_are_chosen_where_there_are_no_spaces(tmp_path):
    prepared = data.text(talk(tmp_path / "a.csv", ["ACGT", "GATTACA"] * 20)).prepare()
    assert prepared.preprocessing.tokenizer == "characters"
    assert prepared.vocabulary[2:] == ("a", "t", "c", "g")
    assert "tokens are characters, since 0 of 32 texts have a space" in prepared.notes
    assert choose(["一 二", *["一二三"] * 30])[0] == "characters"
    assert choose(["a b", *["abc"] * 15])[0] == choose(["a b", *["abc"] * 19])[0] == "words"
    assert choose(["a b", *["abc"] * 20])[0] == "characters"


def test_columns_are_found_by_their_names_and_that_is_said(tmp_path):
    prepared = data.text(talk(tmp_path / "a.csv", names=("Review", "Sentiment"), id=range(40))).prepare()
    assert prepared.class_names == ("book", "cancel")
    assert "texts are column 'Review', labels 'Sentiment'; not read: 'id'" in prepared.notes
    named = data.text(
        talk(tmp_path / "b.csv", names=("q", "z")), text="q", label="z", tokenizer="words"
    ).prepare()
    assert named.preprocessing.column == "q"
    assert named.notes == (
        "tokens are words",
        "sequence_length 4: 95% of the training texts are no longer",
    )


def test_what_is_cut_and_unknown_is_said(tmp_path):
    texts = ["a b c d e f"] * 30 + ["a b"] * 10
    held = ["train"] * 30 + ["val"] * 10
    texts[-1] = "zebra zebra a b"
    path = talk(tmp_path / "a.csv", texts, split=held)
    prepared = data.text(path, split="split", sequence_length=3, vocabulary_size=5).prepare()
    notes = "\n".join(prepared.notes)
    assert (
        "cut: 30 of 30 training texts to their first 3 words (the longest has 6), which loses 50.0% of all words"
        in notes
    )
    assert "cut: 1 of 10 held-out texts" in notes
    assert "the 3 most frequent of 6 words are told apart" in notes
    assert "9.5% of the words of held-out texts are unknown" in notes
    assert notes in prepared.summary()
    alone = ["x"] * 8 + ["y"] * 2
    prepared = data.text(
        talk(tmp_path / "b.csv", alone, MEANT[:10], split=["train"] * 8 + ["test"] * 2), split="split"
    ).prepare()
    assert "2 of 2 held-out texts have no characters that are known" in prepared.notes


def test_test_rows_are_left_alone_beside_validation_rows(tmp_path):
    split = ["train"] * 20 + ["Val"] * 8 + ["test"] * 12
    prepared = data.text(talk(tmp_path / "a.csv", split=split), split="split").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (20, 8)
    assert "12 test rows are left alone: there are validation rows" in prepared.notes
    only_test = data.text(talk(tmp_path / "b.csv", split=["train", "TEST"] * 20), split="split")
    with pytest.raises(DataError, match="the label 'cancel', which no training row has"):
        only_test.prepare()


def test_rows_without_text_or_label_are_left_out_and_that_is_said(tmp_path):
    path = json_lines(
        tmp_path / "a.jsonl",
        [{"text": t, "label": y} for t, y in zip(TALK, MEANT, strict=True)]
        + [{"text": "  ", "label": "book"}, {"label": "book"}, {"text": None, "label": "x"}]
        + [{"text": "no label here"}, {"text": "none", "label": ""}],
    )
    prepared = data.text(path).prepare()
    assert len(prepared.train) + len(prepared.validation) == 40
    assert prepared.class_names == ("book", "cancel")
    assert "left out: 3 of 45 without a text, the first at row 41" in prepared.notes
    assert "left out: 2 of 42 without a label, the first at row 41" not in prepared.notes
    assert "left out: 2 of 42 without a label, the first at row 44" in prepared.notes


def test_several_labels_by_a_separator_a_list_or_columns(tmp_path):
    several = data.text(
        talk(tmp_path / "a.csv", labels=["a|b", " b | b", "c", ""] * 10), label_separator="|"
    ).prepare()
    assert (several.task, several.class_names) == ("multilabel", ("a", "b", "c"))
    assert several.train.y.dtype == np.float32
    whole = np.concatenate([several.train.y, several.validation.y])
    assert whole.sum(0).tolist() == [10, 20, 10]
    assert "several labels a text: 1 on average, 10 texts have none" in several.notes
    assert several.preprocessing.target.task == "multilabel"
    rows = [
        {"text": t, "labels": y} for t, y in zip(TALK, [["a", "b"], [], [None], ["b", "b"]] * 10, strict=True)
    ]
    from_list = data.text(json_lines(tmp_path / "b.jsonl", rows), validation_split=0).prepare()
    assert from_list.train.y[:4].tolist() == [[1, 1], [0, 0], [0, 0], [0, 1]]
    flags = talk(
        tmp_path / "c.csv", names=("comment", "id"), rude=[0, 1] * 20, spam=[1, 0] * 20, calm=[0] * 40
    )
    columns = data.text(flags, label=["rude", "spam", "calm"], validation_split=0).prepare()
    assert columns.class_names == ("rude", "spam", "calm")
    assert columns.train.y[:2].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_json_of_one_list_and_texts_with_line_separators(tmp_path):
    rows = [{"text": f"{t}\u2028more", "label": i % 2 == 0, "extra": {"a": 1}} for i, t in enumerate(TALK)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    prepared = data.text(path).prepare()
    assert prepared.class_names == ("0", "1")
    flat = tmp_path / "b.jsonl"
    flat.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert np.array_equal(data.text(flat).prepare().train.x, prepared.train.x)


@pytest.fixture
def reviews(tmp_path):
    """A folder as the IMDb reviews are."""
    for split, count in (("train", 6), ("test", 3)):
        for name in ("pos", "neg"):
            for i in range(count):
                file = tmp_path / "reviews" / split / name / f"{i}_7.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"a {name} review {i}", encoding="utf-8")
    (tmp_path / "reviews/train/unsup").mkdir()
    (tmp_path / "reviews/train/unsup/0_0.txt").write_text("unknown")
    (tmp_path / "reviews/train/pos/.DS_Store").write_bytes(b"\0\1")
    (tmp_path / "reviews/train/pos/._0_7.txt").write_bytes(b"\0\5\x16\7")
    (tmp_path / "reviews/imdb.vocab").write_text("the\n")
    return tmp_path / "reviews"


def test_class_folders_of_text_files(reviews):
    (reviews / "train/pos/win.txt").write_bytes("caf\xe9 \x93pos\x94".encode("latin-1"))
    (reviews / "train/pos/note.txt").write_bytes("a pos one".encode("utf-16"))
    prepared = data.text(reviews).prepare()
    assert prepared.class_names == ("neg", "pos")
    assert (len(prepared.train), len(prepared.validation)) == (14, 6)
    assert {"café", "“", "”"} <= set(prepared.vocabulary)
    assert "1 of 20 files are no UTF-8 and were read as cp1252, such as train/pos/win.txt" in prepared.notes
    assert "the folder train/unsup is left out: its texts have no label" in prepared.notes
    plain = data.text(reviews / "train").prepare()
    assert plain.class_names == ("neg", "pos")
    found = prepared.preprocessing.encode(reviews / "test")
    assert found.names[0] == "neg/0_7.txt"
    assert np.array_equal(found.x, prepared.validation.x)


def test_a_folder_with_a_table_a_split(tmp_path):
    talk(tmp_path / "train.csv")
    talk(tmp_path / "test.csv", TALK[:4], MEANT[:4])
    prepared = data.text(tmp_path).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (40, 4)
    talk(tmp_path / "dev.csv", TALK[:6], MEANT[:6])
    prepared = data.text(tmp_path).prepare()
    assert len(prepared.validation) == 6
    assert "test.csv (test): left alone, as dev.csv is held out" in prepared.notes


def test_short_texts_without_a_header_as_public_sets_have_them(tmp_path):
    lines = [f'{"spam" if i % 3 else "ham"}\tcall "now {i}' for i in range(30)]
    prepared = data.text(written(tmp_path / "SMSSpamCollection", "\n".join(lines))).prepare()
    assert prepared.class_names == ("ham", "spam")
    assert len(prepared.train) + len(prepared.validation) == 30
    assert '"' in prepared.vocabulary
    assert "no header line: labels are column_1, texts column_2" in prepared.notes
    named = ["label\ttext", *lines]
    assert (
        len(data.text(written(tmp_path / "a.tsv", "\n".join(named).replace('"', ""))).prepare().train) == 24
    )
    fast = [f"__label__{'a' if i % 2 else 'b'} some, text {i}" for i in range(30)]
    prepared = data.text(written(tmp_path / "fast.txt", "\n".join(fast))).prepare()
    assert prepared.class_names == ("a", "b")
    assert "," in prepared.vocabulary
    fast[0] = "__label__a __label__b both"
    assert data.text(written(tmp_path / "two.txt", "\n".join(fast))).prepare().task == "multilabel"


def test_tables_are_read_as_tables_are_elsewhere(tmp_path):
    rows = "".join(f"{i % 2};caf\xe9 au lait {i}\n" for i in range(30))
    path = written(tmp_path / "a.csv", rows.encode("cp1252"))
    prepared = data.text(path, header=False, text="column_2", label="column_1").prepare()
    assert "café" in prepared.vocabulary
    assert prepared.preprocessing.encode(path).x.shape[0] == 30
    west = data.text(path, header=False, text="column_2", label="column_1", encoding="cp1250", separator=";")
    assert "café" in west.prepare().vocabulary
    frame = pd.DataFrame({"text": TALK, "label": MEANT})
    frame.to_csv(tmp_path / "train.csv.gz", index=False)
    frame[:6].to_csv(tmp_path / "val.csv.gz", index=False)
    (tmp_path / "a.csv").unlink()
    prepared = data.text(tmp_path).prepare()
    assert len(prepared.validation) == 6
    words_of = data.text(talk(tmp_path / "na.csv", ["NA", "None", "nan", "n/a"] * 10)).prepare()
    assert len(words_of.train) + len(words_of.validation) == 40


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({"a.csv": "text,intent\n,x\n,y\n"}, {}, "no row has a text"),
        ({"a.csv": "text,intent\na,\nb,\n"}, {}, "no row has a label"),
        ({"a.csv": "text,intent,split\na,x,train\nb,y,later\n"}, {"split": "split"}, "row 2 has 'later'"),
        (
            {"a.csv": "text,intent,split\na,x,test\nb,y,test\n"},
            {"split": "split"},
            "no row is marked as train",
        ),
        ({"a.csv": "text,intent\na,x\nb,x\n"}, {}, "one class only (x)"),
        (
            {"a.csv": "words,intent\na,x\n"},
            {},
            "which column holds the texts? It has words, intent; give text=",
        ),
        ({"a.csv": "text,kind\na,x\n"}, {}, "which column holds the labels?"),
        ({"a.csv": "text,label\na,x\n"}, {"text": "t"}, "no column 't'; it has text, label"),
        ({"a.csv": "text,label\na,x\n"}, {"split": "part"}, "no column 'part'"),
        (
            {"a.csv": "text,b,c\na,2,0\n"},
            {"label": ["b", "c"]},
            "row 1 has '2' in column 'b'; expected 0 or 1",
        ),
        ({"a.jsonl": '{"text": "a"\n'}, {}, "a.jsonl: line 1 is no JSON"),
        ({"a.jsonl": "[1, 2"}, {}, "not readable JSON"),
        ({"a.jsonl": "3\n"}, {}, "line 1 is of type int; expected an object"),
        ({"a.jsonl": "\n\n"}, {}, "no rows"),
        ({"a.jsonl": '{"text": 3, "label": "x"}'}, {}, "row 1 has 3 in column 'text'"),
        ({"a.jsonl": b'{"text": "\xff\0"}'}, {}, "zero bytes, so it is no text file"),
        ({"a.jsonl": b"\xff\xfea"}, {}, "not readable as utf-16"),
        ({"d/x.csv": "a\n", "d/z.csv": "a\n"}, {}, "x.csv beside z.csv; expected one file a split"),
        ({"d/test.csv": "text,label\na,x\n"}, {}, "no train file; it has test.csv"),
        ({"d/train/a/1.txt": "x", "d/extra/a/1.txt": "y"}, {}, "the folder 'extra' stands beside train"),
        ({"d/a/1.doc": "x"}, {}, "no texts; expected class folders of .txt files"),
    ],
)
def test_errors_name_file_and_row(tmp_path, files, options, said):
    for name, content in files.items():
        path = written(tmp_path / name, content)
    if "d" in path.relative_to(tmp_path).parts:
        path = tmp_path / "d"
    with pytest.raises(DataError) as caught:
        data.text(path, **options).prepare()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"vocabulary_size": 2}, "data.vocabulary_size"),
        ({"vocabulary_size": 200, "tokenizer": "subword"}, "data.vocabulary_size"),
        ({"sequence_length": 0}, "data.sequence_length"),
        ({"sequence_length": "long"}, "data.sequence_length"),
        ({"tokenizer": "word"}, "data.tokenizer"),
        ({"label_separator": ""}, "data.label_separator"),
        ({"label": ["a"]}, "data.label"),
        ({"separator": "--"}, "data.separator"),
        ({"text": ""}, "data.text"),
    ],
)
def test_setting_errors(options, field):
    with pytest.raises(ConfigError) as caught:
        data.text("x.csv", **options)
    assert caught.value.field == field


def test_class_folders_in_a_folder_and_beside_loose_files(tmp_path):
    for split in ("train", "test"):
        for kind in ("pos", "neg"):
            place = tmp_path / "set" / "aclImdb" / split / kind
            place.mkdir(parents=True)
            for k in range(4):
                (place / f"{k}.txt").write_text(f"a film of the {kind} kind {k}")
        (tmp_path / "set" / "aclImdb" / split / "urls.txt").write_text("x")
    (tmp_path / "set" / "aclImdb" / "imdbEr.txt").write_text("x")
    for folder in (tmp_path / "set", tmp_path / "set" / "aclImdb"):
        found = data.text(folder).prepare()
        assert (found.class_names, len(found.train), len(found.validation)) == (("neg", "pos"), 8, 8)
        told = "3 text files lie in no class folder and are left out: imdbEr.txt, urls.txt, urls.txt"
        assert told in found.notes
        assert data.read(folder) == data.text(folder)

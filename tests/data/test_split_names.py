"""Files that their names hold out, for tables; Parquet's tests have their own."""

import pytest

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.data.split_names import (
    by_names,
    lies_in_split,
    split_of,
    split_of_cell,
    split_of_file,
    split_of_word,
    told_to_predict,
)
from lepton_kit.errors import DataError


def filled(folder, **files):
    """Each file with so many rows of a, which differ between files, and y."""
    folder.mkdir()
    for number, (name, (rows, head)) in enumerate(files.items()):
        cells = [f"{1000 * number + k},{'pq'[k % 2]}"[: None if "y" in head else -2] for k in range(rows)]
        (folder / f"{name}.csv").write_text("\n".join([head, *cells]) + "\n")
    return folder


def test_files_are_split_by_their_names(tmp_path):
    both = "a,y"
    for number, (one, two) in enumerate(
        (("train", "test"), ("mnist_train", "mnist_test"), ("X_training-set", "dev"))
    ):
        folder = filled(tmp_path / str(number), **{one: (40, both), two: (20, both)})
        for given in (folder, str(folder / "*.csv"), sorted(folder.iterdir())):
            prepared = data.table(given, target="y").prepare()
            assert (len(prepared.train), len(prepared.validation)) == (40, 20)
            assert (
                f"by the names of the files {one}.csv is trained on, {two}.csv is held out" in prepared.notes
            )
    folder = filled(tmp_path / "three", train=(40, both), val=(10, both), test=(20, both))
    prepared = data.table(folder, target="y").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (40, 10)
    assert "test.csv (test): left alone, as val.csv is held out" in prepared.notes


def test_a_test_file_without_the_target_is_left_alone(tmp_path):
    prepared = data.table(filled(tmp_path / "k", train=(40, "a,y"), test=(20, "a")), target="y").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (32, 8)
    assert told_to_predict(["test.csv"], ["train.csv"], ["y"]) in prepared.notes


def test_what_else_is_held_out_leaves_named_files_alone(tmp_path):
    folder = filled(tmp_path / "k", train=(40, "a,y"), test=(20, "a,y"))
    prepared = data.table(folder, target="y", validation=str(folder / "test.csv")).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (40, 20)
    assert any("left alone" in note for note in prepared.notes)


def test_files_of_one_kind_are_one_table_and_strangers_are_refused():
    assert by_names(["2021.csv", "2022.csv"]).held == []
    assert by_names(["test_1.csv", "test_2.csv"]).train == ["test_1.csv", "test_2.csv"]
    with pytest.raises(DataError, match=r"other\.csv: neither a file to train on"):
        by_names(["train.csv", "other.csv"])
    with pytest.raises(DataError, match="none to train on"):
        by_names(["val.csv", "test.csv"])
    assert split_of_file("a/test/train_1.csv") == "test"


TRAIN, VALIDATION, TEST = "train", "validation", "test"


@pytest.mark.parametrize(
    ("name", "word", "cell", "folder", "file"),
    [
        ("train", TRAIN, TRAIN, TRAIN, TRAIN),
        ("Training", TRAIN, TRAIN, TRAIN, TRAIN),
        ("val", VALIDATION, VALIDATION, VALIDATION, VALIDATION),
        ("dev", VALIDATION, VALIDATION, VALIDATION, VALIDATION),
        ("TEST", TEST, TEST, TEST, TEST),
        ("holdout", TEST, TEST, TEST, TEST),
        ("tr", None, TRAIN, TRAIN, None),
        ("ts", None, None, TEST, None),
        ("fit", None, TRAIN, None, None),
        ("prediction", None, None, TEST, None),
        ("seg_train", None, None, TRAIN, TRAIN),
        ("train2017", None, None, TRAIN, TRAIN),
        ("test_images", None, None, TEST, TEST),
        ("mnist_test", None, None, None, TEST),
        ("contest", None, None, None, None),
        ("train_test", None, None, None, None),
        ("cats", None, None, None, None),
        ("0", None, None, None, None),
        ("", None, None, None, None),
    ],
)
def test_what_a_name_spells_as_a_word_a_cell_a_folder_and_a_file(name, word, cell, folder, file):
    assert (split_of_word(name), split_of_cell(name), split_of(name), split_of_file(f"{name}.csv")) == (
        word,
        cell,
        folder,
        file,
    )


@pytest.mark.parametrize(
    ("names", "train", "held", "said"),
    [
        (["a.csv", "b.csv"], ["a.csv", "b.csv"], [], []),
        (["train.csv"], ["train.csv"], [], []),
        (["train.csv", "test.csv"], ["train.csv"], ["test.csv"], []),
        (["train/0.csv", "val/0.csv", "test/0.csv"], ["train/0.csv"], ["val/0.csv"], ["test/0.csv (test)"]),
        (["adult.data", "adult.test"], ["adult.data"], ["adult.test"], []),
        (["houses.csv", "houses_test.csv"], ["houses.csv"], ["houses_test.csv"], []),
        (
            ["train.csv", "test.csv", "sampleSubmission.csv"],
            ["train.csv"],
            ["test.csv"],
            ["sampleSubmission.csv"],
        ),
        (["rows.csv", "sample_submission.csv"], ["rows.csv"], [], ["sample_submission.csv"]),
        (["submission.csv"], ["submission.csv"], [], []),
    ],
)
def test_files_by_their_names(names, train, held, said):
    found = by_names(names)
    assert (found.train, found.held) == (train, held)
    assert len(found.notes) == len(said)
    assert all(part in note for part, note in zip(said, found.notes, strict=True))


def test_a_class_folder_below_a_split_is_no_part_of_it():
    assert lies_in_split("data/train-00000-of-00001.parquet")
    assert lies_in_split("set/train/0.csv")
    assert not lies_in_split("train/walk/0.csv")


def test_a_pair_of_texts_is_trained_on_the_file_with_labels(tmp_path):
    folder = tmp_path / "tweets"
    folder.mkdir()
    words = [f"word {k} in a short tweet,{k % 2}" for k in range(60)]
    (folder / "train.csv").write_text("\n".join(["text,target", *words]) + "\n")
    (folder / "test.csv").write_text("\n".join(["text", *(one[:-2] for one in words[:20])]) + "\n")
    (folder / "sample_submission.csv").write_text("id,target\n0,0\n")
    found = lk.data.describe(folder)
    assert (found.verb, found.failure, sum(found.classes.values()), sum(found.held_out.values())) == (
        "text",
        None,
        48,
        12,
    )
    assert told_to_predict(["test.csv"], ["train.csv"], ["target"]) in found.left_out
    assert any("sample_submission.csv: shows how answers" in one for one in found.left_out)


def test_nested_files_to_predict_are_no_validation(tmp_path):
    folder = filled(tmp_path / "k", train=(40, "a,y"), test=(20, "a"))
    for name in ("train", "test"):
        (folder / name).mkdir()
        (folder / f"{name}.csv").rename(folder / name / "0.csv")
    found = lk.data.describe(folder)
    assert (found.failure, sum(found.classes.values()), sum(found.held_out.values())) == (None, 32, 8)
    assert told_to_predict(["test/0.csv"], ["train/0.csv"], ["y"]) in found.left_out

"""Files that their names hold out, for tables; Parquet's tests have their own."""

import pytest

from lepton_kit import data
from lepton_kit.data.split_names import by_names, split_of_file, told_to_predict
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

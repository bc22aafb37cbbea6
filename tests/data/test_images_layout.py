"""Splits and classes from the names of folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data.images.layout import by_folder, hidden
from lepton_kit.data.split_names import split_of
from lepton_kit.errors import DataError


def names(*folders, count=2):
    return [f"{folder}/{i}.png" for folder in folders for i in range(count)]


def classes(layout, split="train"):
    return sorted({label for _, label in layout.splits[split]})


@pytest.mark.parametrize(
    ("split", "spelled"),
    [
        (
            "train",
            "train Train TRAIN training Training training_set trainset seg_train train_images train2017 Train-Data",
        ),
        (
            "validation",
            "val valid Validation validation_set dev eval evaluation valid_set seg_val val2017 Dev",
        ),
        ("test", "test Testing test_set seg_test testset seg_pred test2017 holdout"),
        (None, "cat trains test_cat positive 2017 set images data dataset traindog valentine x"),
    ],
)
def test_spellings_of_splits(split, spelled):
    assert {split_of(name) for name in spelled.split()} == {split}


@pytest.mark.parametrize(
    ("train", "held"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train", "dev"),
    ],
)
def test_a_train_folder_beside_one_held_out(train, held):
    layout = by_folder(names(f"{train}/a", f"{train}/b", f"{held}/a", f"{held}/b"))
    assert classes(layout) == ["a", "b"]
    assert len(layout.splits["train"]) == len(layout.splits["validation"]) == 4


def test_test_images_are_left_alone_beside_validation_images():
    layout = by_folder(names("train/a", "val/a", "test/a"))
    assert set(layout.splits) == {"train", "validation"}
    assert layout.splits["validation"][0][0].startswith("val/")
    assert layout.notes == ["2 test images are left alone"]


def test_one_folder_is_a_class_and_one_around_it_is_not():
    assert classes(by_folder(names("only"))) == ["only"]


def test_a_test_folder_without_classes_is_left_out():
    layout = by_folder(names("train/a", "train/b", "val/a", "test"))
    assert layout.notes == ["test: 2 images without a class are left out"]


def test_an_unknown_folder_beside_splits_is_asked_about():
    images = names("train/a", "train/b", "val/a", "extra/a")
    with pytest.raises(
        DataError, match=r"'extra', which may be a split or a class; say what it is: splits=.*'ignore'"
    ):
        by_folder(images)
    assert len(by_folder(images, {"extra": "train"}).splits["train"]) == 6
    layout = by_folder(images, {"extra": "ignore"})
    assert len(layout.splits["train"]) == 4
    assert layout.notes == ["left out as asked: extra"]
    assert classes(by_folder(images, "none")) == ["extra", "train", "val"]
    with pytest.raises(DataError, match="splits names the folder 'nope'"):
        by_folder(images, {"nope": "train"})
    with pytest.raises(DataError, match="ignores every folder"):
        by_folder(names("a", "b"), {"a": "ignore", "b": "ignore"})
    with pytest.raises(DataError, match="'more'"):
        by_folder([*images, *names("more/a")], {"extra": "train"})


def test_folders_without_a_train_folder():
    with pytest.raises(DataError, match="no train folder; say what each is"):
        by_folder(names("val/a", "test/a"))
    assert classes(by_folder(names("val/a", "test/a"), {"val": "train"})) == ["a"]
    assert classes(by_folder(names("valid", "invalid"))) == ["invalid", "valid"]
    assert classes(by_folder(names("test", "control"))) == ["control", "test"]


def test_ignoring_one_of_the_class_folders():
    layout = by_folder(names("a", "b", "junk"), {"junk": "ignore"})
    assert classes(layout) == ["a", "b"]


def test_splits_inside_the_classes():
    layout = by_folder(names("a/train", "a/val", "b/train", "b/val"))
    assert classes(layout) == classes(layout, "validation") == ["a", "b"]


def test_a_copy_of_the_set_inside_itself_is_asked_about():
    images = names("yes", "no", "brain_tumor/yes", "brain_tumor/no")
    with pytest.raises(DataError, match="'brain_tumor' holds no, yes, which also lie beside it"):
        by_folder(images)
    assert classes(by_folder(images, {"brain_tumor": "ignore"})) == ["no", "yes"]


def test_deeper_folders_belong_to_their_class():
    layout = by_folder(names("a/1", "a/2", "b/3"))
    assert classes(layout) == ["a", "b"]
    assert layout.notes == ["images in deeper folders count as their class: a, b"]


def test_images_in_no_class_folder():
    with pytest.raises(DataError, match=r"all others lie in no class folder; .*labels='FILE.csv'"):
        by_folder(["1.png", "2.png"])
    with pytest.raises(DataError, match=r"x\.png: lies in no class folder"):
        by_folder([*names("a", "b"), "x.png"])
    with pytest.raises(DataError, match=r"val/9\.png: lies in no class folder; expected val/CLASS/image"):
        by_folder([*names("train/a", "val/a"), "val/9.png"])


def test_images_in_no_class_folder_are_left_out_when_asked():
    layout = by_folder(["collage.png", *names("train/a", "train/b", "val/a")], skip=True)
    assert len(layout.splits["train"]) == 4
    assert layout.notes == ["1 images lie in no class folder, such as collage.png; left out"]


def test_accents_are_one_class_however_they_are_written():
    assert classes(by_folder(["cafe\u0301/1.png", "caf\u00e9/2.png", "b/3.png"])) == ["b", "caf\u00e9"]


def test_files_that_systems_leave_behind():
    left = [
        ".DS_Store",
        "a/Thumbs.db",
        "__MACOSX/a/1.png",
        "a/._1.png",
        "a/desktop.ini",
        ".ipynb_checkpoints/1.png",
    ]
    assert all(map(hidden, left))
    assert not hidden("a/1.png")


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
    st.sampled_from(["train", "Training", "x/y/train"]),
)
def test_no_image_is_lost_or_doubled(labels, train):
    images = sorted({f"{train}/{label}/{i}.png" for i, label in enumerate(labels)})
    layout = by_folder(images)
    assert sorted(name for rows in layout.splits.values() for name, _ in rows) == images
    assert all(name.split("/")[-2] == label for name, label in layout.splits["train"])


@pytest.mark.parametrize(
    "folders",
    [("train", "test"), ("train_images", "test_images"), ("images/train", "images/val"), ("val", "test")],
)
def test_splits_without_class_folders_are_no_classes(folders):
    names = [f"{folder}/{i}.png" for folder in folders for i in range(3)]
    with pytest.raises(
        DataError, match=r"are splits by their names, and hold no class folders; .* labels='FILE.csv'"
    ):
        by_folder(names)
    with pytest.raises(DataError, match=r"labels='train.csv', .* \(there is train.csv\)"):
        by_folder(names, tables=["train.csv"])
    assert len({label for _, label in by_folder(names, "none").splits["train"]}) == 2


def test_a_class_may_be_called_train_or_valid():
    for folders in (("train", "plane"), ("valid", "invalid"), ("test", "control")):
        found = by_folder([f"{folder}/{i}.png" for folder in folders for i in range(3)])
        assert {label for _, label in found.splits["train"]} == set(folders)

"""Labels by one set of rules: in memory and in files, mapped, named, and said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data import labels
from lepton_kit.errors import ConfigError, DataError

COUNT = 40
X = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
HALF = np.arange(COUNT) % 2
THIRD = np.arange(COUNT) % 3


@pytest.fixture(params=["memory", "npz"])
def prepare(request, tmp_path):
    """The same call for arrays in memory and in a file."""

    def make(y, x=X, **options):
        if request.param == "memory":
            return data.arrays(x, y, **options).prepare()
        np.savez(tmp_path / "set.npz", x=x, y=y)
        return data.npz(tmp_path / "set.npz", **options).prepare()

    return make


def whole(prepared):
    """Targets by the first number of their sample, which is the row."""
    x = np.concatenate([prepared.train.x, prepared.validation.x])[:, 0]
    return np.concatenate([prepared.train.y, prepared.validation.y])[np.argsort(x)]


@pytest.mark.parametrize(
    ("y", "options", "task", "names", "stored"),
    [
        (HALF, {}, "classification", None, HALF),
        (HALF.astype(bool), {}, "classification", None, HALF),
        (HALF[:, None], {}, "classification", None, HALF[:, None]),
        (HALF, {"task": "classification"}, "classification", None, HALF),
        (THIRD, {"task": "classification"}, "classification", None, THIRD),
        (np.where(HALF, "yes", "no"), {}, "classification", ("no", "yes"), HALF),
        (np.where(HALF, "ja", "né")[:, None], {}, "classification", ("ja", "né"), 1 - HALF[:, None]),
        (HALF * 2 - 1, {}, "other", None, HALF * 2 - 1),
        (HALF * 2 - 1, {"task": "classification"}, "classification", ("-1", "1"), HALF),
        (THIRD + 1, {}, "classification", None, THIRD + 1),
        (THIRD + 1, {"task": "classification"}, "classification", ("1", "2", "3"), THIRD),
        ((THIRD + 1)[:, None], {"task": "classification"}, "classification", ("1", "2", "3"), THIRD[:, None]),
        (HALF * 9, {}, "classification", None, HALF * 9),
        (HALF * 9, {"task": "classification"}, "classification", ("0", "9"), HALF),
        (THIRD + 5.0, {"task": "classification"}, "classification", ("5", "6", "7"), THIRD),
        (THIRD * 1.0, {}, "regression", None, THIRD),
        (THIRD + 1, {"task": "regression"}, "regression", None, THIRD + 1),
        (np.arange(COUNT) + 1, {}, "classification", None, np.arange(COUNT) + 1),
        (THIRD + 1, {"class_names": ["a", "b", "c"]}, "classification", ("a", "b", "c"), THIRD),
        (THIRD, {"class_names": ["a", "b", "c"]}, "classification", ("a", "b", "c"), THIRD),
        (
            THIRD * 1.0,
            {"class_names": ["a", "b", "c"], "task": "classification"},
            "classification",
            ("a", "b", "c"),
            THIRD,
        ),
        (
            HALF * 2.0 + 1,
            {"class_names": ["a", "b", "c", "d"], "task": "classification"},
            "classification",
            ("a", "b", "c", "d"),
            HALF * 2 + 1,
        ),
        (np.eye(3)[THIRD], {}, "classification", None, np.eye(3)[THIRD]),
        (
            np.eye(3, dtype=int)[THIRD],
            {"class_names": "abc"},
            "classification",
            tuple("abc"),
            np.eye(3)[THIRD],
        ),
        (np.eye(3)[THIRD], {"task": "regression"}, "regression", None, np.eye(3)[THIRD]),
        (np.ones((COUNT, 2)), {"task": "multilabel"}, "multilabel", None, np.ones((COUNT, 2))),
        (np.ones((COUNT, 2), bool), {"task": "multilabel"}, "multilabel", None, np.ones((COUNT, 2))),
        (np.ones((COUNT, 2)), {}, "regression", None, np.ones((COUNT, 2))),
    ],
)
def test_the_rules_of_memory_and_files_are_one(prepare, y, options, task, names, stored):
    prepared = prepare(y, **options)
    assert (prepared.task, prepared.class_names) == (task, names)
    assert np.array_equal(whole(prepared), stored)
    if task == "classification" and names:
        assert prepared.num_classes == len(names)
    if task in ("regression", "multilabel"):
        assert prepared.train.y.dtype == np.float32


def test_what_is_mapped_or_doubtful_is_said(prepare):
    assert (
        "y: the labels 1, 2, 3 are stored as classes 0 to 2"
        in prepare(THIRD + 1, task="classification").notes
    )
    assert (
        "is taken for a regression; for classes give task='classification'" in prepare(THIRD * 1.0).notes[0]
    )
    assert not prepare(HALF).notes
    assert not prepare(np.linspace(0, 1, COUNT)).notes


@pytest.mark.parametrize(
    ("y", "options", "said"),
    [
        (
            THIRD + 0.5,
            {"task": "classification"},
            "row 0 is 0.5, but task='classification' needs whole numbers",
        ),
        (np.where(HALF, "a", "b"), {"task": "regression"}, "text, but task='regression' needs numbers"),
        (np.full((COUNT, 2), 0.5), {"task": "multilabel"}, "needs targets of 0 and 1"),
        (np.ones((COUNT, 2)), {"task": "classification"}, "needs one label a row, or rows with one 1"),
        (np.eye(3)[THIRD], {"class_names": ["a", "b"]}, "class"),
        (THIRD + 1, {"class_names": ["a", "b"]}, "label 3 is out of range; allowed: 0 to 1"),
        (np.where(HALF, "a", "b"), {"class_names": ["a", "c"]}, "row 0 has the label 'b'; allowed: a, c"),
        (np.where(HALF, np.nan, 1.0), {"task": "classification"}, "row 1 is nan"),
        (HALF * 0.5, {"task": "classification"}, "row 1 is 0.5, but task='classification' needs whole"),
        (HALF * 9, {"class_names": ["a", "b"]}, "label 9 is out of range; allowed: 0 to 1"),
    ],
)
def test_refusals_name_the_row_and_the_rule(prepare, y, options, said):
    with pytest.raises(DataError) as caught:
        prepare(y, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_held_out_labels_are_mapped_as_those_of_training(tmp_path):
    prepared = data.arrays(
        X, THIRD + 1, task="classification", validation=(X[:2], np.array([3, 2]))
    ).prepare()
    assert prepared.validation.y.tolist() == [2, 1]
    with pytest.raises(DataError, match="validation y: row 1 has the label 9; allowed: 1, 2, 3"):
        data.arrays(X, THIRD + 1, task="classification", validation=(X[:2], np.array([3, 9])))
    np.savez(tmp_path / "a.npz", x=X, y=THIRD + 1, v=X[:2], w=np.array([3, 9]))
    with pytest.raises(DataError, match="'w': row 1 has the label 9"):
        data.npz(tmp_path / "a.npz", task="classification", validation_x="v", validation_y="w").prepare()


def test_numbers_stay_as_they_are_until_a_loss_says_what_they_are(prepare):
    ratings = np.arange(COUNT) % 5 + 1
    assert np.array_equal(whole(prepare(ratings)), ratings)
    few = data.arrays(X, np.arange(COUNT), validation=(X[:4], np.array([3, 2, 3, 2]))).prepare()
    assert few.validation.y.tolist() == [3, 2, 3, 2]
    assert np.array_equal(data.of(X, HALF * 2 - 1).prepare().train.y, HALF * 2 - 1)
    assert data.of(X, THIRD + 1).prepare().class_names is None


@pytest.mark.parametrize(("different", "told"), [(20, True), (21, False)])
def test_floating_point_of_so_many_whole_numbers_may_be_meant_as_classes(different, told):
    y = np.arange(42) % different + 1
    assert labels.find(y, None, "classification", "y").values == tuple(range(1, different + 1))
    said = labels.said(y * 1.0, labels.Classes(None), None, "y")
    assert (said is not None) == told
    assert labels.said(y[:20] * 1.0, labels.Classes(None), None, "y") is None


@pytest.mark.parametrize(
    ("y", "names", "task", "found"),
    [
        ([1, 3], "abcd", None, labels.Classes(("a", "b", "c", "d"))),  # numbers within the names stay
        ([1, 3], "abcd", "classification", labels.Classes(("a", "b", "c", "d"))),
        ([0, 2], "abc", "classification", labels.Classes(("a", "b", "c"))),
        (
            [0, 2],
            "ab",
            "classification",
            labels.Classes(("a", "b"), (0, 2)),
        ),  # as many as the names: in their order
        ([-1, 1], "ab", "classification", labels.Classes(("a", "b"), (-1, 1))),
        (
            [-1, 1],
            "abc",
            "classification",
            labels.Classes(("a", "b", "c")),
        ),  # refused where ranges are checked
        ([0.0, 2.0], "abc", "classification", labels.Classes(("a", "b", "c"), (0, 1, 2))),
        ([1, 2], "ab", labels.KEEP, labels.Classes(("a", "b"))),
        ([1, 2], None, labels.KEEP, labels.Classes(None)),
    ],
)
def test_numbers_are_mapped_only_where_they_are_no_places_of_the_names(y, names, task, found):
    assert labels.find(np.array(y), names, task, "y") == found


def test_text_has_one_label_a_row():
    with pytest.raises(DataError, match=r"y: text of shape \(1, 2\); expected one label a row"):
        labels.find(np.array([["a", "b"]]), None, None, "y")
    assert labels.find(np.array([["b"], ["a"]]), None, None, "y") == labels.Classes(("a", "b"), ("a", "b"))


@pytest.mark.parametrize(
    ("y", "told"),
    [(THIRD * 1.0, True), (THIRD[:, None] * 1.0, True), (np.eye(3)[THIRD], False), (np.eye(2)[HALF], False), (THIRD * 0.5, False), (THIRD, False)],
)  # fmt: skip
def test_only_a_column_of_whole_numbers_as_floating_point_may_be_meant_as_classes(y, told):
    assert (labels.said(y, labels.Classes(None), None, "y") is not None) == told
    assert labels.said(y, labels.Classes(None), "regression", "y") is None


def test_an_unknown_task():
    for make in (lambda: data.arrays(X, HALF, task="guess"), lambda: data.npz("a.npz", task="guess")):
        with pytest.raises(ConfigError) as caught:
            make()
        assert caught.value.field == "data.task"


@given(st.lists(st.integers(-30, 30), min_size=1, max_size=60), st.sampled_from([None, "classification"]))
def test_mapping_loses_nothing(values, task):
    y = np.array(values)
    classes = labels.find(y, None, task, "y")
    stored = labels.numbers(y, classes, "y")
    if classes.values is None:
        assert np.array_equal(stored, y)
        assert task is None or set(values) == set(range(len(set(values))))
    else:
        assert [classes.values[one] for one in stored] == values
        assert classes.names == tuple(map(str, sorted(set(values))))
        assert set(stored) == set(range(len(classes.values)))


@given(st.lists(st.lists(st.sampled_from([0, 1, 2]), min_size=3, max_size=3), min_size=1, max_size=9))
def test_flags_are_the_same_in_pieces(rows):
    array = np.array(rows)
    assert labels.flags([array]) == labels.flags([array[:2], array[2:]])
    assert labels.flags([array])[0] == (array.max() < 2)
    assert labels.flags([array])[1] == (array.max() < 2 and set(array.sum(1)) == {1})


def test_how_labels_were_read_is_no_difference_from_plain_keras(prepare):
    prepared = prepare(THIRD * 1.0)
    assert prepared.notes
    assert not prepared.differences
    padded = data.arrays([[1, 2], [3]], [0, 1], validation_split=0.0).prepare()
    assert padded.differences == padded.notes != ()

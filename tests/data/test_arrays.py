"""Arrays as people bring them: forms, weights, text, sequences of different lengths, and each refusal."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.prepared import open_folder, write_folder
from lepton_kit.errors import ConfigError, DataError

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.arange(20) % 2


def prepare(*arrays, **options):
    return data.arrays(*arrays, **{"validation_split": 0, **options}).prepare()


@st.composite
def forms(draw):
    """One array, a dictionary or a tuple of arrays, of 6 rows."""
    kinds = st.sampled_from([np.float32, np.int64, np.uint8, np.bool_, "S3"])
    shapes = st.lists(st.integers(1, 3), max_size=2)

    def array():
        values = np.arange(6 * 9).reshape(6, 9)[:, : int(np.prod(shape := draw(shapes)))]
        return values.reshape(6, *shape).astype(draw(kinds))

    kind = draw(st.sampled_from(["one", "dictionary", "tuple"]))
    if kind == "one":
        return array()
    if kind == "tuple":
        return tuple(array() for _ in range(draw(st.integers(1, 3))))
    return {name: array() for name in draw(st.sets(st.sampled_from("ab0"), min_size=1))}


def same(one, two):
    assert type(one) is type(two) or (isinstance(one, np.ndarray) and isinstance(two, np.ndarray))
    if isinstance(one, dict):
        assert list(one) == list(two)
        for name in one:
            same(one[name], two[name])
    elif isinstance(one, tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    elif one is not None:
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)


@settings(max_examples=60)
@given(forms(), st.none() | forms(), st.none() | forms())
def test_every_form_comes_back_from_its_folder(tmp_path_factory, x, y, w):
    split = data.Split(x, y, w)
    prepared = data.PreparedData(split, split.part(slice(1, 3)), "other")
    folder = tmp_path_factory.mktemp("form")
    write_folder(prepared, folder)
    back = open_folder(folder)
    assert back.fingerprint == prepared.fingerprint
    for one, two in ((prepared.train, back.train), (prepared.validation, back.validation)):
        same((one.x, one.y, one.w), (two.x, two.y, two.w))
    rows = np.array([2, 0])
    same(back.train.rows(rows), prepared.train.rows(rows))
    json.dumps([back.sample_shape, back.sample_dtype])
    assert back.summary() == prepared.summary()


def test_the_fingerprint_covers_form_and_weights():
    prints = {
        prepare(X, Y).fingerprint,
        prepare([X], Y).fingerprint,
        prepare({"0": X}, Y).fingerprint,
        prepare(X).fingerprint,
        prepare(X, Y, sample_weight=np.ones(20)).fingerprint,
        prepare(X, Y, sample_weight=np.full(20, 2)).fingerprint,
    }
    assert len(prints) == 6


def test_a_list_of_arrays_is_several_inputs_and_a_list_of_rows_is_one():
    assert isinstance(prepare([X, X[:, :1]], Y).train.x, tuple)
    assert prepare([X, X]).sample_shape == ((2,), (2,))
    assert prepare(list(X), Y).train.x.shape == (20, 2)  # the length of y tells which
    assert prepare(X.tolist(), Y.tolist()).train.x.shape == (20, 2)
    assert prepare(X, [Y, X]).train.y[1].shape == (20, 2)


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (Y, "classification", 2),
        (Y[:, None], "classification", 2),
        (np.zeros(20, int), "classification", 2),
        (Y == 1, "classification", 2),
        (Y.astype(np.uint8) * 9, "classification", 10),
        (Y * 10**6, "other", None),
        (Y * 2**40, "other", None),
        (np.eye(2, dtype=int)[Y], "classification", 2),
        (np.eye(2)[Y], "classification", 2),
        (np.ones((20, 2)), "regression", None),
        (X, "regression", None),
        ({"a": Y}, "other", None),
        ([Y, Y], "other", None),
        (None, "other", None),
    ],
)
def test_targets_keep_form_type_and_values_whatever_they_are(y, task, classes):
    prepared = prepare(X, y)
    assert (prepared.task, prepared.num_classes) == (task, classes)
    if isinstance(y, np.ndarray):
        assert prepared.train.y.shape == y.shape
        assert prepared.train.y.dtype == (np.float32 if y.dtype.kind == "f" else y.dtype)
        assert np.array_equal(prepared.train.y, y)


def test_x_alone_has_no_targets():
    prepared = data.arrays(X).prepare()
    assert prepared.train.y is None
    assert (len(prepared.train), len(prepared.validation)) == (16, 4)
    assert "no targets" in prepared.summary()


def test_text_inputs_are_bytes_as_tensorflow_holds_them():
    prepared = prepare(np.array(["häus", "a"] * 10), Y)
    assert prepared.train.x[0] == "häus".encode()
    assert prepared.value_range is None
    assert "text" in prepared.summary()
    assert prepare(pd.Series(["a", "bc"] * 10), Y).train.x.shape == (20, 1)
    assert prepare(np.array([b"a", b"bc"] * 10, object), Y).train.x.tolist()[1] == b"bc"
    assert prepare([["a"], ["b", "c"]], [0, 1]).train.x.tolist() == [[b"a", b""], [b"b", b"c"]]


def test_text_labels_keep_their_axis_and_serve_validation():
    prepared = prepare(X, np.where(Y, "yes", "no")[:, None], validation=(X, np.array(["yes"] * 20)[:, None]))
    assert prepared.train.y.shape == (20, 1)
    assert prepared.validation.y.tolist() == [[1]] * 20
    assert prepared.class_names == ("no", "yes")


def test_sequences_of_different_lengths_are_padded_and_that_is_said():
    prepared = prepare([[1, 2, 3], [4], []], np.arange(3))
    assert prepared.train.x.tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert prepared.train.x.dtype == np.int64
    assert prepared.notes == ("x: 3 sequences of 0 to 3 steps are padded with 0 at the end to 3",)
    assert prepared.notes[0] in prepared.summary()
    assert "0 is among their own values" in prepare([[0, 1], [1]]).notes[0]
    deep = prepare([np.ones((2, 3)), np.ones((1, 3))], [0, 1]).train.x
    assert deep.shape == (2, 2, 3)
    assert deep[1, 1].tolist() == [0, 0, 0]
    assert prepare(np.array([[1, 2], [3]], object), [0, 1]).train.x.tolist() == [[1, 2], [3, 0]]


def test_sparse_matrices_and_frames_with_their_own_types():
    prepared = prepare(scipy.sparse.csr_matrix(np.eye(3)), np.arange(3))
    assert np.array_equal(prepared.train.x, np.eye(3))
    assert prepared.notes == ("x: a sparse matrix is stored and fed dense",)
    frame = pd.DataFrame({"a": pd.array([1, 2], "Int64"), "b": [True, False], "c": [0.5, 1]})
    assert prepare(frame).train.x.tolist() == [[1, 1, 0.5], [2, 0, 1]]
    assert prepare(pd.DataFrame({"a": ["u", "vw"]})).train.x.tolist() == [[b"u"], [b"vw"]]
    with pytest.raises(DataError, match="x: row 1, position 0 is nan"):
        prepare(pd.DataFrame({"a": pd.array([1, None], "Int64")}))


def test_padded_splits_get_one_length():
    prepared = prepare([[1, 2], [3]], [0, 1], validation=([[1, 2, 3], [4]], [0, 1]))
    assert prepared.train.x.shape == prepared.validation.x.shape == (2, 3)
    assert len(prepared.notes) == 2
    prepared = prepare([[1, 2, 5], [3]], [0, 1], validation=([[1], [4]], [0, 1]))
    assert prepared.validation.x.tolist() == [[1, 0, 0], [4, 0, 0]]


def test_keras_rule_holds_out_the_last_rows():
    prepared = data.arrays(X, Y, sample_weight=np.arange(20), validation_split=0.3, holdout="last").prepare()
    assert np.array_equal(prepared.train.x, X[:14])
    assert np.array_equal(prepared.validation.x, X[14:])
    assert prepared.validation.w.tolist() == list(range(14, 20))
    assert data.arrays(X, Y, validation_split=0, holdout="last").prepare().validation is None


def test_weights_take_the_form_of_the_targets():
    weight = np.arange(20)
    assert prepare(X, Y, sample_weight=weight).train.w.dtype == np.float32
    steps = prepare(X, X, sample_weight=np.ones((20, 2))).train.w
    assert steps.shape == (20, 2)
    both = prepare(X, {"a": Y, "b": X}, sample_weight=weight).train.w
    assert both["a"].tolist() == both["b"].tolist() == list(range(20))
    own = prepare(X, {"a": Y, "b": X}, sample_weight={"b": np.ones((20, 2)), "a": weight}).train.w
    assert own["b"].shape == (20, 2)
    assert prepare(X, [Y, X], sample_weight=[weight, None]).train.w[1].tolist() == [1] * 20
    assert "samples are weighted" in prepare(X, Y, sample_weight=weight).summary()


def test_class_weights_count_for_training_alone():
    prepared = data.arrays(X, Y, class_weight={1: 3}, validation_split=0.2).prepare()
    assert prepared.train.w.tolist() == np.where(prepared.train.y == 1, 3, 1).tolist()
    assert prepared.validation.w is None
    one_hot = prepare(X, np.eye(2)[Y], class_weight={0: 2.0, 1.0: 3}).train.w
    assert one_hot.tolist() == np.where(Y == 1, 3, 2).tolist()
    named = prepare(X, np.where(Y, "yes", "no"), class_weight={"yes": 4}).train.w
    assert named.tolist() == np.where(Y == 1, 4, 1).tolist()


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((X, Y), {"sample_weight": np.ones(20), "class_weight": {0: 1}}, "got both; give one of them"),
        ((X, Y), {"sample_weight": np.ones(19)}, "sample_weight has 19 rows but there are 20"),
        ((X, Y), {"sample_weight": np.append(np.ones(19), np.nan)}, "sample_weight: row 19 is not finite"),
        ((X, Y), {"sample_weight": np.array(["a"] * 20)}, "sample_weight: text"),
        ((X, Y), {"sample_weight": np.ones((20, 3))}, "does not fit the targets (20,)"),
        ((X, Y), {"sample_weight": {"a": np.ones(20)}}, "got a dictionary of 'a'; expected one array"),
        ((X,), {"sample_weight": np.ones(20)}, "weights without y"),
        ((X, [Y, Y]), {"sample_weight": np.ones((20, 2))}, "for several outputs; give one array per output"),
        ((X, [Y, Y]), {"sample_weight": [np.ones(20)]}, "given for 0; the outputs in y are 0, 1"),
        ((X, [Y, Y]), {"sample_weight": {"a": np.ones(20)}}, "got dict; y is a tuple of 2"),
        ((X, {"a": Y}), {"sample_weight": {"b": np.ones(20)}}, "given for 'b'; the outputs in y are 'a'"),
        ((X, [Y, Y]), {"class_weight": {0: 1}}, "y is a tuple of 2; class weights need one output"),
        ((X,), {"class_weight": {0: 1}}, "y is nothing"),
        ((X, Y), {"class_weight": [1, 2]}, "got list; expected a dictionary class -> weight"),
        ((X, Y), {"class_weight": {"a": 1}}, "the class 'a'; expected a whole number"),
        ((X, Y), {"class_weight": {0: np.inf}}, "the class 0 weighs inf"),
        ((X, np.zeros((20, 2, 3))), {"class_weight": {0: 1}}, "one a sample, so give sample_weight"),
        ((X, Y), {"validation": (X, Y, X, Y)}, "4 parts; expected (x, y)"),
        ((X, Y), {"validation": ([X], Y)}, "x: one array to train on but a tuple of 1"),
        ((X, Y), {"validation": (np.array([["a", "b"]] * 20), Y)}, "x: type float32 in train but"),
        ((X, Y), {"validation": (X, Y, np.ones(3))}, "validation sample_weight has 3 rows"),
        ((X, Y), {"validation_split": 0.99, "holdout": "last"}, "leaves a split empty"),
        (([X, X[:4]], [Y, Y]), {}, "x[0] has 20 rows but x[1] has 4"),
        (([{"a": X}],), {}, "x: dictionaries inside a list"),
        (({"a": {"b": X}},), {}, "x['a']: a dictionary inside a dictionary"),
        (({"a": [{"b": X}]},), {}, "x['a']: dictionaries inside a list"),
        (([],), {}, "x: no samples"),
        (([[1], [[2]]],), {}, "different numbers of axes"),
        (([["a"], [1, 2]],), {}, "x: rows of text beside rows of numbers"),
        ((np.array(["a", None], object),), {}, "x: row 1 is None beside text"),
        ((np.array([None, object()], object),), {}, "x: row 0 is a NoneType"),
        ((np.array([b"a", b"b\0"], object),), {}, "x: row 1 ends in a zero byte"),
        ((np.array(["2020-01-01"], "M8[D]"),), {}, "x: type datetime64[D]"),
        ((pd.DataFrame({"a": [1.0], "b": ["u"]}),), {}, "x: the columns 'b' hold text beside numbers"),
        ((pd.DataFrame({"a": [1], "t": pd.to_datetime(["2020-01-01"])}),), {}, "column 't' has type"),
        ((pd.DataFrame(),), {}, "x: a frame without columns"),
        ((pd.DataFrame({"a": [1.0, None]}),), {}, "x: row 1, position 0 is nan"),
        ((np.array([1e300, 1]),), {}, "x: row 0 is inf"),
    ],
)
def test_refusals(arguments, options, said):
    with pytest.raises(DataError) as caught:
        prepare(*arguments, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_rule_for_holding_out():
    with pytest.raises(ConfigError, match="holdout: got 'first'; expected one of random, last"):
        data.arrays(X, Y, holdout="first")


def test_hidden_numbers_are_no_numbers():
    hidden = np.ma.masked_array(X, mask=np.arange(40).reshape(20, 2) == 7)
    with pytest.raises(DataError, match="x: row 3 is masked"):
        prepare(hidden, Y)
    assert np.array_equal(prepare(np.ma.masked_array(X), Y).train.x, X)


def test_columns_of_one_name_are_all_there():
    frame = pd.DataFrame(np.hstack([X, X[:, :1]]), columns=["a", "b", "a"])
    assert np.array_equal(prepare(frame, Y).train.x, frame.to_numpy())
    frame.columns = [1, "1", "b"]
    assert np.array_equal(prepare(frame, Y).train.x, frame.to_numpy())


def test_two_inputs_of_one_name_are_refused():
    with pytest.raises(DataError, match="x: two parts are named '1'"):
        prepare({1: X, "1": X}, Y)


@pytest.mark.filterwarnings("error")
def test_a_number_that_float32_cannot_hold_is_a_problem_of_its_sample_without_a_warning():
    how = preprocessing_of(data.arrays(np.ones((8, 2), np.float32), np.arange(8) % 2).prepare())
    encoded = how.encode(np.array([[1.0, 2.0], [1e200, 0.0], [0.0, -1e39]]))
    assert list(encoded.problems) == [1, 2]
    assert encoded.x.tolist() == [[1.0, 2.0]]


def test_a_stream_of_batches_is_encoded_as_the_array_that_it_makes():
    how = preprocessing_of(data.arrays(X, Y).prepare())
    stream = Batches([(X[:8], Y[:8]), (X[8:16], Y[8:16]), (X[16:], Y[16:])])
    assert how.count(stream) is None
    assert how.count(X) == 20
    encoded = how.encode(stream)
    assert encoded.names == tuple(range(20))
    assert np.array_equal(encoded.x, X)
    assert np.array_equal(encoded.rows, np.arange(20))
    with pytest.raises(DataError, match=r"shape \(8, 2, 1\); expected \(samples, 2\)"):
        how.encode(Batches([(X[:8, :, None],)]))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["photo.png"], r"input: files; the model was trained on arrays of shape \(2,\), so give arrays"),
        (["rows.csv"], "give arrays: of files, what you read from them"),
    ],
)
def test_files_given_to_a_model_of_arrays_are_refused_with_what_to_give(files, said):
    with pytest.raises(DataError, match=said):
        preprocessing_of(data.arrays(X, Y).prepare()).encode(files)


class Batches:
    def __init__(self, elements):
        self.elements = elements

    def __iter__(self):
        return iter(self.elements)


def test_a_column_to_train_on_and_an_array_in_validation_get_one_form():
    for mine, held in ((pd.Series(Y), Y[:4]), (Y, pd.Series(Y[:4]))):
        prepared = data.of(X, mine, validation_data=(X[:4], held)).prepare()
        assert prepared.validation.y.shape[1:] == prepared.train.y.shape[1:]
        assert prepared.validation.y.reshape(-1).tolist() == list(Y[:4])


def test_an_object_that_gives_itself_as_numpy_is_an_array():
    class Held:
        def __init__(self, values):
            self.values = values

        def numpy(self):
            return self.values

    assert data.of(Held(X), Held(Y)).prepare().train.x.shape == X.shape

"""Datasets, generators and loaders are read once; what a second reading would change is said."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data import Dataset, columns, streams
from lepton_kit.data.columns import Column
from lepton_kit.errors import ConfigError, DataError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

X = np.arange(40, dtype=np.float64).reshape(20, 2)
Y = np.arange(20) % 3


def batches(*arrays, size=8):
    """A loader: can be read again, and knows its length."""
    return [
        tuple(array[first : first + size] for array in arrays) for first in range(0, len(arrays[0]), size)
    ]


class Loader:
    """What torch's DataLoader looks like: an iterable with a length."""

    def __init__(self, elements):
        self.elements = elements

    def __iter__(self):
        return iter(self.elements)

    def __len__(self):
        return len(self.elements)


class Endless:
    def __iter__(self):
        while True:
            yield X, Y


class Sequence(keras.utils.PyDataset):
    def __init__(self, changes=None, length=3):
        super().__init__()
        self.order, self.shift, self.changes, self.length = np.arange(20), 0, changes, length

    @property
    def num_batches(self):
        return self.length

    def __getitem__(self, place):
        rows = self.order[place % 3 * 8 : place % 3 * 8 + 8]
        return X[rows] + self.shift, Y[rows]

    def on_epoch_end(self):
        if self.changes == "order":
            self.order = np.roll(self.order, 1)
        if self.changes == "values":
            self.shift += 100


def tensors():
    return tf.data.Dataset.from_tensor_slices((X, Y))


def check(prepared, x=X, y=Y):
    assert np.array_equal(prepared.train.x, x)
    assert prepared.train.x.dtype == np.float32
    if y is not None:
        assert np.array_equal(prepared.train.y, y)


@pytest.mark.parametrize(
    ("make", "size", "notes"),
    [
        (lambda: tensors().batch(8), 8, 0),
        (lambda: tensors().batch(10, drop_remainder=True), 10, 0),
        (tensors, None, 0),
        (lambda: Loader(batches(X, Y)), 8, 0),
        (lambda: Loader([list(pair) for pair in batches(X, Y)]), 8, 0),
        (lambda: Loader([(x.tolist(), y.tolist()) for x, y in batches(X, Y)]), 8, 0),
        (lambda: (pair for pair in batches(X, Y)), 8, 1),
        (lambda: zip(X, Y, strict=True), None, 1),
        (Sequence, 8, 0),
    ],
)
def test_every_kind_of_stream_gives_its_rows_in_order(make, size, notes):
    source = data.stream(make())
    prepared = source.prepare()
    check(prepared)
    assert source.batch_size == size
    assert len(prepared.notes) == notes
    assert prepared.task == "classification"
    assert source.is_ordered == (not isinstance(make(), Sequence))


def test_elements_may_be_dictionaries_single_arrays_tuples_and_weights():
    prepared = data.stream(Loader([{"a": x, "b": y} for x, y in batches(X, Y)])).prepare()
    assert prepared.train.y is None
    assert list(prepared.train.x) == ["a", "b"]
    assert data.stream(tf.data.Dataset.from_tensor_slices(X).batch(8)).prepare().train.y is None
    several = data.stream(tf.data.Dataset.from_tensor_slices(((X, X), {"o": Y}, Y)).batch(8)).prepare()
    assert several.train.x[1].shape == (20, 2)
    assert several.train.w["o"].tolist() == Y.tolist()
    single = data.stream(Loader([((x, 1.5), 2, 3) for x in X])).prepare().train
    assert single.x[1].tolist() == [1.5] * 20


def test_samples_one_by_one():
    prepared = data.stream(Loader([(x, y, 2.0) for x, y in zip(X, Y, strict=True)])).prepare()
    check(prepared)
    assert prepared.train.w.tolist() == [2.0] * 20
    alone = data.stream(Loader(list(X)), batched=False).prepare()
    assert alone.train.x.shape == (20, 2)
    texts = data.stream(Loader([("a", 1), ("bcd", 0)])).prepare()
    assert texts.train.x.tolist() == [b"a", b"bcd"]


def test_text_and_ragged_rows_are_padded_to_the_longest_of_all():
    words = tf.data.Dataset.from_tensor_slices((["a", "bc", "def", "g"], [0, 1, 0, 1])).batch(1)
    assert data.stream(words).prepare().train.x.tolist() == [b"a", b"bc", b"def", b"g"]
    ragged = tf.data.Dataset.from_tensor_slices(
        (tf.ragged.constant([[1], [2, 3], [4, 5, 6], []]), [0, 1, 0, 1])
    )
    prepared = data.stream(ragged.batch(2)).prepare()
    assert prepared.train.x.tolist() == [[1, 0, 0], [2, 3, 0], [4, 5, 6], [0, 0, 0]]
    assert "padded at the end to 3" in prepared.notes[0]
    lengths = data.stream(
        Loader([(np.ones((2, 3, 1)), [0, 1]), (np.ones((2, 1, 1)), [0, 1])]),
        validation=Loader([(np.ones((1, 4, 1)), [0])]),
    ).prepare()
    assert lengths.train.x.shape == (4, 4, 1)
    assert lengths.train.x[2, :, 0].tolist() == [1, 0, 0, 0]
    assert lengths.value_range == (0, 1)


def test_sparse_tensors_are_fed_dense():
    eye = tf.data.Dataset.from_tensor_slices((tf.sparse.eye(4), np.arange(4))).batch(2)
    prepared = data.stream(eye).prepare()
    assert np.array_equal(prepared.train.x, np.eye(4))
    assert prepared.notes == ("data: sparse tensors are stored and fed dense",)


def test_validation_beside_a_stream_and_a_stream_beside_arrays():
    both = data.stream(tensors().batch(8), validation=(X[:4], Y[:4], np.ones(4))).prepare()
    assert both.validation.w.tolist() == [1] * 4
    streams_only = data.stream(tensors().batch(8), validation=tensors().batch(4).repeat(), validation_steps=2)
    assert len(streams_only.prepare().validation) == 8
    arrays = data.of(X, np.array(["a", "b", "c"])[Y], validation_data=tensors().batch(8))
    assert arrays.batch_size is None
    assert arrays.prepare().class_names == ("a", "b", "c")


def test_an_endless_source_is_read_for_the_steps_of_an_epoch_or_of_all():
    source = data.stream(tensors().batch(8).repeat(), steps=3)
    check(source.prepare())
    assert "plain Keras would read on" in source.prepare().notes[0]
    assert len(data.stream(tensors().batch(8).repeat(), steps=3, epochs=4).prepare().train) == 80
    assert data.stream(tensors().batch(10).repeat(), steps=3, epochs=4).prepare().notes == ()
    assert len(data.stream(Sequence(length=None), steps=6, epochs=1).prepare().train) == 40
    generator = data.stream((pair for pair in batches(X, Y)), steps=2)
    assert len(generator.prepare().train) == 16
    assert "plain Keras would read on" in generator.prepare().notes[0]
    unknown = tensors().batch(8).filter(lambda x, y: True)
    assert len(data.stream(unknown, steps=2).prepare().train) == 16
    assert data.stream(unknown, steps=3).prepare().notes == ()
    assert data.stream(iter(batches(X, Y)), steps=3).prepare().notes == ()
    assert data.stream(iter(batches(X, Y)), epochs=1).prepare().notes == ()
    assert "ended after 3 elements" in data.stream(iter(batches(X, Y)), steps=2, epochs=2).prepare().notes[0]
    assert len(data.stream(tensors().batch(8), steps=2).prepare().train) == 20  # a finite one is read whole


def test_class_weights_become_weights_of_samples():
    w = data.stream(tensors().batch(8), class_weight={2: 5}).prepare().train.w
    assert w.tolist() == np.where(Y == 2, 5, 1).tolist()
    w = data.stream((X, Y), validation=Loader(batches(X, Y)), class_weight={2: 5}).prepare().train.w
    assert w.tolist() == np.where(Y == 2, 5, 1).tolist()


@pytest.mark.parametrize(
    ("make", "said", "shuffled"),
    [
        (lambda: tensors().shuffle(20).batch(8), "in another order each time", True),
        (lambda: Sequence("order"), "in another order each time", True),
        (lambda: Sequence("values"), "other values each time", False),
        (
            lambda: tensors().map(lambda x, y: (x + tf.random.uniform((), dtype=x.dtype), y)).batch(8),
            "(random augmentation?)",
            False,
        ),
        (lambda: tensors().shuffle(20).repeat().batch(2), "a shuffle or random augmentation inside?", False),
    ],
)
def test_what_reading_once_would_freeze_is_said(make, said, shuffled):
    tf.random.set_seed(None)  # with a seed, as other tests set, each reading draws the same numbers
    prepared = data.stream(make(), steps=2).prepare()
    assert any(said in note for note in prepared.notes)
    assert prepared.details["shuffled"] == shuffled


def test_data_that_shuffle_themselves_leave_the_order_of_an_epoch_to_the_run():
    tf.random.set_seed(None)
    source = data.stream(tensors().shuffle(20).batch(8), validation=tensors().shuffle(20).batch(8))
    assert not source.is_ordered
    training, held = source.prepare().notes
    assert training.endswith("every epoch has one of its own, from the run's seed")
    assert held.startswith("validation data: ")
    assert held.endswith("the order of one reading")
    assert data.stream(tensors().batch(8)).is_ordered


def test_batches_of_different_sizes_are_said():
    source = data.stream(Loader([(X[:4], Y[:4]), (X[4:12], Y[4:12]), (X[12:], Y[12:])]))
    assert source.batch_size == 8
    assert "the batches have 4 to 8 samples" in source.prepare().notes[0]


def test_a_stream_is_stored_without_a_copy_and_read_once(tmp_path):
    seen = []
    source = data.stream(tensors().batch(8), progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    spec = source.store(tmp_path / "data")
    back = Dataset.from_spec(spec, tmp_path).prepare()
    check(back)
    assert back.fingerprint == source.prepare().fingerprint
    assert os.stat(tmp_path / "data" / "train.x.0.npy").st_nlink == 2
    again = data.stream(tensors().batch(8))
    assert again.path == source.path
    assert [name for name in os.listdir(source.path.parent) if name.startswith(".")] == []


def test_a_store_that_cannot_link_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    source = data.stream(tensors().batch(8))
    check(Dataset.from_spec(source.store(tmp_path / "data"), tmp_path).prepare())


def test_a_column_is_merged_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "CHUNK_BYTES", 16)
    column = Column(tmp_path, "c")
    for rows in ([[1, 2]] * 5, [[3]] * 4, [[4, 5, 6]] * 3):
        column.append(np.array(rows, np.int64), "c")
    column.finish(tmp_path / "c.npy", column.shape)
    whole = np.load(tmp_path / "c.npy")
    assert whole.tolist() == [[1, 2, 0]] * 5 + [[3, 0, 0]] * 4 + [[4, 5, 6]] * 3
    assert [file.name for file in tmp_path.iterdir()] == ["c.npy"]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=6),
    st.sampled_from(["i8", "S2"]),
)
def test_a_column_is_its_pieces_one_after_the_other(tmp_path_factory, pieces, kind):
    folder = tmp_path_factory.mktemp("column")
    column, rows = Column(folder, "c"), []
    for number, (count, width) in enumerate(pieces):
        piece = np.full((count, width), number + 1).astype(kind)
        column.append(piece, "c")
        rows += piece.tolist()
    column.finish(folder / "c.npy", column.shape)
    longest = max(width for _, width in pieces)
    empty = b"" if kind == "S2" else 0
    assert np.load(folder / "c.npy").tolist() == [row + [empty] * (longest - len(row)) for row in rows]
    assert column.is_padded == (len({width for _, width in pieces}) > 1)


def raising():
    yield X[:8], Y[:8]
    raise RuntimeError("disk gone\nmore")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: data.stream(iter([])), "this generator gave no samples"),
        (lambda: data.stream(Loader([(X[:0], Y[:0])])), "this Loader gave no samples"),
        (lambda: data.stream(raising()), "element 1: the generator raised RuntimeError: disk gone"),
        (lambda: data.stream(tensors().batch(8).repeat()), "has no end; give steps_per_epoch"),
        (lambda: data.stream(Sequence(length=None)), "this PyDataset has no end; give steps_per_epoch"),
        (
            lambda: data.stream(tensors().batch(8), validation=tensors().batch(8).repeat()),
            "validation data: this tf.data.Dataset has no end; give validation_steps",
        ),
        (lambda: data.stream(Endless()), "gave 5 elements and no end; give steps_per_epoch"),
        (lambda: data.stream(Loader([(X, Y, Y, Y)])), "element 0 has 4 parts"),
        (lambda: data.stream(Loader([(X, Y[:3])])), "element 0: x has 20 rows but element 0: y has 3"),
        (
            lambda: data.stream(Loader([(X, Y), (X,)])),
            "element 1: y is nothing where element 0 has one array",
        ),
        (lambda: data.stream(Loader([({"a": X}, Y), (X, Y)])), "element 1: x is one array where"),
        (
            lambda: data.stream(Loader([(X, Y), (X > 1, np.zeros(20))])),
            "element 1: y: type float32 after int64",
        ),
        (
            lambda: data.stream(Loader([(X, Y), (X[:, None], Y)])),
            "element 1: x: rows of shape (1, 2) after (2,)",
        ),
        (
            lambda: data.stream(Loader([(np.ones((2, 4, 4, 1)), Y[:2]), (np.ones((2, 5, 4, 1)), Y[:2])])),
            "element 1: x: rows of shape (5, 4, 1) after (4, 4, 1)",
        ),
        (lambda: data.stream(Loader([(X, Y), (X * np.nan, Y)])), "element 1: x: row 0, position 0 is nan"),
        (lambda: data.stream(Loader([(X, Y, Y[:2])])), "element 0: sample_weight has 2 rows"),
        (lambda: data.stream(Loader([(X, None, Y)])), "element 0: weights without targets"),
        (
            lambda: data.stream(Loader([(X, Y, Y)]), class_weight={0: 1}),
            "weights of samples beside class_weight",
        ),
        (lambda: data.stream(Loader([(X, Y.astype(str))])), "element 0: y: text labels"),
        (
            lambda: data.stream(Loader([(X, 3)]), batched=True),
            "element 0: y is a single value; a batch has rows",
        ),
        (
            lambda: data.stream(Loader([({"a": {"b": X}}, Y)])),
            "element 0: x['a']: a dict inside another form",
        ),
        (
            lambda: data.stream(Loader([((X, (X, X)), Y)])),
            "element 0: x[1]: a tuple inside another form",
        ),
        (
            lambda: data.stream(tensors().batch(8), validation=(X, Y.astype(str))),
            "text labels beside a stream",
        ),
        (
            lambda: data.stream(tensors().batch(8), validation=(X[:, :1], Y)),
            "x: shape (2,) in train but (1,)",
        ),
        (lambda: data.stream(tensors().batch(8), validation=X), "y: one array to train on but nothing"),
    ],
)
def test_refusals_name_the_element(make, said, monkeypatch):
    monkeypatch.setattr(streams, "MAX_ELEMENTS", 5)
    with pytest.raises(DataError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said(monkeypatch):
    monkeypatch.setattr(streams, "SPARE_BYTES", 2**80)
    with pytest.raises(DataError, match="the disk of the data cache is full after 1 elements"):
        data.stream(tensors().batch(8))


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"the data cache cannot be written .*; XDG_CACHE_HOME names another place"
    ):
        data.stream(tensors().batch(8), cache=tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "field"),
    [({"steps": 0}, "data.steps"), ({"epochs": True}, "data.epochs"), ({"batched": 3}, "data.batched")],
)
def test_setting_errors(options, field):
    with pytest.raises(ConfigError) as caught:
        data.stream(tensors(), **options)
    assert caught.value.field == field


def test_torch_tensors_are_taken_without_torch():
    class Tensor:
        def __init__(self, values):
            self.values, self.shape, self.dtype = values, values.shape, f"torch.{values.dtype}"

        def detach(self):
            return self

        cpu = detach

        def numpy(self):
            return self.values

    check(data.stream(Loader([[Tensor(x), Tensor(y)] for x, y in batches(X, Y)])).prepare())
    check(data.arrays(Tensor(X), Tensor(Y), validation_split=0).prepare())

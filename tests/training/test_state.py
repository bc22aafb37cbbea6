"""Packing, restoring and checkpoints: whole or refused, with the reason."""

import os

import ml_dtypes  # noqa: F401  numpy knows bfloat16 then
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.errors import RunError
from lepton_kit.training import state


def history(step):
    return state.history_array([(step, 0.5, np.arange(6.0))])


class Variable:
    def __init__(self, value):
        self.value_, self.name = np.asarray(value), "kernel"

    @property
    def shape(self):
        return self.value_.shape

    def numpy(self):
        return self.value_

    def assign(self, value):
        self.value_ = np.array(value)


@given(
    st.lists(
        st.tuples(st.sampled_from(["f4", "i8", "u4", "?"]), st.lists(st.integers(0, 3), max_size=3)),
        min_size=1,
    )
)
def test_packed_arrays_come_back_equal(kinds):
    arrays = [np.arange(int(np.prod(shape))).reshape(shape).astype(kind) for kind, shape in kinds]
    packed = state.pack(arrays)
    assert packed.dtype == np.uint8
    for before, after in zip(arrays, state.unpack(packed, arrays), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_a_checkpoint_comes_back_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        state.save_checkpoint(tmp_path, step, [np.full(2, step)], history(step), logged_epochs=step - 1)
    folders = state.checkpoint_folders(tmp_path)
    assert [folder.name for folder in folders] == ["step-000000002", "step-000000003"]
    step, arrays, meta = state.load_checkpoint(folders[-1])
    assert (step, arrays[0].tolist(), meta["logged_epochs"]) == (3, [3, 3], 2)
    assert [entry[:2] for entry in state.load_history(folders[-1])] == [(3, 0.5)]


@pytest.mark.parametrize(
    "array",
    [np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.float32(2), np.zeros((0, 3)),
     np.array([True, False]), np.arange(600_000, dtype="int64")[::2], np.ones(3, "bfloat16")],
)  # fmt: skip
def test_arrays_are_written_as_numpy_does(tmp_path, array, monkeypatch):
    monkeypatch.setattr(state, "PIECE_BYTES", 1000)
    with open(tmp_path / "ours.npz", "wb") as file:
        state.write_arrays(file, [array, np.zeros(2)])
    np.savez(tmp_path / "theirs.npz", np.asarray(array), np.zeros(2))
    with np.load(tmp_path / "ours.npz") as ours, np.load(tmp_path / "theirs.npz") as theirs:
        for name in ("arr_0", "arr_1"):
            assert (ours[name].dtype, ours[name].shape) == (theirs[name].dtype, theirs[name].shape)
            assert ours[name].tobytes() == theirs[name].tobytes()


def test_a_torn_checkpoint_is_named(tmp_path):
    path = state.save_checkpoint(tmp_path, 1, [np.zeros(2)], history(1))
    (path / "arrays.npz").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"step-000000001.*cannot be read"):
        state.load_checkpoint(path)


def test_an_unwritable_folder_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "write_arrays", full)
    with pytest.raises(OSError, match="No space"):
        state.save_checkpoint(tmp_path, 5, [np.zeros(2)], history(5))
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_another_model_are_refused():
    with pytest.raises(RunError, match="holds 1 arrays; this model with its optimizer has 2"):
        state.restore([Variable(1), Variable(2)], [np.zeros(())], "checkpoint")
    with pytest.raises(RunError, match=r"checkpoint: kernel has shape \(3,\) there and \(2,\) in this model"):
        state.restore([Variable([1, 2])], [np.zeros(3)], "checkpoint")


def test_each_file_of_a_checkpoint_is_on_disk_before_its_name_counts(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("name"), replace(a, b))[1])
    made = state.save_checkpoint(tmp_path, 3, [np.zeros(2)], history(3), logged_epochs=0)
    assert order == ["sync"] * len(list(made.iterdir())) + ["name"]

"""Arrays in files: streamed, split, in every order and format, and headers that lie."""

import io
import sys
import zipfile

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data.archives import open_arrays, readers
from lepton_kit.errors import ConfigError, DataError

X = np.arange(40, dtype=np.float64).reshape(20, 2)
Y = np.arange(20) % 2


@pytest.fixture
def archive(tmp_path):
    def save(**arrays):
        np.savez_compressed(tmp_path / "set.npz", **arrays)
        return tmp_path / "set.npz"

    return save


def bad(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


def test_npz_is_streamed_in_pieces(archive, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK_BYTES", 24)  # three rows a piece
    path = archive(x=np.arange(200, dtype=np.uint8).reshape(25, 8), y=np.arange(25) % 5)
    prepared = data.npz(path).prepare()
    whole = np.concatenate([prepared.train.x[:, 0], prepared.validation.x[:, 0]])
    assert sorted(whole) == list(range(0, 200, 8))
    assert prepared.num_classes == 5
    for split in (prepared.train, prepared.validation):
        assert np.array_equal(split.x[:, 0] // 8 % 5, split.y)


def test_npz_keeps_groups_together(archive):
    episode = np.repeat(np.arange(10), 5)
    path = archive(x=episode[:, None] * 1.0, y=np.arange(50) % 2, episode=episode, column=episode[:, None])
    for group in ("episode", "column"):
        prepared = data.npz(path, group=group, validation_split=0.3).prepare()
        assert len(prepared.validation) == 15
        assert not set(prepared.train.x[:, 0]) & set(prepared.validation.x[:, 0])


def test_npz_given_validation_scale_and_marks(archive):
    path = archive(
        x=np.full((4, 2), 255, np.uint8), y=Y[:4], v=np.zeros((2, 2), np.uint8), w=Y[:2], mark=Y[:4] == 1
    )
    prepared = data.npz(path, validation_x="v", validation_y="w", scale=(1 / 127.5, -1)).prepare()
    assert len(prepared.train) == 4
    assert len(prepared.validation) == 2
    assert np.allclose(prepared.train.x, 1)
    assert np.allclose(prepared.validation.x, -1)
    assert data.npz(path, is_validation="mark").prepare().num_classes == 2
    named = data.npz(path, x={"left": "x", "right": "x"}, y={"out": "y"}, is_validation="mark").prepare()
    assert named.sample_shape == {"left": (2,), "right": (2,)}
    assert len(named.validation) == 2


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", ">i2", "<f8", "<f2", "|u1", "|b1"])
def test_every_order_and_type_is_read(archive, monkeypatch, order, kind):
    monkeypatch.setattr(readers, "CHUNK_BYTES", 40)
    values = (np.arange(180).reshape(20, 3, 3) % 100).astype(kind)
    path = archive(x=np.array(values, order=order), y=Y)
    prepared = data.npz(path, validation_split=0).prepare()
    assert np.array_equal(prepared.train.x, values)
    assert prepared.train.x.dtype.isnative
    assert prepared.train.x.dtype == (np.float32 if "f" in kind else values.dtype.newbyteorder("="))
    with open_arrays(path) as reader:
        assert np.array_equal(reader.read("x"), values)


@pytest.mark.parametrize(
    ("names", "held", "said"),
    [
        (
            ("x_train", "y_train", "x_test", "y_test"),
            6,
            "samples are 'x_train', targets 'y_train'; held out are 'x_test'",
        ),
        (
            ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
            6,
            "'test_images' and 'test_labels' are left alone",
        ),
        (("X", "Y"), 4, "samples are 'X', targets 'Y'"),
        (("data", "label"), 4, "samples are 'data', targets 'label'"),
        (("arr_0", "arr_1"), 4, "samples are 'arr_0', targets 'arr_1'"),
        (("image", "mask"), 4, "samples are 'image', targets 'mask'"),
    ],
)
def test_usual_names_are_found_and_said(archive, names, held, said):
    arrays = {name: (X, Y, X[:6], Y[:6], X[:5], Y[:5])[place] for place, name in enumerate(names)}
    prepared = data.npz(archive(**arrays)).prepare()
    assert len(prepared.validation) == held
    assert any(said in note for note in prepared.notes)


def test_masks_may_have_names_for_their_classes(archive):
    masks = (np.arange(20 * 6).reshape(20, 2, 3) % 3).astype(np.uint8)
    path = archive(x=X, y=masks)
    prepared = data.npz(path, class_names=["air", "bone", "brain"]).prepare()
    assert prepared.class_names == ("air", "bone", "brain")
    assert (prepared.task, prepared.num_classes) == ("other", 3)
    same = data.arrays(X, masks, class_names=["air", "bone", "brain"]).prepare()
    assert (same.class_names, same.task, same.num_classes) == (prepared.class_names, "other", 3)
    for make in (
        data.npz(path, class_names=["a", "b"]).prepare,
        lambda: data.arrays(X, masks, class_names=["a", "b"]),
    ):
        with pytest.raises(DataError, match="class 2 is out of range; allowed: 0 to 1, one a class name"):
            make()


def test_rows_that_an_array_marks_as_held_out_are_held_out_and_that_is_said(archive):
    marked = np.arange(20) % 4 == 3
    prepared = data.npz(archive(image=X, mask=Y, is_test=marked)).prepare()
    assert np.array_equal(prepared.validation.x, X[marked])
    assert any("held out are the rows that 'is_test' marks" in note for note in prepared.notes)
    numbers = data.npz(archive(image=X, mask=Y, is_test=np.arange(20))).prepare()
    assert len(numbers.validation) == 4  # no flags, so it says nothing of rows
    assert (
        len(data.npz(archive(image=X, mask=Y, is_test=marked), x="image", y="mask").prepare().validation) == 4
    )


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": X, "y": Y[:-1]}, {}, "'x' has 20 rows but 'y' has 19"),
        ({"x": X[:0], "y": Y[:0]}, {}, "'x' has no rows"),
        ({"x": X, "z": Y}, {}, "no array 'y'; it has x, z"),
        ({"x": bad(3, 0, np.inf), "y": Y}, {}, "'x': row 3, position 0 is inf"),
        ({"x": bad(3, 0, 1e300), "y": Y}, {}, "'x': row 3, position 0 is inf"),
        ({"x": np.array(["a"] * 20), "y": Y}, {}, "'x' holds text"),
        ({"x": X, "y": np.array(3)}, {}, "single value"),
        (
            {"x": X, "y": np.array([None] * 20)},
            {},
            "'y' holds Python objects (a pickle, which is never read)",
        ),
        ({"x": X.astype(complex), "y": Y}, {}, "'x' has type complex128"),
        ({"x": X, "y": np.zeros(20, "M8[D]")}, {}, "'y' has type datetime64[D]"),
        ({"x": np.zeros(20, [("a", "f4")]), "y": Y}, {}, "expected numbers or text"),
        ({"x": X, "y": Y, "g": Y[:3]}, {"group": "g"}, "'g' has shape (3,)"),
        ({"x": X, "y": Y, "g": Y * 0}, {"group": "g"}, "one value only"),
        ({"x": X, "y": Y, "m": Y * 0}, {"is_validation": "m"}, "'m' holds out 0 of 20"),
        (
            {"x": X, "y": Y, "m": np.array(["no"] * 20)},
            {"is_validation": "m"},
            "'m' has type <U2; expected 0 and 1",
        ),
        (
            {"x": X, "y": Y, "v": X[:, :1], "w": Y},
            {"validation_x": "v", "validation_y": "w"},
            "samples of (2,)",
        ),
        (
            {"x": X, "y": Y, "v": X, "w": Y[:4]},
            {"validation_x": "v", "validation_y": "w"},
            "different or no rows",
        ),
    ],
)
def test_npz_errors(archive, arrays, options, said):
    with pytest.raises(DataError) as caught:
        data.npz(archive(**arrays), **options).prepare()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def with_header(path, shape, content=b"\0" * 100, kind="<f4", version=b"\1\0"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    y = io.BytesIO()
    np.save(y, Y)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + content)
        file.writestr("y.npy", y.getvalue())
    return path


@pytest.mark.parametrize(
    ("shape", "more", "said"),
    [
        ("(-5, 4)", {}, "claims the shape (-5, 4), which no array has"),
        ("(4294967296, 4294967296)", {}, "its header claims (4294967296, 4294967296) of float32"),
        ("(20, 10**9)", {}, "array 'x' is broken"),
        ("(20, 2)", {}, "160 bytes; there are 100"),
        ("(20, 1)", {}, "80 bytes; there are 100"),
        ("(20, 2.5)", {}, "array 'x' is broken"),
        ("20", {}, "array 'x' is broken"),
        ("(20,)", {"kind": "<U99999999"}, "there are 100"),
        ("(20,)", {"kind": "zz"}, "array 'x' is broken"),
        ("(20,)", {"version": b"\7\0"}, "version 7.0 of the .npy format"),
        ("(20,)", {"kind": "<f4' * 3000 + '"}, "array 'x' is broken"),
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_asked_for(tmp_path, shape, more, said):
    with pytest.raises(DataError) as caught:
        data.npz(with_header(tmp_path / "a.npz", shape, **more)).prepare()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_torn_archive(archive, tmp_path):
    path = archive(x=np.random.default_rng(0).random((500, 20)), y=np.arange(500) % 2)
    content = path.read_bytes()
    (tmp_path / "torn.npz").write_bytes(content[:500])
    with pytest.raises(DataError, match="not a readable"):
        data.npz(tmp_path / "torn.npz").prepare()
    (tmp_path / "flipped.npz").write_bytes(content[:5000] + b"\0" * 2000 + content[7000:])
    with pytest.raises(DataError, match="array 'x' is broken"):
        data.npz(tmp_path / "flipped.npz").prepare()


def test_a_folder_of_npy_files(tmp_path):
    for name, array in {
        "x_train": np.asfortranarray(X),
        "y_train": Y,
        "x_test": X[:3],
        "y_test": Y[:3],
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "._x.npy").write_bytes(b"\0")
    prepared = data.npz(tmp_path).prepare()
    assert np.array_equal(prepared.train.x, X)
    assert len(prepared.validation) == 3
    with pytest.raises(DataError, match=r"one array alone; give the folder"):
        data.npz(tmp_path / "x_train.npy").prepare()
    (tmp_path / "x_test.npy").write_bytes((tmp_path / "x_test.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match="48 bytes; there are 40"):
        data.npz(tmp_path).prepare()
    (tmp_path / "x_test.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="array 'x_test' is broken"):
        data.npz(tmp_path).prepare()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.npy files"):
        data.npz(tmp_path / "empty").prepare()


def test_hdf5(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(readers, "CHUNK_BYTES", 40)
    monkeypatch.setattr("lepton_kit.data.archives.scientific.CHUNK_BYTES", 40)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/features"] = X.astype(">f4")
        file["label"] = np.where(Y, "ja", "né").astype(object)
        file["one"] = 3
        file["away"] = h5py.ExternalLink("other.h5", "/x")
    prepared = data.npz(tmp_path / "a.h5", x="group/features", y="label", validation_split=0).prepare()
    assert np.array_equal(prepared.train.x, X)
    assert prepared.class_names == ("ja", "né")
    with pytest.raises(DataError, match="no array 'away'; it has group/features, label, one"):
        data.npz(tmp_path / "a.h5", x="away", y="label").prepare()
    with pytest.raises(DataError, match="single value"):
        data.npz(tmp_path / "a.h5", x="one", y="label").prepare()
    (tmp_path / "b.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        data.npz(tmp_path / "b.h5").prepare()


def test_matlab_before_and_after_7_3(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    h5py = pytest.importorskip("h5py")
    label = np.array([["yes" if one else "no"] for one in Y], object)
    scipy_io.savemat(tmp_path / "old.mat", {"x": X, "y": Y[:, None] + 1.0, "label": label})
    prepared = data.npz(tmp_path / "old.mat", task="classification", validation_split=0).prepare()
    assert np.array_equal(prepared.train.x, X)
    assert prepared.class_names == ("1", "2")
    assert data.npz(tmp_path / "old.mat", y="label").prepare().class_names == ("no", "yes")
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["x"], file["y"] = np.arange(120.0).reshape(20, 2, 3).T, (Y[:, None] + 1.0).T
    with (tmp_path / "new.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    prepared = data.npz(tmp_path / "new.mat", task="classification", validation_split=0).prepare()
    assert np.array_equal(prepared.train.x, np.arange(120.0).reshape(20, 2, 3))
    (tmp_path / "bad.mat").write_bytes(b"nothing at all")
    with pytest.raises(DataError, match="not a readable MATLAB file"):
        data.npz(tmp_path / "bad.mat").prepare()


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"pip install lepton-kit\[matlab\]"):
        data.npz(tmp_path / "a.mat").prepare()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: data.npz("a.npz", validation_x="v"), "data.validation_y"),
        (lambda: data.npz("a.npz", x=[]), "data.x"),
        (lambda: data.npz("a.npz", x=3), "data.x"),
        (lambda: data.npz("a.npz", scale=(1,)), "data.scale"),
    ],
)
def test_setting_errors(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field

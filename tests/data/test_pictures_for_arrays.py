"""A model that was trained on arrays of bytes takes image files too, bit for bit where they have its form."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.errors import DataError

SLICES = np.random.default_rng(0).integers(0, 256, (6, 7, 5), np.uint8)
MASKS = (SLICES > 99).astype(np.uint8)


def encoder(x=SLICES, **options):
    return preprocessing_of(data.arrays(x, MASKS[: len(x)], **options).prepare())


def test_files_and_pillow_images_become_the_arrays_that_they_hold(tmp_path):
    for place, one in enumerate(SLICES):
        Image.fromarray(one).save(tmp_path / f"{place}.png")
    how, files = encoder(), sorted(tmp_path.glob("*.png"))
    for raw in (files, [str(file) for file in files], tmp_path, [Image.fromarray(one) for one in SLICES]):
        found = how.encode(raw)
        assert np.array_equal(found.x, SLICES)
        assert found.x.dtype == np.uint8
        assert not found.notes
        assert how.count(raw) == 6
    assert how.encode(files[0]).names == (str(files[0]),)
    with_channel = encoder(SLICES[..., None]).encode(files)
    assert np.array_equal(with_channel.x, SLICES[..., None])


def test_another_size_or_colour_is_brought_to_the_form_and_said(tmp_path):
    Image.fromarray(np.repeat(np.repeat(SLICES[0], 2, 0), 2, 1)).convert("RGB").save(tmp_path / "a.png")
    found = encoder().encode(tmp_path / "a.png")
    assert found.x.shape == (1, 7, 5)
    told = " ".join(found.notes)
    assert "not of 7 x 5 pixels" in told
    assert "in colour" in told
    (tmp_path / "b.png").write_bytes(b"broken")
    mixed = encoder().encode([tmp_path / "b.png", tmp_path / "a.png"])
    assert mixed.rows.tolist() == [1]
    assert "not a readable image" in mixed.problems[0]


def test_a_nifti_of_whole_numbers_up_to_255_is_bytes_and_that_is_said(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.rot90(SLICES[0], -1), np.eye(4)), path)
    found = encoder().encode(path)
    assert np.array_equal(found.x[0], SLICES[0])
    assert list(found.notes) == ["whole numbers of 0 to 255, such as a DICOM or NIfTI holds; taken as 8 bits"]
    for values in (SLICES[0] + 0.5, SLICES[0] - 9.0, SLICES[0] * 4.0):
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
        assert "training images had 8 bits a channel" in encoder().encode(path).problems[0]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (SLICES.astype(np.float32), "trained on arrays of float32, whose range no file tells"),
        (SLICES[:, 0], r"trained on arrays of shape \(5,\), so give arrays"),
        (np.repeat(SLICES[..., None], 2, -1), r"trained on arrays of shape \(7, 5, 2\), so give arrays"),
    ],
)
def test_arrays_that_no_file_can_become_are_named(x, said):
    with pytest.raises(DataError, match=said):
        encoder(x).encode("slice.png")


def test_arrays_that_are_scaled_take_other_numbers_too_so_no_file_is_sure():
    with pytest.raises(DataError, match="trained on arrays of float64, whose range no file tells"):
        encoder(scale=(1 / 255, 0.0)).encode("slice.png")


def test_several_inputs_are_named():
    how = preprocessing_of(data.arrays({"a": SLICES, "b": SLICES}, MASKS).prepare())
    with pytest.raises(DataError, match=r"shape \(7, 5\) and \(7, 5\), so give arrays"):
        how.encode(["slice.png"])

"""DICOM and NIfTI files, made here by the libraries that read them."""

import builtins
import gzip
import io

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data.images import decode, medical
from lepton_kit.errors import DataError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


def dicom(pixels, **fields):
    """A DICOM file of one or more frames with the given header fields."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    head = Dataset()
    head.file_meta = FileMetaDataset()
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    head.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    head.SOPClassUID = SecondaryCaptureImageStorage
    head.SOPInstanceUID = head.file_meta.MediaStorageSOPInstanceUID
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    frames = len(pixels) if pixels.ndim == 3 and not colour else 1
    head.Rows, head.Columns = pixels.shape[:2] if frames == 1 else pixels.shape[1:3]
    if frames > 1:
        head.NumberOfFrames = frames
    head.SamplesPerPixel = 3 if colour else 1
    head.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        head.PlanarConfiguration = 0
    head.BitsAllocated = pixels.dtype.itemsize * 8
    head.BitsStored = head.BitsAllocated
    head.HighBit = head.BitsStored - 1
    head.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in fields.items():
        setattr(head, name, value)
    head.PixelData = pixels.tobytes()
    content = io.BytesIO()
    head.save_as(content, enforce_file_format=True)
    return content.getvalue()


def nifti(values, affine=None, **scaling):
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if scaling:
        image.header.set_slope_inter(**scaling)
    return image.to_bytes()


def values(content, volume_slice=None):
    found = decode.decode(io.BytesIO(content), "x", volume_slice)
    assert decode.form_of(io.BytesIO(content), "x", volume_slice) == found.form
    return found.values[..., 0]


STORED = np.arange(-6, 6, dtype=np.int16).reshape(3, 4) * 100


def test_dicom_in_its_unit():
    content = dicom(STORED, RescaleSlope=2, RescaleIntercept=-1024)
    assert decode.format_of(content[:512]) == "DICOM"
    assert np.array_equal(values(content), STORED * 2.0 - 1024)
    assert np.array_equal(values(dicom(STORED)), STORED)


def test_low_values_shown_bright_are_turned_round():
    pixels = np.array([[0, 4095]], np.uint16)
    content = dicom(pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    assert values(content).tolist() == [[4095, 0]]
    content = dicom(np.array([[-5, 4]], np.int16), PhotometricInterpretation="MONOCHROME1")
    assert values(content).tolist() == [[4, -5]]


def test_dicom_in_colour_is_bytes():
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 3), np.uint8)
    found = decode.decode(io.BytesIO(dicom(pixels)), "x")
    assert not found.form.deep
    assert np.array_equal(np.asarray(found.image), pixels)


def test_a_frame_of_several():
    frames = np.arange(40, dtype=np.uint16).reshape(4, 2, 5)
    with pytest.raises(DataError, match=r"x: 4 slices; .*volume_slice='middle' or a number"):
        values(dicom(frames))
    assert np.array_equal(values(dicom(frames), "middle"), frames[2])
    assert np.array_equal(values(dicom(frames), 1), frames[1])
    with pytest.raises(DataError, match="4 slices, so volume_slice=4 is none of them"):
        values(dicom(frames), 4)


def test_nifti_in_its_unit_with_rows_going_down():
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for content in (nifti(stored, slope=0.5, inter=-3), gzip.compress(nifti(stored, slope=0.5, inter=-3))):
        assert np.array_equal(values(content, 1), np.rot90(stored[:, :, 1] * 0.5 - 3))
    assert values(nifti(stored[:, :, :1])).shape == (3, 2)
    assert values(nifti(stored[:, :, 0])).shape == (3, 2)
    with pytest.raises(DataError, match="x: 4 slices"):
        values(nifti(stored))
    with pytest.raises(DataError, match=r"shape \(2, 3, 2, 2\); expected an image or one volume"):
        values(nifti(stored.reshape(2, 3, 2, 2)), 0)


def test_damaged_files_and_bombs_are_named(monkeypatch):
    whole = dicom(STORED)
    for content in (
        whole[:200],
        whole[:-8],
        nifti(STORED.astype(np.int16))[:360],
        b"\x1f\x8b" + b"junk" * 20,
    ):
        with pytest.raises(DataError, match="x: "):
            values(content)
    with pytest.raises(DataError, match="a gzip file without a NIfTI image in it"):
        values(gzip.compress(b"words"))
    with pytest.raises(DataError, match="no finite numbers"):
        values(nifti(np.full((2, 2, 1), np.nan, np.float32)))
    with pytest.raises(DataError, match="colour of uint16; expected 8 bits a channel"):
        values(dicom(np.zeros((3, 4, 3), np.uint16)))
    monkeypatch.setattr(medical, "MAX_BYTES", 10)
    for content in (whole, nifti(STORED), gzip.compress(nifti(STORED))):
        with pytest.raises(DataError, match="512 MiB"):
            values(content)


def test_a_header_that_promises_more_than_there_is():
    content = bytearray(nifti(STORED))
    content[42:48] = np.array([30000, 30000, 1], "<i2").tobytes()
    with pytest.raises(DataError, match="x: "):
        values(bytes(content))


@pytest.mark.parametrize(("library", "content"), [("pydicom", dicom(STORED)), ("nibabel", nifti(STORED))])
def test_a_missing_library_is_named(library, content, monkeypatch):
    plain = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] == library:
            raise ImportError(name)
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=rf"{library}; pip install lepton-kit\[medical\]"):
        values(content)


def test_a_folder_of_scans(tmp_path):
    for label, low in (("ill", 0), ("well", 400)):
        (tmp_path / label).mkdir()
        for i in range(3):
            pixels = (STORED + 600 + low + i).astype(np.uint16)
            (tmp_path / label / f"{i}.dcm").write_bytes(dicom(pixels, RescaleIntercept=-1000, RescaleSlope=1))
        (tmp_path / label / "no_extension").write_bytes(dicom(STORED + 1000))
    prepared = data.image_folder(tmp_path, intensity_range=(-160, 240), validation_split=0).prepare()
    assert prepared.sample_shape == (3, 4, 1)
    assert prepared.train.x.min() == 0.0
    assert len(prepared.train) == 8
    assert "-160 to 240 (intensity_range) became 0 to 255" in prepared.notes[0]
    assert np.array_equal(prepared.preprocessing.encode(tmp_path).x, prepared.train.x)


def test_volumes_with_masks(tmp_path):
    rng = np.random.default_rng(2)
    for i in range(4):
        for kind, volume in (
            ("imagesTr", rng.normal(size=(6, 5, 3))),
            ("labelsTr", rng.integers(0, 3, (6, 5, 3))),
        ):
            (tmp_path / kind).mkdir(exist_ok=True)
            plain = volume.astype(np.float32 if kind == "imagesTr" else np.int16)
            (tmp_path / kind / f"case_{i}.nii.gz").write_bytes(gzip.compress(nifti(plain)))
    prepared = data.image_folder(
        tmp_path, masks="labelsTr", volume_slice="middle", validation_split=0, mask_classes=["a", "b", "c"]
    ).prepare()
    assert prepared.train.x.shape == (4, 5, 6, 1)
    assert prepared.train.y.shape == (4, 5, 6)
    last = nibabel.load(tmp_path / "labelsTr" / "case_3.nii.gz").get_fdata()[:, :, 1]
    assert np.array_equal(prepared.train.y[3], np.rot90(last))

"""DICOM and NIfTI files as arrays in the unit that their header states (optional libraries)."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError, DataError

EXTENSIONS = (".dcm", ".dicom", ".nii", ".nii.gz")
FORMATS = ("DICOM", "NIFTI", "NIFTI.GZ")
MAX_BYTES = 2**29
"""A volume may not unpack to more than 512 MiB."""


def format_of(head: bytes) -> str | None:
    """DICOM, NIFTI, NIFTI.GZ (a gzip file, which among images is taken for one) or None, by the first 348 bytes."""
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIFTI"
    return "NIFTI.GZ" if head.startswith(b"\x1f\x8b") else None


def check_slice(volume_slice: Any) -> None:
    """Raise `ConfigError` for what is none of None, ``middle`` and a whole number of at least 0."""
    whole = isinstance(volume_slice, int) and not isinstance(volume_slice, bool) and volume_slice >= 0
    if volume_slice not in (None, "middle") and not whole:
        raise ConfigError(
            "data.volume_slice", given=volume_slice, rule="None, 'middle' or the number of a slice, from 0"
        )


def read(kind: str, content: bytes, where: str, volume_slice: Any = None) -> np.ndarray:
    """(h, w, 1) float32 in the header's unit (rescale slope and intercept applied), or (h, w, 3) uint8 in colour.

    Of a volume or of several frames the slice ``volume_slice`` along the last axis (DICOM: the frame). Raises
    `DataError` that names the file.
    """
    try:
        values = (
            _dicom(content, where, volume_slice)
            if kind == "DICOM"
            else _nifti(kind, content, where, volume_slice)
        )
    except (DataError, ConfigError):
        raise
    except Exception as failure:  # these libraries raise whatever a damaged header leads to
        raise DataError(f"{where}: not a readable {kind.split('.')[0]} file ({failure})") from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{where}: holds values that are no finite numbers")
    return values


def _place(count: int, where: str, volume_slice: Any) -> int:
    if count == 1:
        return 0
    if volume_slice is None:
        raise DataError(
            f"{where}: {count} slices; an image is one of them: give volume_slice='middle' or a number from 0"
        )
    if volume_slice == "middle":
        return count // 2
    if volume_slice >= count:
        raise DataError(f"{where}: {count} slices, so volume_slice={volume_slice} is none of them")
    return int(volume_slice)


def _dicom(content: bytes, where: str, volume_slice: Any) -> np.ndarray:
    try:
        import pydicom
        from pydicom.pixels.utils import pixel_array
    except ImportError:
        raise DataError(f"{where}: DICOM needs pydicom; pip install lepton-kit[medical]") from None
    header = pydicom.dcmread(io.BytesIO(content))
    rows, columns = int(header.Rows), int(header.Columns)
    frames = int(getattr(header, "NumberOfFrames", 1) or 1)
    if rows * columns * int(header.SamplesPerPixel) * header.BitsAllocated // 8 > MAX_BYTES:
        raise DataError(f"{where}: {rows} x {columns} pixels; more than 512 MiB is not read")
    stored = pixel_array(header, index=_place(frames, where, volume_slice))
    if stored.ndim == 3:
        if stored.dtype != np.uint8:
            raise DataError(f"{where}: colour of {stored.dtype}; expected 8 bits a channel")
        return stored
    values = stored.astype(np.float64)
    if header.PhotometricInterpretation == "MONOCHROME1":  # low values are shown bright
        bits, signed = int(header.BitsStored), int(header.PixelRepresentation)
        values = (-1 if signed else 2**bits - 1) - values
    slope, intercept = (float(getattr(header, name, None) or default) for name, default in RESCALE)
    return (values * slope + intercept).astype(np.float32)[..., None]


RESCALE = (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))


def _nifti(kind: str, content: bytes, where: str, volume_slice: Any) -> np.ndarray:
    try:
        import nibabel
    except ImportError:
        raise DataError(f"{where}: NIfTI needs nibabel; pip install lepton-kit[medical]") from None
    if kind == "NIFTI.GZ":
        content = _unpacked(content, where)
        if format_of(content[:512]) != "NIFTI":
            raise DataError(f"{where}: a gzip file without a NIfTI image in it")
    new = content[4:8] in (b"n+2\0", b"ni2\0")
    image: Any = (nibabel.Nifti2Image if new else nibabel.Nifti1Image).from_bytes(content)
    shape = image.shape + (1,) * (3 - len(image.shape))
    if len(shape) > 3 and any(side != 1 for side in shape[3:]):
        raise DataError(f"{where}: shape {image.shape}; expected an image or one volume")
    if int(np.prod(shape, dtype=np.float64)) * image.get_data_dtype().itemsize > MAX_BYTES:
        raise DataError(f"{where}: shape {image.shape}; more than 512 MiB is not read")
    place = _place(shape[2], where, volume_slice)
    volume = image.dataobj[:, :, place] if len(image.shape) > 2 else np.asarray(image.dataobj)
    # NIfTI stores x first and y upwards; as an image, rows go down.
    return np.rot90(np.asarray(volume, np.float32).reshape(shape[:2])).copy()[..., None]


def _unpacked(content: bytes, where: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            found = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"{where}: not a readable gzip file ({failure})") from None
    if len(found) > MAX_BYTES:
        raise DataError(f"{where}: unpacks to over 512 MiB, which is not read")
    return found

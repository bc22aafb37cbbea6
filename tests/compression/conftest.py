"""Data and small models that the compression tests share."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

_DIGITS = (
    Path(__file__).parents[2] / "data_samples" / "image_recognition" / "digits.zip"
)


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: (x_train, y_train, x_val, y_val), x float32 (N, 8, 8, 1) from 0 to 1."""
    from PIL import Image

    parts = {"train": ([], []), "val": ([], [])}
    with zipfile.ZipFile(_DIGITS) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                _, part, label, _ = name.split("/")
                parts[part][0].append(
                    np.asarray(Image.open(io.BytesIO(archive.read(name))))
                )
                parts[part][1].append(int(label))
    rng = np.random.default_rng(0)
    arrays = []
    for x, y in parts.values():
        order = rng.permutation(len(y))
        images = np.stack(x)[order].astype(np.float32)
        arrays += [images[..., None] / images.max(), np.array(y)[order]]
    return tuple(arrays)

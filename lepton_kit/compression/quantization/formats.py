"""The number formats that a model can be stored in, and the representative dataset that calibration sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lepton_kit.errors import CompressionError


@dataclass(frozen=True)
class Precision:
    """One way to store and run a model's numbers."""

    name: str
    explanation: str
    weight_bits: int
    calibrated: bool = False
    needs_float_file: bool = False
    trained_bits: int | None = None


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("float32", "the trained numbers, in LiteRT", 32),
        Precision(
            "float16",
            "weights stored in half the bits, computed in float32: smaller, not faster on a CPU",
            16,
        ),
        Precision("dynamic_int8", "int8 weights; activations are rounded while running; needs no data", 8),
        Precision(
            "int8", "int8 weights, activations, inputs and outputs; needs a representative dataset", 8, True
        ),
        Precision("int4", "4-bit weights, float activations: smaller, not faster", 4, False, True),
        Precision("mixed", "int8, but the layers that you name stay float", 8, True, True),
        Precision("qat8", "int8, trained with its rounding", 8, trained_bits=8),
        Precision(
            "qat4", "trained with 4-bit weights, run as int8: only the gzip size shrinks", 8, trained_bits=4
        ),
        Precision(
            "qat3", "trained with 3-bit weights, run as int8: only the gzip size shrinks", 8, trained_bits=3
        ),
        Precision(
            "qat2", "trained with 2-bit weights, run as int8: only the gzip size shrinks", 8, trained_bits=2
        ),
    )
}


@dataclass(frozen=True)
class Representative:
    """Which samples of the training split calibrate the activations, and how they were chosen."""

    indices: np.ndarray
    choice: str

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.indices)


def representative(
    labels: np.ndarray | None, samples: int, *, size: int = 200, seed: int = 0
) -> Representative:
    """Choose the representative dataset: the same share of every class, at random within it.

    ``labels`` are class numbers of shape ``(samples,)`` or one-hot ``(samples, classes)``; without them, or with
    labels that are not classes, the choice is uniform.

    >>> chosen = representative(np.repeat([0, 1], 50), 100, size=10)
    >>> np.bincount(np.repeat([0, 1], 50)[chosen.indices])
    array([5, 5])
    """
    if size < 1:
        raise CompressionError(f"calibration size: got {size}; expected at least 1 sample")
    generator = np.random.default_rng(seed)
    classes = _classes(labels)
    size = min(size, samples)
    if classes is None:
        return Representative(
            np.sort(generator.choice(samples, size, replace=False)),
            f"{size} of {samples} training samples, uniformly at random",
        )
    ranks = np.empty(samples, np.float64)
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        ranks[generator.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.argsort(ranks, kind="stable")
    return Representative(
        np.sort(order[:size]), f"{size} of {samples} training samples, the same share of each class"
    )


def _classes(labels: np.ndarray | None) -> np.ndarray | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        result: np.ndarray | None = labels.argmax(-1)
        return result
    labels = labels.reshape(len(labels), -1)
    if labels.shape[1] != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    return labels[:, 0]


def check_precisions(
    names: Sequence[str], *, recurrent: Sequence[str] = (), keep_float: Sequence[str] = ()
) -> None:
    """Raise `CompressionError` for an unknown number format or an impossible combination.

    ``recurrent`` names the layers that cannot be unrolled (their number of time steps is open or large).
    """
    for name in names:
        if name not in PRECISIONS:
            raise CompressionError(f"quantize: got {name!r}; expected one of {', '.join(PRECISIONS)}")
        if PRECISIONS[name].calibrated and recurrent:
            raise CompressionError(
                f"quantize: {name!r} is impossible for the recurrent layer {recurrent[0]!r}, whose time steps cannot "
                "be unrolled; give the input a fixed, short length, or use 'dynamic_int8' or 'float16'"
            )
    if "mixed" in names and not keep_float:
        raise CompressionError("quantize: 'mixed' needs keep_float, the names of the layers that stay float")


def check_calibration(samples: np.ndarray, shape: Sequence[int | None]) -> None:
    """Raise `CompressionError` unless ``samples`` fit an input of ``shape`` (without batch) and are finite."""
    samples = np.asarray(samples)
    wanted = tuple(shape)
    fits = samples.ndim == len(wanted) + 1 and all(
        size is None or size == given for size, given in zip(wanted, samples.shape[1:], strict=True)
    )
    if not fits:
        raise CompressionError(
            f"calibration data: got samples of shape {tuple(samples.shape[1:])}; the model's input is {wanted}"
        )
    if not len(samples):
        raise CompressionError("calibration data: got no samples; expected at least 1")
    if not (np.issubdtype(samples.dtype, np.number) or samples.dtype == bool):
        hint = (
            "; a model that takes text can be 'dynamic_int8' or 'float16'"
            if samples.dtype.kind in "USO"
            else ""
        )
        raise CompressionError(f"calibration data: got {samples.dtype}; expected numbers{hint}")
    if np.issubdtype(samples.dtype, np.floating) and not np.all(np.isfinite(samples)):
        bad = int(np.flatnonzero(~np.isfinite(samples).reshape(len(samples), -1).all(1))[0])
        raise CompressionError(
            f"calibration data: sample {bad} holds NaN or infinity; remove it or fill the gap before calibration"
        )

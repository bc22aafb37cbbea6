"""Whether an exported model answers as the model does: the largest difference, and how large it may be."""

from __future__ import annotations

import numpy as np

from lepton_kit.errors import CompressionError

TOLERANCE = 1e-4  # of the largest output; float32 kernels of two runtimes differ by rounding only

HALF_TOLERANCE = 2e-2  # float16 has 11 bits; sums of a thousand products lose a few of them


def compare(expected: np.ndarray, got: np.ndarray, format: str, tolerance: float = TOLERANCE) -> float:
    """Largest absolute difference. Raises `CompressionError` above the tolerance or for another shape."""
    if got.shape != expected.shape:
        raise CompressionError(
            f"{format}: the exported model answers {got.shape}; the model answers {expected.shape}"
        )
    difference = float(np.abs(got.astype(np.float64) - expected).max())
    if not difference <= allowed(expected, tolerance):
        raise CompressionError(
            f"{format}: the reloaded export differs from the model by {difference:.3g} (at most {allowed(expected, tolerance):.3g}); "
            "it was not kept"
        )
    return difference


def allowed(expected: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """The largest difference of an export that is kept."""
    return tolerance * max(1.0, float(np.abs(expected).max()))

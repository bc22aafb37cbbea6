"""The bundled samples as data sets."""

from __future__ import annotations

from lepton_kit.data.catalog import SAMPLES, samples_folder, spec_of
from lepton_kit.data.dataset import Dataset
from lepton_kit.errors import DataError


def samples() -> dict[str, Dataset]:
    """Every bundled sample that is present, by name."""
    found = {}
    for name in SAMPLES:
        try:
            found[name] = sample(name)
        except DataError:
            continue
    return found


def sample(name: str) -> Dataset:
    """One bundled sample. Raises `DataError` that lists the names, or names the missing file."""
    return Dataset.from_spec(spec_of(name), samples_folder())

"""The bundled samples: small real data sets, one or two for each field, found where the project lies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lepton_kit.data.sources import Dataset, image_folder, npz, table, text, windows
from lepton_kit.errors import DataError

FOLDER = "data_samples"
VARIABLE = "LEPTON_DATA_SAMPLES"

SAMPLES: dict[str, Callable[[Path], Dataset]] = {
    "digits": lambda root: image_folder(root / "image_recognition/digits.zip"),
    "fashion": lambda root: image_folder(root / "image_recognition/fashion_mnist_small.zip"),
    "brain_tissue": lambda root: image_folder(root / "medical_imaging/brain_mri_tissue.zip"),
    "brain_segmentation": lambda root: npz(
        root / "medical_imaging/brain_mri_segmentation.npz", x="image", y="mask", is_validation="is_test"
    ),
    "lidar_collision": lambda root: npz(
        root / "autonomous_driving/highway_lidar_collision.npz", x="lidar", group="episode"
    ),
    "lidar_decision": lambda root: npz(
        root / "autonomous_driving/highway_lidar_decision.npz", x="lidar", group="episode"
    ),
    "credit": lambda root: table(root / "finance_risk/credit_data.csv", target="Status"),
    "german_credit": lambda root: table(root / "finance_risk/german_credit.csv", target="creditability"),
    "intents": lambda root: text(root / "customer_service_nlp/assistant_intents.csv", split="split"),
    "tennessee": lambda root: windows(root / "industrial_automation/tennessee_eastman.npz"),
}


def samples_folder() -> Path:
    """``$LEPTON_DATA_SAMPLES``, else ``data_samples/`` at or above the current folder or beside the package."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise DataError(f"{VARIABLE}={named}: no such folder")
        return Path(named).absolute()
    here = Path.cwd()
    package = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, package):
        if (folder / FOLDER / "image_recognition").is_dir():
            return folder / FOLDER
    raise DataError(
        f"no {FOLDER} folder at or above {here}, nor in {package}; set {VARIABLE} to where it lies"
    )


def samples() -> dict[str, Dataset]:
    """Every bundled sample that is present, by name."""
    root, found = samples_folder(), {}
    for name, make in SAMPLES.items():
        try:
            found[name] = make(root)
        except DataError:
            continue
    return found


def sample(name: str) -> Dataset:
    """One bundled sample. Raises `DataError` that lists the names, or names the missing file."""
    if name not in SAMPLES:
        raise DataError(f"no sample {name!r}; there are {', '.join(SAMPLES)}")
    return SAMPLES[name](samples_folder())

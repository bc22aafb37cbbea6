"""The bundled samples: small real data sets, one or two for each field, found where the project lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lepton_kit.errors import DataError

FOLDER = "data_samples"
VARIABLE = "LEPTON_DATA_SAMPLES"

SAMPLES: dict[str, dict[str, Any]] = {
    "digits": {"kind": "image_folder", "path": "image_recognition/digits.zip"},
    "fashion": {"kind": "image_folder", "path": "image_recognition/fashion_mnist_small.zip"},
    "brain_tissue": {"kind": "image_folder", "path": "medical_imaging/brain_mri_tissue.zip"},
    "brain_segmentation": {
        "kind": "npz",
        "path": "medical_imaging/brain_mri_segmentation.npz",
        "x": "image",
        "y": "mask",
        "is_validation": "is_test",
        "class_names": ["other", "brain"],
    },
    "lidar_collision": {
        "kind": "npz",
        "path": "autonomous_driving/highway_lidar_collision.npz",
        "x": "lidar",
        "group": "episode",
    },
    "lidar_decision": {
        "kind": "npz",
        "path": "autonomous_driving/highway_lidar_decision.npz",
        "x": "lidar",
        "group": "episode",
    },
    "credit": {"kind": "table", "path": "finance_risk/credit_data.csv", "target": "Status"},
    "german_credit": {"kind": "table", "path": "finance_risk/german_credit.csv", "target": "creditability"},
    "intents": {
        "kind": "text",
        "path": "customer_service_nlp/assistant_intents.csv",
        "split": "split",
        "sequence_length": 24,
    },
    "tennessee": {
        "kind": "windows",
        "path": "industrial_automation/tennessee_eastman.npz",
        "validation_stride": 10,
        "validation_start": 160,  # a fault begins there in the test runs
        "normal": "00",
    },
}
"""The spec of each sample, its path counted from the samples' folder."""


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


def spec_of(name: str) -> dict[str, Any]:
    """The spec of a sample. Raises `DataError` that lists the names."""
    if name not in SAMPLES:
        raise DataError(f"no sample {name!r}; there are {', '.join(SAMPLES)}")
    return SAMPLES[name]

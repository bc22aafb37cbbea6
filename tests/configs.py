"""A valid configuration for tests that look at something else in it."""

from __future__ import annotations

from typing import Any

from lepton_kit.config import RunConfig

MODEL = {"kind": "lepton", "input_shape": [28, 28, 1], "num_classes": 10}
DATA = {"kind": "sample", "name": "digits"}


def any_config(**sections: Any) -> RunConfig:
    """The bundled digits and a small model, with these sections or fields in place of the defaults."""
    return RunConfig.from_dict({"model": MODEL, "data": DATA, **sections})

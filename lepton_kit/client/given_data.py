"""The data that a launch is given, as a `Dataset`."""

from __future__ import annotations

from typing import Any

from lepton_kit import data as sources
from lepton_kit.client.options import Asked
from lepton_kit.config import RunSettings
from lepton_kit.data import Dataset
from lepton_kit.data.elements import is_stream
from lepton_kit.data.large.spark_frames import is_spark_frame
from lepton_kit.errors import DataError


def as_dataset(data: Any, asked: Asked | None = None) -> Dataset:
    """A `Dataset` as it is, or one made of what `fit` takes: (x, y), (x, y, sample_weight), x alone, or a stream.

    Of arrays without validation data a fifth is held out, unless ``validation_split`` says otherwise.
    """
    asked = asked or Asked(RunSettings())
    options = dict(asked.data)
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3 or isinstance(data, str | int | float | None):
        shown = f"{len(parts)} parts" if isinstance(data, tuple) else repr(data)
        raise DataError(
            f"data: got {shown}; expected a lepton_kit Dataset, (x, y), (x, y, sample_weight) or x"
        )
    if len(parts) == 3 and options.get("sample_weight") is not None:
        raise DataError("sample_weight: given twice, as an option and in data; give it once")
    x, y, weight = (*parts, None, None)[:3]
    if is_spark_frame(x):
        return _from_spark(x, len(parts), options)
    for name in ("target", "data_folder"):
        if name in options:
            raise DataError(f"{name}: got {options[name]!r}; expected nothing: it is for a Spark DataFrame")
    weight = options.pop("sample_weight", weight)
    if not isinstance(x, Dataset) and not is_stream(x) and options.get("validation_data") is None:
        options.setdefault("validation_split", 0.2)
    training = asked.settings.training
    steps: dict[str, Any] = {"steps_per_epoch": training.steps_per_epoch, "epochs": training.epochs}
    return sources.of(x, y, sample_weight=weight, holdout="random", **steps, **options)


def _from_spark(frame: Any, parts: int, options: dict[str, Any]) -> Dataset:
    target, folder = options.pop("target", None), options.pop("data_folder", None)
    if parts > 1 or not isinstance(target, str):
        raise DataError("data: a Spark DataFrame stands alone, with target='the name of a column'")
    split = options.pop("validation_split", 0.2)
    if options:
        raise DataError(f"{next(iter(options))}: does not go with a Spark DataFrame; put it into a column")
    return sources.from_spark(frame, target=target, folder=folder, validation_split=split)

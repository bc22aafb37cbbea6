"""Sensitivity: what the score loses when a single layer is quantized, and which layers had better stay float."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.compression.quantization.formats import representative
from lepton_kit.compression.quantization.scopes import layer_scopes, operations
from lepton_kit.data.prepared import Split
from lepton_kit.data.structure import items
from lepton_kit.deploy.report import scoring
from lepton_kit.deploy.report.rows import Figure
from lepton_kit.deploy.report.still import KINDS, losses_picture, with_picture
from lepton_kit.deploy.report.yardstick import Yardstick, labels_of, load_outputs, own_score, yardstick
from lepton_kit.deploy.splits import store_samples
from lepton_kit.deploy.subject import find_subject
from lepton_kit.drawing import Picture
from lepton_kit.errors import CompressionError
from lepton_kit.processes.isolated import Call, Workshop

FORMATS = ("int8", "int4")


@dataclass(frozen=True)
class LayerLoss:
    """One layer alone in the number format: ``lost`` is the float score minus this one, so above 0 is worse."""

    layer: str
    score: float
    lost: float
    low: float
    high: float
    file_bytes: int


@dataclass(frozen=True)
class Sensitivity:
    """The loss of every layer, the most sensitive one first; measured with LiteRT on held-out samples."""

    precision: str
    metric: str
    held_out: int
    float_score: float
    float_bytes: int
    layers: tuple[LayerLoss, ...]

    def __repr__(self) -> str:
        return f"Sensitivity({self.precision}, {len(self.layers)} layers, {self.metric} on {self.held_out} samples)"

    def table(self) -> Any:
        """A pandas table, one row a layer."""
        import pandas

        rows = [
            {
                "layer": one.layer,
                self.metric: one.score,
                "lost": one.lost,
                "lost low": one.low,
                "lost high": one.high,
                "file size (bytes)": one.file_bytes,
            }
            for one in self.layers
        ]
        return pandas.DataFrame.from_records(rows).set_index("layer")

    def figure(self) -> Any:
        """A plotly bar a layer with the 95 % interval of its loss."""
        import plotly.graph_objects as go

        from lepton_kit.deploy.report.show import neutral

        figure = go.Figure()
        figure.add_bar(
            x=[one.layer for one in self.layers],
            y=[one.lost for one in self.layers],
            error_y={
                "type": "data",
                "array": [one.high - one.lost for one in self.layers],
                "arrayminus": [one.lost - one.low for one in self.layers],
            },
            marker={"color": KINDS["variant"]},
            name="lost",
        )
        figure.update_xaxes(title=f"only this layer in {self.precision}")
        figure.update_yaxes(title=f"{self.metric} lost, measured on {self.held_out} samples")
        return with_picture(neutral(figure), self.picture())

    def picture(self) -> Picture | None:
        """`figure` as a still picture that needs no JavaScript, with its words; None without layers."""
        if not self.layers:
            return None
        names = [one.layer for one in self.layers]
        lost = [Figure(one.lost, "measured", one.low, one.high) for one in self.layers]
        return losses_picture(names, lost, self.precision, self.metric, self.held_out)

    def worst(self, count: int = 1) -> tuple[str, ...]:
        """The names of the layers that lose most; what ``keep_float`` of `compress` may hold."""
        return tuple(one.layer for one in self.layers[:count] if one.lost > 0)


def sensitivity(
    model: Any,
    data: Any = None,
    *,
    precision: str = "int8",
    metric: str = "auto",
    calibration_size: int = 200,
    seed: int = 0,
    call: Call | None = None,
) -> Sensitivity:
    """Quantize one layer at a time and measure what the score loses.

    ``model``, ``data`` and ``metric`` are what `compress` takes. ``int8`` rounds the layer's weights and activations, ``int4``
    its weights. Raises `CompressionError` for a model without a layer that can be quantized.
    """
    if precision not in FORMATS:
        raise CompressionError(f"precision: got {precision!r}; expected one of {', '.join(FORMATS)}")
    from lepton_kit.data.prepared import open_folder

    with tempfile.TemporaryDirectory(prefix="lepton-sensitivity-") as folder, Workshop() as workshop:
        run = call or workshop
        home = Path(folder)
        model_path, data_path = find_subject(model, data, home)
        prepared = open_folder(data_path)
        held = prepared.validation
        assert held is not None
        yard = yardstick(model_path, prepared, metric)
        chosen = representative(
            labels_of(prepared.train.y), len(prepared.train), size=calibration_size, seed=seed
        )
        inputs = store_samples(held, _made(home / "held"))
        calibration = store_samples(
            Split(prepared.train.take(chosen.indices)[0]), _made(home / "calibration")
        )
        float_file, plain = home / "float32.tflite", home / "plain.keras"
        run("lepton_kit.deploy.report.tune:strip", model=str(model_path), output=str(plain))
        convert(run, plain, "float32", float_file)
        layers = run(
            "lepton_kit.deploy.report.sensitivities:quantizable", model=str(plain), file=str(float_file)
        )
        if not layers:
            raise CompressionError("model: none of its layers has weights that can be quantized")
        found = run(
            "lepton_kit.deploy.report.sensitivities:one_by_one",
            folder=str(home),
            layers=layers,
            precision=precision,
            inputs=inputs,
            calibration=calibration,
        )
        scores = {
            name: _score(run, yard, model_path, held, home / f"{index}.npz")
            for index, name in enumerate(["", *layers])
        }
    return _rank(precision, scores, found)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _score(call: Call, yard: Yardstick, model: Path, held: Split, stored: Path) -> scoring.Score:
    outputs, _ = load_outputs(stored)
    if yard.own is None:
        return yard.score(outputs, held.y, w=held.w)
    files = []
    for place, (key, part) in enumerate(items(held.y)):
        np.save(stored.parent / f"y-{place}.npy", np.asarray(part))
        files.append([key, str(stored.parent / f"y-{place}.npy")])
    return own_score(call, yard.own, str(model), stored, files)


def _rank(precision: str, scores: dict[str, scoring.Score], sizes: dict[str, int]) -> Sensitivity:
    reference = scores[""]
    sign = -1 if reference.higher_is_better else 1
    layers = []
    for name, score in scores.items():
        if name:
            lost, one, other = (sign * (value or 0.0) + 0.0 for value in scoring.difference(score, reference))
            ends = min(one, other), max(one, other)
            layers.append(LayerLoss(name, score.value, lost, ends[0], ends[1], sizes[name]))
    return Sensitivity(
        precision,
        reference.metric,
        reference.samples,
        reference.value,
        sizes[""],
        tuple(sorted(layers, key=lambda one: -one.lost)),
    )


def quantizable(model: str, file: str) -> list[str]:
    """Names of the layers with a kernel that are found in the LiteRT file."""
    from lepton_kit.compression.quantization.convert import load_keras

    every = operations(file)
    found = []
    for layer in load_keras(model).layers:
        if any(len(weight.shape) >= 2 for weight in layer.weights):
            try:
                layer_scopes(every, [layer.name])
            except CompressionError:
                continue
            found.append(layer.name)
    return found


def one_by_one(
    folder: str, layers: list[str], precision: str, inputs: list[list[Any]], calibration: list[list[Any]]
) -> dict[str, int]:
    """Write one file a layer, and its predictions as ``NUMBER.npz`` (0: float); sizes of the files in bytes."""
    from litert_quantizer import quantizer

    from lepton_kit.compression.quantization.convert import calibrate, configure, load_samples
    from lepton_kit.deploy.report.measure import predict_file

    home = Path(folder)
    float_file = str(home / "float32.tflite")
    samples = load_samples(calibration)
    predict_file(float_file, inputs, str(home / "0.npz"))
    sizes = {"": Path(float_file).stat().st_size}
    scopes = layer_scopes(operations(float_file), layers)
    ranges: Any = None
    for index, layer in enumerate(layers, start=1):
        tool = quantizer.Quantizer(float_file)
        configure(tool, precision, scopes[layer])
        if precision != "int4" and ranges is None:
            everything = quantizer.Quantizer(float_file)
            configure(everything, precision, ".*")
            ranges = calibrate(everything, float_file, samples)
        path = home / f"{index}.tflite"
        path.write_bytes(bytes(tool.quantize(ranges).quantized_model))
        sizes[layer] = path.stat().st_size
        predict_file(str(path), inputs, str(home / f"{index}.npz"))
    return sizes

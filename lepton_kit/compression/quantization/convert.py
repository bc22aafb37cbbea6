"""Turns a Keras file into a LiteRT file in one of the number formats; its functions run in a `Workshop`'s children."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.deployable import deployable, structure_of
from lepton_kit.compression.quantization.formats import PRECISIONS, check_calibration, check_precisions
from lepton_kit.compression.quantization.padding import check_masks, filled
from lepton_kit.compression.quantization.scopes import MARK, layer_scopes, mark_layers, operations
from lepton_kit.errors import CompressionError, ModelError
from lepton_kit.processes.isolated import Call, Crash


def convert(
    call: Call,
    model: str | Path,
    precision: str,
    output: str | Path,
    *,
    calibration: str | Path | Sequence[Sequence[Any]] | None = None,
    keep_float: Sequence[str] = (),
    float_file: str | Path | None = None,
) -> dict[str, Any]:
    """Convert in a child process. Returns ``{"notes": [...]}``; raises `CompressionError` that names what failed.

    ``calibration`` is a ``.npy`` file of samples, or several with the name or place of each; ``float_file`` the float32 LiteRT file of the same model, needed
    by 4-bit and mixed formats.
    """
    try:
        result: dict[str, Any] = call(
            "lepton_kit.compression.quantization.convert:convert_file",
            model=str(model),
            precision=precision,
            output=str(output),
            calibration=str(calibration) if isinstance(calibration, Path) else calibration,
            keep_float=list(keep_float),
            float_file=None if float_file is None else str(float_file),
        )
        return result
    except Crash as crash:
        raise CompressionError(
            f"{precision}: the converter was ended by {crash.signal_name} on {Path(model).name}"
            f"{_last_words(crash.tail)}; choose another number format for this model"
        ) from None


def convert_file(
    model: str,
    precision: str,
    output: str,
    calibration: Any = None,
    keep_float: Sequence[str] = (),
    float_file: str | None = None,
) -> dict[str, Any]:
    """Do the conversion in this process; see `convert` for the safe way."""
    check_precisions([precision], keep_float=keep_float)
    if PRECISIONS[precision].needs_float_file:
        if float_file is None:
            raise CompressionError(f"{precision}: needs the float32 LiteRT file of the same model")
        content = _with_quantizer(float_file, precision, calibration, keep_float)
        notes: list[str] = []
    else:
        content, notes = _with_converter(model, precision, calibration)
    temporary = Path(f"{output}.part")
    temporary.write_bytes(content)
    try:
        _try(temporary, precision)
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return {"notes": notes, "bytes": len(content)}


def _try(path: Path, precision: str) -> None:
    """Raise `CompressionError` where LiteRT can't run a file on one sample: the converter doesn't look."""
    from lepton_kit.compression.quantization.litert import LiteRTModel

    model = LiteRTModel(path)
    shapes = [tuple(int(size) for size in one["shape_signature"]) for one in model.inputs.values()]
    if any(-1 in shape[1:] for shape in shapes):
        return  # how large a sample has to be isn't known
    try:
        model.prepare([(max(1, shape[0]), *shape[1:]) for shape in shapes])
    except CompressionError as failure:
        raise CompressionError(
            f"{precision}: LiteRT can't run what the converter made of this model; use 'dynamic_int8' or 'float16' "
            f"({str(failure).split(': ', 2)[-1]})"
        ) from None


# ------------------------------------------------------------------ TensorFlow's converter
def load_keras(path: str | Path) -> Any:
    """The Keras model of a file, with this package's own layers and those stored beside it known.

    Raises `CompressionError`.
    """
    from lepton_kit.compression.quantization import qat_layers  # noqa: F401  registers the layers that the file may hold
    from lepton_kit.models.payload import build

    path = Path(path)
    try:
        return build({"kind": "keras", "path": path.name}, path.absolute().parent, seed=0)
    except ModelError as failure:
        raise CompressionError(str(failure)) from None


def _with_converter(path: str, precision: str, files: Any) -> tuple[bytes, list[str]]:
    import tensorflow as tf

    model = load_keras(path)
    if PRECISIONS[precision].trained_bits:
        return _with_trained_ranges(model, precision)
    ready = deployable(model, lookups=precision == "float32", paired=precision == "int8")
    model = ready.model
    takes = signature_of(model)
    check_precisions([precision], recurrent=ready.looping)
    names = [layer.name for layer in model.layers]
    mark_layers(model)
    archive = archive_of(model, ready.batch, near=precision == "int8")
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            if files is None:
                raise CompressionError("int8: needs a representative dataset; give calibration samples")
            check_masks(model)
            samples = filled(model, _fitting(takes, load_samples(files), model))
            count = len(next(iter(samples.values())))
            converter.representative_dataset = lambda: (
                {
                    name: samples[name][row : row + 1].astype(dtype)
                    for name, (_, dtype) in takes.inputs.items()
                }
                for row in range(count)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if not takes.whole:
                converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        try:
            return converter.convert(), list(ready.notes)
        except Exception as failure:
            raise CompressionError(explain_failure(precision, str(failure), names)) from None


def _fitting(takes: Signature, samples: dict[str, np.ndarray], model: Any) -> dict[str, np.ndarray]:
    """Samples by the names of a signature. Raises `CompressionError` for those that don't fit."""
    if len(takes.inputs) == 1:
        samples = {"x": next(iter(samples.values()))}
    elif set(samples) != set(takes.inputs):  # by place
        samples = dict(zip(takes.inputs, samples.values(), strict=True))
    takes.check(samples)
    return {name: samples[name] for name in takes.inputs}


def _with_trained_ranges(model: Any, precision: str) -> tuple[bytes, list[str]]:
    """A quantization-aware model as int8, and notes; the ranges that it learned take the place of calibration."""
    import tensorflow as tf

    from lepton_kit.compression.quantization import qat

    ready = deployable(model)
    model = ready.model
    names = [layer.name for layer in model.layers]
    mark_layers(model)
    with qat.exporting(model) as serve, tempfile.TemporaryDirectory() as folder:
        archive_of(model, ready.batch, serve).write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if not qat.takes_float(model):
            converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        try:
            return bytes(converter.convert()), list(ready.notes)
        except Exception as failure:
            raise CompressionError(explain_failure(precision, str(failure), names)) from None


@dataclass(frozen=True)
class Signature:
    """The inputs of a model, by name, as a file that is made of it takes them: shape without batch, and type."""

    inputs: dict[str, tuple[tuple[int | None, ...], str]]

    @property
    def whole(self) -> bool:
        """Whether an input takes whole numbers, which are never rounded to int8."""
        return any("int" in dtype or dtype == "bool" for _, dtype in self.inputs.values())

    def check(self, samples: dict[str, np.ndarray]) -> None:
        """Raise `CompressionError` unless calibration samples fit."""
        for name, (shape, _) in self.inputs.items():
            check_calibration(samples[name], shape)


def signature_of(model: Any) -> Signature:
    """The signature of a functional or sequential model; a single input goes by the name ``x``."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise CompressionError(
            f"{model.name}: a subclassed model doesn't say what it takes; build it with keras.Model(inputs, outputs)"
        )
    names = ["x"] if len(tensors) == 1 else [tensor.name for tensor in tensors]
    return Signature(
        {
            name: (tuple(tensor.shape[1:]), str(tensor.dtype))
            for name, tensor in zip(names, tensors, strict=True)
        }
    )


def archive_of(model: Any, batch: int | None = None, serve: Any = None, near: bool = False) -> Any:
    """A Keras archive whose endpoint takes the inputs by name and gives the outputs as a list, in the order of the
    model's description: those that have names by name. from_concrete_functions would write untrained weights.
    ``near``: masks of attention hide in a form that int8 holds."""
    import keras
    import tensorflow as tf

    from lepton_kit.compression.quantization.deploy_layers import one_hot_compares
    from lepton_kit.compression.quantization.near_masks import masks_stay_near

    takes = signature_of(model).inputs
    names = [tensor.name for tensor in model.inputs]

    def call(*given: Any) -> Any:
        parts = dict(zip(names, given, strict=True))
        packed = keras.tree.map_structure(lambda one: parts[one.name], structure_of(model))
        with one_hot_compares(), masks_stay_near() if near else contextlib.nullcontext():
            found = serve(packed) if serve is not None else model(packed, training=False)
        if isinstance(found, dict):
            found = [found[name] for name in sorted(found)]
        return found if not isinstance(found, list | tuple) or len(found) > 1 else found[0]

    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec((batch, *shape), dtype, name=name) for name, (shape, dtype) in takes.items()]
    archive.add_endpoint("serve", call, input_signature=specs)
    return archive


def load_samples(files: str | Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    """Samples from one ``.npy`` file, under the name ``x``, or from several with the name or place of each."""
    if isinstance(files, str):
        return {"x": np.load(files)}
    named: Sequence[Sequence[Any]] = files
    return {str(key): np.load(path) for key, path in named}


def explain_failure(precision: str, text: str, layers: Sequence[str]) -> str:
    """One line for a failed conversion: the operation it refused and, where the text says so, the layer.

    >>> explain_failure(
    ...     "int8",
    ...     "error: 'tf.Betainc' op is neither a custom op nor a flex op ... model/beta_1/Betainc",
    ...     ["beta"],
    ... )
    "int8: the converter does not support the operation tf.Betainc in layer 'beta'; replace it, or keep this model in Keras"
    """
    refused = re.findall(r"'(tf\.[A-Za-z0-9]+)' op", text)
    mark = rf"({re.escape(MARK)})?(_\d+)?"
    named = [layer for layer in layers if re.search(rf"(^|[/\"'; ]){re.escape(layer)}{mark}[/\"';]", text)]
    if not named:  # an operation that Keras keeps as no layer, such as keras.ops.erfinv(x)
        named = [scope.split("/")[-1] for scope in re.findall(r'"([^"@]+)/[^"/@]+@', text)[:1]]
    what = (
        f" the operation {refused[0]}" if refused else f" this model ({text.strip().splitlines()[0][:160]})"
    )
    where = f" in layer {named[0]!r}" if named else ""
    return (
        f"{precision}: the converter does not support{what}{where}; replace it, or keep this model in Keras"
    )


def _last_words(tail: str) -> str:
    lines = [line for line in tail.splitlines() if "error" in line.lower()]
    return f" ({lines[-1].strip()[:160]})" if lines else ""


# ------------------------------------------------------------------ litert-quantizer
def _with_quantizer(float_file: str, precision: str, files: Any, keep_float: Sequence[str]) -> bytes:
    from litert_quantizer import quantizer

    tool = quantizer.Quantizer(float_file)
    configure(tool, precision, ".*")
    scopes = layer_scopes(operations(float_file), keep_float)
    for layer in keep_float:
        tool.update_quantization_recipe(regex=scopes[layer], operation_name="*", algorithm_key="no_quantize")
    ranges = None
    if tool.need_calibration:
        if files is None:
            raise CompressionError(f"{precision}: needs a representative dataset; give calibration samples")
        ranges = calibrate(tool, float_file, load_samples(files))
    return bytes(tool.quantize(ranges).quantized_model)


def configure(tool: Any, precision: str, scope: str) -> None:
    """Have litert-quantizer round what is in a scope to 4 bits (``int4``), or weights and activations to 8."""
    if precision == "int4":
        tool.add_dynamic_config(regex=scope, operation_name="*", num_bits=4)
    else:
        tool.add_static_config(regex=scope, operation_name="*", activation_num_bits=8, weight_num_bits=8)
        tool.add_dynamic_config(regex=scope, operation_name="EMBEDDING_LOOKUP", num_bits=8)


def calibrate(tool: Any, float_file: str, samples: dict[str, np.ndarray]) -> Any:
    """The least and the greatest value of every activation over the samples, as litert-quantizer keeps them.

    Its own ``calibrate`` takes a moving average of the samples' ranges instead, beyond which activations are cut off.
    """
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer.calibrator import CalibrationMode, Calibrator
    from litert_quantizer.recipe_manager import RecipeManager
    from litert_quantizer.utils.qsv_utils import min_max_update

    reader = Interpreter(float_file)
    signature = next(iter(reader.get_signature_list()))
    details = reader.get_signature_runner(signature).get_input_details()
    shapes = {one["name"]: one["shape_signature"] for one in reader.get_input_details()}
    if len(details) == 1:
        samples = {next(iter(details)): next(iter(samples.values()))}
    for name, one in details.items():
        shape = shapes.get(one["name"], one["shape"])[1:]
        check_calibration(samples[name], [None if size == -1 else int(size) for size in shape])
    recipes = RecipeManager()
    recipes.load_quantization_recipe(tool.get_quantization_recipe())
    watcher = Calibrator(
        float_file, mode=CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, qsv_update_func=min_max_update
    )
    inputs = [
        {name: samples[name][row : row + 1].astype(one["dtype"]) for name, one in details.items()}
        for row in range(len(next(iter(samples.values()))))
    ]
    watcher.calibrate({signature: inputs}, recipes)
    return watcher.get_model_qsvs()

"""Turns a Keras file into a LiteRT file in one of the number formats; its functions run in a `Workshop`'s children."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.formats import PRECISIONS, check_calibration, check_precisions
from lepton_kit.compression.quantization.scopes import MARK, layer_scopes, mark_layers, operations
from lepton_kit.errors import CompressionError, ModelError
from lepton_kit.processes.isolated import Call, Crash

UNROLL_STEPS = 64  # longer sequences make the unrolled graph larger than the weights (our choice, 2026-11)


def convert(
    call: Call,
    model: str | Path,
    precision: str,
    output: str | Path,
    *,
    calibration: str | Path | None = None,
    keep_float: Sequence[str] = (),
    float_file: str | Path | None = None,
) -> dict[str, Any]:
    """Convert in a child process. Returns ``{"notes": [...]}``; raises `CompressionError` that names what failed.

    ``calibration`` is a ``.npy`` file of samples; ``float_file`` the float32 LiteRT file of the same model, needed
    by 4-bit and mixed formats.
    """
    try:
        result: dict[str, Any] = call(
            "lepton_kit.compression.quantization.convert:convert_file",
            model=str(model),
            precision=precision,
            output=str(output),
            calibration=None if calibration is None else str(calibration),
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
    calibration: str | None = None,
    keep_float: Sequence[str] = (),
    float_file: str | None = None,
) -> dict[str, Any]:
    """Do the conversion in this process; see `convert` for the safe way."""
    samples = None if calibration is None else np.load(calibration)
    check_precisions([precision], keep_float=keep_float)
    if PRECISIONS[precision].needs_float_file:
        if float_file is None:
            raise CompressionError(f"{precision}: needs the float32 LiteRT file of the same model")
        content = _with_quantizer(float_file, precision, samples, keep_float)
        notes: list[str] = []
    else:
        content, notes = _with_converter(model, precision, samples)
    temporary = f"{output}.part"
    Path(temporary).write_bytes(content)
    os.replace(temporary, output)
    return {"notes": notes, "bytes": len(content)}


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
        raise CompressionError(f"{path.name}: Keras cannot read this model: {failure}") from None


def _with_converter(path: str, precision: str, samples: np.ndarray | None) -> tuple[bytes, list[str]]:
    import keras
    import tensorflow as tf

    model = load_keras(path)
    if PRECISIONS[precision].trained_bits:
        return _with_trained_ranges(model, precision), []
    model, batch, notes, stuck = deployable(model, lookups=precision == "float32")
    shape, dtype = single_input(model)
    check_precisions([precision], recurrent=stuck)
    names = [layer.name for layer in model.layers]
    mark_layers(model)
    archive = (
        keras.export.ExportArchive()
    )  # from_concrete_functions would write untrained weights of a Keras 3 model
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((batch, *shape), dtype, name="x")],
    )
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            if samples is None:
                raise CompressionError("int8: needs a representative dataset; give calibration samples")
            check_calibration(samples, shape)
            converter.representative_dataset = lambda: ([sample[None].astype(dtype)] for sample in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if dtype == "float32":
                converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        try:
            return converter.convert(), notes
        except Exception as failure:
            raise CompressionError(explain_failure(precision, str(failure), names)) from None


def _with_trained_ranges(model: Any, precision: str) -> bytes:
    """A quantization-aware model as int8; the ranges that it learned take the place of calibration."""
    import keras
    import tensorflow as tf

    from lepton_kit.compression.quantization import qat

    shape, dtype = single_input(model)
    names = [layer.name for layer in model.layers]
    mark_layers(model)
    archive = keras.export.ExportArchive()
    archive.track(model)
    with qat.exporting(model) as serve, tempfile.TemporaryDirectory() as folder:
        archive.add_endpoint("serve", serve, input_signature=[tf.TensorSpec((None, *shape), dtype, name="x")])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if not qat.takes_float(model):
            converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        try:
            return bytes(converter.convert())
        except Exception as failure:
            raise CompressionError(explain_failure(precision, str(failure), names)) from None


def deployable(model: Any, *, lookups: bool = False) -> tuple[Any, int | None, list[str], list[str]]:
    """The same function in a form that converts well: (model, fixed batch or None, notes, layers left looping).

    Recurrent layers over a short, known number of time steps are unrolled; with others the batch is fixed at 1.
    Flatten becomes a reshape to a known size, which the runtime can hand to its fast kernels in one piece.
    ``lookups``: embeddings become an operation whose table litert-quantizer can round.
    """
    import keras

    from lepton_kit.compression.quantization.deploy_layers import LookupEmbedding, StaticFlatten

    recurrent = [
        layer for layer in model._flatten_layers() if hasattr(layer, "unroll") and not _wrapped(layer, model)
    ]
    stuck = [layer.name for layer in recurrent if not 0 < _time_steps(layer) <= UNROLL_STEPS]
    unrolled = [layer.name for layer in recurrent if layer.name not in stuck]
    flattens = [
        layer
        for layer in model.layers
        if type(layer) is keras.layers.Flatten and None not in layer.output.shape[1:]
    ]
    embeddings = [
        layer
        for layer in model.layers
        if lookups and type(layer) is keras.layers.Embedding and None not in layer.input.shape[1:]
    ]
    notes = []
    if unrolled:
        notes.append(f"recurrent layers unrolled: {', '.join(unrolled)}")
    if stuck:
        notes.append(f"batch fixed at 1 because these recurrent layers loop: {', '.join(stuck)}")
    if (unrolled or flattens or embeddings) and type(model).__name__ in ("Sequential", "Functional"):

        def clone(layer: Any) -> Any:
            config = layer.get_config()
            if layer in flattens:
                return StaticFlatten(size=int(layer.output.shape[-1]), name=layer.name)
            if layer in embeddings:
                return LookupEmbedding.from_config(config)
            if layer.name in unrolled:
                if "unroll" in config:
                    config["unroll"] = True
                for inner in ("layer", "backward_layer"):
                    if config.get(inner):
                        config[inner]["config"]["unroll"] = True
            return layer.__class__.from_config(config)

        copy = keras.models.clone_model(model, clone_function=clone)
        copy.set_weights(model.get_weights())
        model = copy
    return model, 1 if stuck else None, notes, stuck


def _wrapped(layer: Any, model: Any) -> bool:
    import keras

    wrappers = [other for other in model._flatten_layers() if isinstance(other, keras.layers.Bidirectional)]
    if isinstance(layer, keras.layers.Bidirectional):
        return False
    return any(layer in (wrapper.forward_layer, wrapper.backward_layer) for wrapper in wrappers)


def _time_steps(layer: Any) -> int:
    return int(layer.input.shape[1] or 0)


def single_input(model: Any) -> tuple[tuple[int | None, ...], str]:
    """Shape without batch and dtype of the only input. Raises `CompressionError` for several inputs or outputs."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise CompressionError(
            f"{model.name}: got {len(model.inputs)} inputs and {len(model.outputs)} outputs; compression handles one of each"
        )
    tensor = model.inputs[0]
    return tuple(tensor.shape[1:]), str(tensor.dtype)


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
def _with_quantizer(
    float_file: str, precision: str, samples: np.ndarray | None, keep_float: Sequence[str]
) -> bytes:
    from litert_quantizer import quantizer

    tool = quantizer.Quantizer(float_file)
    configure(tool, precision, ".*")
    scopes = layer_scopes(operations(float_file), keep_float)
    for layer in keep_float:
        tool.update_quantization_recipe(regex=scopes[layer], operation_name="*", algorithm_key="no_quantize")
    ranges = None
    if tool.need_calibration:
        if samples is None:
            raise CompressionError(f"{precision}: needs a representative dataset; give calibration samples")
        ranges = calibrate(tool, float_file, samples)
    return bytes(tool.quantize(ranges).quantized_model)


def configure(tool: Any, precision: str, scope: str) -> None:
    """Have litert-quantizer round what is in a scope to 4 bits (``int4``), or weights and activations to 8."""
    if precision == "int4":
        tool.add_dynamic_config(regex=scope, operation_name="*", num_bits=4)
    else:
        tool.add_static_config(regex=scope, operation_name="*", activation_num_bits=8, weight_num_bits=8)
        tool.add_dynamic_config(regex=scope, operation_name="EMBEDDING_LOOKUP", num_bits=8)


def calibrate(tool: Any, float_file: str, samples: np.ndarray) -> Any:
    """The least and the greatest value of every activation over the samples, as litert-quantizer keeps them.

    Its own ``calibrate`` takes a moving average of the samples' ranges instead, beyond which activations are cut off.
    """
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer.calibrator import CalibrationMode, Calibrator
    from litert_quantizer.recipe_manager import RecipeManager
    from litert_quantizer.utils.qsv_utils import min_max_update

    signature, names = next(iter(Interpreter(float_file).get_signature_list().items()))
    details = Interpreter(float_file).get_input_details()[0]
    check_calibration(samples, [None if size == -1 else int(size) for size in details["shape_signature"][1:]])
    name = names["inputs"][0]
    recipes = RecipeManager()
    recipes.load_quantization_recipe(tool.get_quantization_recipe())
    watcher = Calibrator(
        float_file, mode=CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, qsv_update_func=min_max_update
    )
    inputs = [{name: sample[None].astype(details["dtype"])} for sample in samples]
    watcher.calibrate({signature: inputs}, recipes)
    return watcher.get_model_qsvs()

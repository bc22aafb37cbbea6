"""The FPGA work that needs Keras, hls4ml or alkaid; its functions run in a `Workshop`'s children."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.deploy.fpga_fit import padded
from lepton_kit.errors import CompressionError
from lepton_kit.models.copying import give_weights

TRACE_LIMIT = 30_000  # multiplications; alkaid 0.8 took 26 s for 9,000 in 16 bits on one core (2026-11)
PARALLEL_LIMIT = 4_096  # Vitis HLS refuses to unroll larger arrays (its own limit)
STAGE_DELAY = 5.0  # alkaid's unit of delay per pipeline stage, about 1 ns each on UltraScale+
VENDOR_TOOLS = ("vitis_hls", "vivado_hls")


def bits(precision: str) -> tuple[int, int, bool]:
    """Width, integer bits and sign of ``ap_fixed<W,I>`` or ``ap_ufixed<W,I>``. Raises `CompressionError`.

    >>> bits("ap_fixed<16,6>")
    (16, 6, True)
    """
    match = re.fullmatch(r"ap_(u?)fixed<\s*(\d+)\s*,\s*(-?\d+)\s*>", str(precision))
    if match is None or not 1 <= int(match[2]) <= 64 or not -32 <= int(match[3]) <= int(match[2]):
        raise CompressionError(
            f"precision: got {precision!r}; expected ap_fixed<W,I> with W bits, I of them whole, such as ap_fixed<16,6>"
        )
    return int(match[2]), int(match[3]), not match[1]


def reuse_for(wanted: int, fan_in: int) -> int:
    """The largest reuse factor up to ``wanted`` that divides the products of one output.

    Above kh·kw·cin a parallel convolution of hls4ml 1.3 gives wrong numbers without a word, so no layer gets more.

    >>> reuse_for(8, 9), reuse_for(100, 27), reuse_for(1, 27)
    (3, 27, 1)
    """
    return max(factor for factor in range(1, min(wanted, fan_in) + 1) if fan_in % factor == 0)


def fit_for_fpga(network: Any) -> tuple[Any, float, float, bool, list[str]]:
    """(model, scale, offset, softmax, notes): rescaling of the input and a last softmax are left to the host.

    Of a quantization-aware model the weights stay on their grid; the FPGA's number format rounds the rest.
    hls4ml's softmax answers nearly the same for every class where the sums are large (1.3, seen 2026-11).

    Raises `CompressionError` that names a layer without a form in hls4ml.
    """
    import keras
    from hls4ml.converters.keras_v3._base import registry

    from lepton_kit.compression.quantization import qat

    trained = qat.trained_bits(network)
    if trained is not None:
        network = qat.strip(network)
    if type(network).__name__ not in ("Sequential", "Functional"):
        raise CompressionError(
            f"{network.name}: a subclassed model; the FPGA path needs a sequential or functional one"
        )
    if None in network.inputs[0].shape[1:]:
        raise CompressionError(
            f"{network.name}: takes samples of an open size, {tuple(network.inputs[0].shape[1:])}; a circuit needs one of "
            "known size, so build the model with it"
        )
    for one in getattr(network, "operations", ()):
        if not isinstance(one, keras.Layer):
            raise CompressionError(
                f"operation {one.name!r} ({type(one).__name__}) of the graph has no form in hls4ml; use layers of Keras"
            )
    layers = [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]
    scale, offset, notes = 1.0, 0.0, []
    if trained is not None:
        notes.append(
            f"weights as trained for {trained} bits; activations in the FPGA's format, not as trained"
        )
    first = layers[0] if isinstance(layers[0], keras.layers.Rescaling) else None
    if first is not None:
        scale, offset = float(np.asarray(first.scale)), float(np.asarray(first.offset))
        notes.append(f"{first.name}: done before the FPGA (x * {scale:g} {offset:+g})")
    for layer in layers:
        kind = type(layer)
        known = f"{kind.__module__}.{kind.__name__}" in registry
        plain_norm = isinstance(layer, keras.layers.BatchNormalization)
        if layer is not first and not known and not plain_norm:
            raise CompressionError(
                f"layer {layer.name!r} ({kind.__name__}) has no form in hls4ml; use dense, convolutional, pooling, "
                "recurrent and activation layers, or infer on the CPU"
            )
        if "Pooling" in kind.__name__ and (
            why := padded(kind.__name__, layer.get_config(), layer.input.shape[1:])
        ):
            raise CompressionError(
                f"layer {layer.name!r} ({kind.__name__}) can't be built with hls4ml: {why}"
            )

    last = layers[-1]
    softmax = isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is keras.activations.softmax
    )
    if softmax:
        notes.append(f"{last.name}: its softmax is done after the FPGA")

    def clone(layer: Any) -> Any:
        named = str(layer.name)
        bare = isinstance(layer, keras.layers.Softmax | keras.layers.Activation)
        if layer is first or (softmax and layer is last and bare):
            return keras.layers.Activation("linear", name=named)
        config = layer.get_config()
        if softmax and layer is last:
            config["activation"] = "linear"
        if isinstance(layer, keras.layers.BatchNormalization):
            return keras.layers.BatchNormalization.from_config(config)
        return layer.__class__.from_config(config)

    start = keras.Input(network.inputs[0].shape[1:], name="samples")  # hls4ml reserves the name "input"
    graph = keras.Model(network.inputs[0], network.outputs[0])  # a Sequential would keep its input's name
    copy = keras.models.clone_model(graph, input_tensors=start, clone_function=clone)
    give_weights(copy, network.get_weights())
    return copy, scale, offset, softmax, notes


def emulate(
    model: str,
    folder: str,
    precision: str,
    reuse_factor: int,
    io: str,
    samples: str,
    output: str,
    synthesize: bool = False,
) -> dict[str, Any]:
    """Convert with hls4ml, compile its C++ with g++, run the held-out samples, write what it and Keras say.

    ``output`` gets ``.npz`` arrays ``fpga`` and ``keras``. Returns how it was built, and the vendor's report.
    """
    import hls4ml

    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.deploy.report.measure import keras_predict

    network = load_keras(model)
    bare, scale, offset, softmax, notes = fit_for_fpga(network)
    io_type = choose_io(bare, io)
    config = hls4ml.utils.config_from_keras_model(
        bare,
        granularity="name",
        backend="Vitis",
        default_precision=precision,
        default_reuse_factor=reuse_factor,
    )
    config["Model"]["Strategy"] = "Latency" if reuse_factor == 1 and io_type == "io_parallel" else "Resource"
    used = {}
    for layer in bare.layers:
        if layer.name in config["LayerName"] and fan_in(layer):
            used[layer.name] = reuse_for(reuse_factor, fan_in(layer))
            config["LayerName"][layer.name]["ReuseFactor"] = used[layer.name]
    lowered = {name: factor for name, factor in used.items() if factor != reuse_factor}
    if lowered:
        text = ", ".join(f"{name} {factor}" for name, factor in lowered.items())
        notes.append(f"reuse factor {reuse_factor} lowered where it does not fit: {text}")
    try:
        hls = hls4ml.converters.convert_from_keras_model(
            bare, hls_config=config, output_dir=folder, io_type=io_type, backend="Vitis"
        )
        hls.compile()
    except Exception as failure:
        text = (str(failure).strip() or type(failure).__name__).splitlines()[0]
        raise CompressionError(
            f"hls4ml: {text} (precision {precision}, reuse factor {reuse_factor})"
        ) from None
    x = np.load(samples).astype(np.float32)
    answers = hls.predict(np.ascontiguousarray(x * np.float32(scale) + np.float32(offset)))
    expected = keras_predict(network, x)
    answers = np.asarray(answers).reshape(expected.shape)
    if softmax:
        raised = np.exp(answers - answers.max(-1, keepdims=True))
        answers = raised / raised.sum(-1, keepdims=True)
    np.savez(output, fpga=answers, keras=expected)
    report = vendor_report(hls) if synthesize else None
    return {"io": io_type, "reuse": used, "notes": notes, "vendor": report}


def fan_in(layer: Any) -> int:
    """Products that one output of a dense or convolutional layer sums; 0 for others."""
    kernel = getattr(layer, "kernel", None)
    return int(np.prod(kernel.shape[:-1])) if kernel is not None and len(kernel.shape) >= 2 else 0


def choose_io(network: Any, io: str) -> str:
    """``io_parallel`` for small networks, ``io_stream`` for those whose layers are too large to unroll."""
    if io != "auto":
        return f"io_{io}"
    largest = 0
    for layer in network.layers:
        shapes = [weight.shape for weight in layer.weights] + [layer.output.shape[1:]]
        largest = max(largest, *(int(np.prod([size or 1 for size in shape])) for shape in shapes))
    return "io_parallel" if largest <= PARALLEL_LIMIT else "io_stream"


def vendor_report(hls: Any) -> dict[str, Any] | None:
    """Resources and cycles of the vendor's C synthesis, where its tool is on the PATH."""
    if not any(shutil.which(tool) for tool in VENDOR_TOOLS):
        return None
    found = hls.build(csim=False, synth=True, cosim=False).get("CSynthesisReport", {})
    keys = {"luts": "LUT", "flip_flops": "FF", "dsps": "DSP", "cycles": "BestLatency"}
    return {name: float(found.get(key, found.get(f"{key}48E", "nan"))) for name, key in keys.items()}


# ------------------------------------------------------------------ alkaid
def multiplications(network: Any) -> int:
    """Multiplications of one inference, all of which an unrolled design holds at once."""
    total = 0
    for layer in network.layers:
        if fan_in(layer):
            total += fan_in(layer) * int(np.prod(layer.output.shape[1:]))
    return total


def trace_estimate(
    model: str, folder: str, precision: str, samples: str, output: str, check: bool = False
) -> dict[str, Any]:
    """LUTs, flip-flops and pipeline stages of alkaid's fully unrolled design of the network in ``precision``.

    Weights are rounded to the precision's grid, and so is what every layer passes on; sums inside a layer are exact,
    and a final softmax stays outside. ``output`` gets the design's own answers to the samples (``.npy``), which tell
    whether the figures belong to a design that works. With ``check`` yosys maps the same design and counts its LUTs.
    Raises `CompressionError`.
    """
    from alkaid.codegen import RTLModel
    from alkaid.converter import trace_model
    from alkaid.trace import HWConfig, trace

    from lepton_kit.compression.quantization.convert import load_keras

    width, whole, signed = bits(precision)
    network, scale, offset, *_ = fit_for_fpga(load_keras(model))
    count = multiplications(network)
    if count > TRACE_LIMIT:
        raise CompressionError(
            f"{count:,} multiplications are too many to unroll (at most {TRACE_LIMIT:,}); a smaller network, or one "
            "with channels removed, can be estimated"
        )
    form = (int(signed), whole - signed, width - whole)
    try:
        options = {"hard_dc": 2}
        inputs, outputs = trace_model(on_grid(network, form), HWConfig(1, -1, -1), options, inputs_kif=form)
        logic = trace(inputs, outputs)
        design = RTLModel(logic, folder, "model", flavor="verilog", latency_cutoff=STAGE_DELAY)
    except Exception as failure:
        text = type(failure).__name__  # a KeyError's own text is a number of alkaid's that helps nobody
        if not isinstance(failure, KeyError) and str(failure).strip():
            text = str(failure).strip().splitlines()[0]
        raise CompressionError(f"alkaid cannot trace this model in {precision}: {text}") from None
    x = np.load(samples).astype(np.float32) * np.float32(scale) + np.float32(offset)
    np.save(output, logic.predict(x.reshape(len(x), -1)).reshape(len(x), *network.output.shape[1:]))
    found = {
        "luts": float(logic.cost),
        "flip_flops": float(design.reg_bits),
        "dsps": 0.0,
        "cycles": float(len(design.fsm.logic)),
    }
    if check:
        design.write()
        found["yosys_luts"] = yosys_luts(Path(folder) / "src")
    return found


def on_grid(network: Any, form: tuple[int, int, int]) -> Any:
    """The network with weights and every layer's result on a fixed-point grid, in a form that alkaid traces.

    ``form`` is (sign, whole bits without it, fractional bits). As in ``ap_fixed``, what lies between is cut off and
    what is too large wraps. Without the grid every bit would be kept, and alkaid 0.8 fails above about 48 of them.
    """
    import keras
    from alkaid.converter.builtin.keras.layers._base import ReplayOperationBase

    class Grid(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    class TracedGrid(ReplayOperationBase):
        handles = (Grid,)

        def call(self, inputs: Any) -> Any:
            sign, whole, fraction = form
            return inputs.quantize(sign, whole, fraction, overflow_mode="WRAP", round_mode="TRN")

    copy = keras.models.clone_model(
        network, call_function=lambda layer, *given, **more: Grid()(layer(*given, **more))
    )
    step = 2.0 ** -form[2]
    give_weights(copy, [np.round(weight / step) * step for weight in network.get_weights()])
    return copy


def yosys_luts(sources: Path, timeout: float = 300) -> float:
    """LUT cells after yosys' ``synth_xilinx`` of the Verilog files in a folder. Raises `CompressionError`."""
    files = [str(path.resolve()) for path in sorted(sources.rglob("*.v")) if "wrapper" not in path.name]
    script = f"read_verilog -sv {' '.join(files)}; synth_xilinx -top model -flatten; stat"
    try:
        said = subprocess.run(
            ["yosys", "-p", script], capture_output=True, text=True, timeout=timeout, cwd=sources
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise CompressionError(f"yosys: {failure}") from None
    if said.returncode:
        raise CompressionError(f"yosys: {(said.stderr.strip() or 'failed').splitlines()[-1]}")
    return float(count_luts(said.stdout))


def count_luts(statistics: str) -> int:
    """LUT cells in the last table that yosys' ``stat`` printed.

    >>> count_luts("Number of cells: 9\\n  LUT2   4\\n  LUT6   3\\n  FDRE   2")
    7
    """
    table = statistics[statistics.rfind("Number of cells") :]
    return sum(int(count) for count in re.findall(r"\bLUT[1-6]\s+(\d+)", table))

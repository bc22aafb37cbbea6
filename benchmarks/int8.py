"""Where int8 is faster than float32 in LiteRT, and by how much: the benchmark's network layer by layer, and what could help.

    python benchmarks/int8.py [--calls 2000] [--only WORD …]

Each line is a model of its own with random weights, converted to float32, dynamic int8 and int8, and timed at batch 1 on one thread; all
models take turns. What else runs on a machine only adds time, so the tenth of the repetitions that were quickest counts.
``arithmetic`` leaves out what a call of an empty model takes, which is the same in all formats; it and ``faster`` compare int8 with float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.deploy.report.measure import int8_support
from lepton_kit.errors import CompressionError
from lepton_kit.machine import devices
from lepton_kit.processes.isolated import Workshop

TURN, CALIBRATION = 10, 32
LAYERS = {
    "empty": ((28, 28, 1), []),
    "conv_1, 3 x 3, 1 -> 32": ((28, 28, 1), [("Conv2D", 32, 3)]),
    "conv_1 behind Rescaling": ((28, 28, 1), [("Rescaling", 1 / 255), ("Conv2D", 32, 3)]),
    "conv_1, input padded to 4 channels": ((28, 28, 4), [("Conv2D", 32, 3)]),
    "pool_1, 26 x 26 x 32": ((26, 26, 32), [("MaxPooling2D", 2)]),
    "conv_2, 3 x 3, 32 -> 64": ((13, 13, 32), [("Same", 64, 3)]),
    "conv_3, 3 x 3, 64 -> 128": ((13, 13, 64), [("Conv2D", 128, 3)]),
    "pool_2, 11 x 11 x 128": ((11, 11, 128), [("MaxPooling2D", 2)]),
    "dense, 3200 -> 128": ((3200,), [("Dense", 128)]),
    "logits, 128 -> 10": ((128,), [("Dense", 10)]),
    "thin conv_2, 3 x 3, 8 -> 16": ((13, 13, 8), [("Same", 16, 3)]),
    "thin conv_3, 3 x 3, 16 -> 32": ((13, 13, 16), [("Conv2D", 32, 3)]),
}
"""Name -> (shape of a sample, layers): those of ``benchmarks/compression.py``."""


def network(*channels: int, rescaled: bool = True) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    """The benchmark's network with so many channels in its three convolutions, and so many units."""
    layers: list[tuple[Any, ...]] = [("Rescaling", 1 / 255)] if rescaled else []
    first, second, third, units = channels
    layers += [("Conv2D", first, 3), ("MaxPooling2D", 2), ("Same", second, 3), ("Conv2D", third, 3)]
    layers += [("MaxPooling2D", 2), ("Flatten",), ("Dense", units), ("Dense", 10)]
    return (28, 28, 1), layers


NETWORKS = {
    "network": network(32, 64, 128, 128),
    "network without Rescaling": network(32, 64, 128, 128, rescaled=False),
    "network, half as wide": network(16, 32, 64, 64),
    "network, twice as wide": network(64, 128, 256, 256),
    "network, four times as wide": network(128, 256, 512, 512),
    "thin network, 9 19 37 37": network(9, 19, 37, 37),
    "thin network, 8 16 32 32": network(8, 16, 32, 32),
    "thin network, 7 14 28 28": network(7, 14, 28, 28),
    "thin network, 6 13 26 26": network(6, 13, 26, 26),
    "thin network, 4 16 32 32": network(4, 16, 32, 32),
    "thin network, 4 14 28 28": network(4, 14, 28, 28),
    "thin network, 4 12 24 48": network(4, 12, 24, 48),
    "thin network, 4 16 24 40": network(4, 16, 24, 40),
    "thin network, 4 8 24 48": network(4, 8, 24, 48),
    "thin network, 4 4 4 4": network(4, 4, 4, 4),
}
FORMATS = ("float32", "dynamic_int8", "int8")


def build(shape: list[int], layers: list[list[Any]], output: str) -> int:
    """Write the Keras model of a line; returns its multiplications. Runs in a child."""
    import keras

    keras.utils.set_random_seed(0)
    made, tensor = keras.layers, keras.Input(shape)
    start, work = tensor, 0
    for kind, *given in layers:
        if kind in ("Conv2D", "Same"):
            padding = "same" if kind == "Same" else "valid"
            layer = made.Conv2D(*given, activation="relu", padding=padding)
        elif kind == "Dense":
            layer = made.Dense(*given, activation="relu")
        else:
            layer = getattr(made, kind)(*given)
        tensor = layer(tensor)
        places = int(np.prod(tensor.shape[1:-1])) if kind in ("Conv2D", "Same") else 1
        work += places * int(np.prod(layer.kernel.shape)) if hasattr(layer, "kernel") else 0
    if tensor is start:
        tensor = made.Reshape(shape)(tensor)
    keras.Model(start, tensor).save(output)
    return work


def per_tensor(model: str, output: str, calibration: str) -> None:
    """Write an int8 file whose kernels have one step each, not one a channel. Runs in a child."""
    import keras
    import tensorflow as tf

    network, samples = keras.models.load_model(model), np.load(calibration)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in samples)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel = True
    Path(output).write_bytes(converter.convert())


def runner(path: Path, sample: np.ndarray, xnnpack: bool = True) -> Callable[[], Any]:
    """A call of a file on one sample that is in its numbers already."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kind)
    takes, gives = model.get_input_details()[0], model.get_output_details()[0]
    model.resize_tensor_input(takes["index"], [1, *sample.shape])
    model.allocate_tensors()
    ready = np.ascontiguousarray(sample[None].astype(takes["dtype"]))

    def call() -> Any:
        model.set_tensor(takes["index"], ready)
        model.invoke()
        return model.get_tensor(gives["index"])

    return call


def quickest(runners: dict[Any, Callable[[], Any]], calls: int) -> dict[Any, float]:
    """Microseconds of the quickest call of each; all take turns."""
    found = dict.fromkeys(runners, float("inf"))
    for _ in range(-(-calls // TURN)):
        for key, run in runners.items():
            for _ in range(TURN):
                start = time.perf_counter_ns()
                run()
                found[key] = min(found[key], (time.perf_counter_ns() - start) / 1000)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=2000, help="of each model")
    parser.add_argument(
        "--only", nargs="*", help="beside the network those lines whose name holds one of these words"
    )
    options = parser.parse_args()
    lines = {
        name: line
        for name, line in {**LAYERS, **NETWORKS}.items()
        if name in ("empty", "network") or not options.only or any(word in name for word in options.only)
    }
    print(f"{devices.cpu_name()}, {int8_support()}; batch 1, one thread")
    work: dict[str, int] = {}
    runners: dict[Any, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as folder, Workshop(paths=[Path(__file__).parent]) as workshop:
        home = Path(folder)
        for place, (name, (shape, layers)) in enumerate(lines.items()):
            keras, samples = home / f"{place}.keras", home / f"{place}.npy"
            values = np.random.default_rng(0).random((CALIBRATION, *shape), np.float32)
            np.save(samples, values)
            work[name] = workshop("int8:build", shape=shape, layers=layers, output=str(keras))
            given = values[0] * 100
            for precision in FORMATS:
                file = home / f"{place}-{precision}.tflite"
                convert(workshop, keras, precision, file, calibration=samples)
                runners[name, precision] = runner(file, given)
                if name == "network":
                    runners[f"{name}, LiteRT's own kernels, no XNNPACK", precision] = runner(
                        file, given, xnnpack=False
                    )
            if name == "network":
                one = home / "per-tensor.tflite"
                try:
                    workshop("int8:per_tensor", model=str(keras), output=str(one), calibration=str(samples))
                    runners[f"{name}, one step a kernel", "int8"] = runner(one, given)
                    for kind in FORMATS[:2]:
                        runners[f"{name}, one step a kernel", kind] = runners[name, kind]
                except CompressionError as failure:
                    print(f"one step a kernel: not made: {failure}")
        quick = quickest(runners, options.calls)
    print(
        "| what | million multiplications | float32, us | dynamic int8, us | int8, us | faster | arithmetic |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name in dict.fromkeys(name for name, _ in runners):
        real, dynamic, small = (quick[name, precision] for precision in FORMATS)
        left = [value - quick["empty", key] for key, value in (("float32", real), ("int8", small))]
        alone = f"{left[0] / left[1]:.2f}" if name != "empty" and left[1] > 1 else ""
        count = work.get(name, work.get("network", 0)) / 1e6
        print(
            f"| {name} | {count:.2f} | {real:.1f} | {dynamic:.1f} | {small:.1f} | {real / small:.2f} | {alone} |"
        )


if __name__ == "__main__":
    main()

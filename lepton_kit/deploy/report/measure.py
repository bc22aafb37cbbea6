"""Measures one model or file: predictions, parameters, size, peak memory, time and energy; runs in children."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import Arrays, first, items, joined
from lepton_kit.deploy.report.joules import joules_per_call
from lepton_kit.deploy.runners import flat, in_batches, open_runner
from lepton_kit.errors import CompressionError

COMPARED = 64
"""So many samples are also predicted by the Keras model that a file was made of."""
STILL = 0.05
"""A part of an output varies if it does by more than this share of its own largest number."""
BATCHES = (1, 32)
SLICE_SECONDS = 0.003  # one repetition runs at least this long
GROUP_SECONDS = 0.0003
"""Calls are timed in groups of this length: long for the clock, and short beside the turns that processes take on a core."""
ROUNDS, EXTRA_SECONDS = 4, 20.0
"""Timings that can't be told apart are taken again: so many rounds in all, and none begins after so many seconds."""


# ------------------------------------------------------------------ predictions
def load_inputs(inputs: Sequence[Sequence[Any]], rows: int | None = None) -> Any:
    """Samples from ``.npy`` files, each with its input's name or place, in the form that the model takes."""
    return joined({key: np.load(path, mmap_mode="r")[:rows] for key, path in inputs})


def predict_file(
    path: str,
    inputs: Sequence[Sequence[Any]],
    output: str,
    beside: str | None = None,
    batch: int = 32,
) -> dict[str, Any]:
    """Predict every sample and write all outputs to an ``.npz`` file, of a Keras model with masks also where they count.

    ``beside`` is the Keras file that this one was made of: ``departure`` is then the largest difference between the two
    on the first samples, as a share of the largest output, and ``still`` tells of parts of outputs that don't vary any more.
    """
    x = load_inputs(inputs)
    found = in_batches(open_runner(path), x, batch)
    arrays = {f"output_{place:04}": one for place, one in enumerate(found)}
    if path.endswith(".keras"):
        arrays |= _masks(path, x, batch)
    np.savez(output, **arrays)  # type: ignore[arg-type]  # NumPy's stub
    if beside is None:
        return {}
    few = joined({key: np.asarray(part[:COMPARED]) for key, part in items(x)})
    exact = in_batches(open_runner(beside), few, batch)
    pairs = [(one, other[: len(one)]) for one, other in zip(exact, found, strict=True)]
    return {
        "departure": max(
            float(np.abs(one - other).max() / max(1e-9, np.abs(one).max())) for one, other in pairs
        ),
        "still": [text for place, pair in enumerate(pairs) if (text := still(place, *pair)) is not None],
    }


def still(place: int, exact: np.ndarray, found: np.ndarray) -> str | None:
    """What is lost of an output whose parts along its last axis always answer the same, though the model's vary; or None.

    Probabilities that add up to one are left out: a class that is never likely may well stand still.

    >>> pixels, score = np.arange(0.0, 640.0, 64.0), np.linspace(0.0, 0.9, 10)
    >>> still(0, np.stack([pixels, score], 1), np.stack([pixels, 0 * score], 1))[:53]
    'output 0: 1 of its 2 parts always answers the same in'
    """
    rows, answers = (one.reshape(-1, one.shape[-1] if one.ndim > 1 else 1) for one in (exact, found))
    if np.allclose(rows.sum(-1), 1, atol=1e-3):
        return None
    spread = np.ptp(rows, axis=0)
    lost = (spread > STILL * np.abs(rows).max(0)) & (np.ptp(answers, axis=0) == 0)
    count = int(lost.sum())
    if count == 0:
        return None
    return (
        f"output {place}: {count} of its {len(lost)} parts always answer{'s' * (count == 1)} the same in this file, though the "
        f"model's vary by up to {float(spread[lost].max()):.3g}: they share a number format with parts of up to "
        f"{float(np.abs(rows).max()):.3g}; bring all to one size, or give them an output of their own"
    )


def _masks(path: str, x: Any, batch: int) -> dict[str, np.ndarray]:
    """The masks that come out with the outputs, by which the loss leaves places out; none for most models."""
    import keras

    from lepton_kit.compression.quantization.convert import load_keras

    network = load_keras(path)
    masking = any(
        isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)
        for layer in network._flatten_layers()
    )
    if not masking:
        return {}
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(first(x)), batch):
        piece = joined(
            {key: keras.ops.convert_to_tensor(part[start : start + batch]) for key, part in items(x)}
        )
        outputs = network(list(piece) if isinstance(piece, tuple) else piece, training=False)
        flat = [outputs[name] for name in sorted(outputs)] if isinstance(outputs, dict) else outputs
        for place, one in enumerate(keras.tree.flatten(flat)):
            mask = keras.src.backend.get_keras_mask(one)
            if mask is not None:
                found.setdefault(f"mask_{place:04}", []).append(np.asarray(mask))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def keras_facts(path: str) -> dict[str, Any]:
    """`parameters` of a Keras file."""
    from lepton_kit.compression.quantization.convert import load_keras

    return parameters(load_keras(path))


def file_facts(path: str) -> dict[str, Any]:
    """Numbers that a LiteRT file keeps, those that are not zero, and how many of its kernels are int8."""
    from lepton_kit.compression.quantization.tensors import weights

    found = [(real, kind) for real, kind in weights(path).values() if real.ndim]
    kernels = [kind for real, kind in found if real.ndim >= 2]
    return {
        "parameters": int(sum(real.size for real, _ in found)),
        "nonzero_parameters": int(sum(np.count_nonzero(real) for real, _ in found)),
        "kernels": len(kernels),
        "int8_kernels": sum("int8" in kind or "int4" in kind for kind in kernels),
    }


def keras_predict(model: Any, x: np.ndarray, batch: int = 32) -> np.ndarray:
    """What the model says of every sample, in order; ``predict`` would cost about 50 ms a call."""
    dtype = model.inputs[0].dtype
    parts = [
        np.asarray(model.predict_on_batch(np.asarray(x[start : start + batch]).astype(dtype)))
        for start in range(0, len(x), batch)
    ]
    return np.concatenate(parts)


def parameters(model: Any) -> dict[str, Any]:
    """Counts over all weights, and the share of zeros among those of two or more axes."""
    arrays = [np.asarray(weight) for weight in model.weights]
    kernels = [array for array in arrays if array.ndim >= 2]
    total = sum(array.size for array in kernels)
    return {
        "parameters": int(sum(array.size for array in arrays)),
        "nonzero_parameters": int(sum(np.count_nonzero(array) for array in arrays)),
        "sparsity": 1 - sum(np.count_nonzero(array) for array in kernels) / total if total else 0.0,
    }


# ------------------------------------------------------------------ size and memory
def sizes(path: str | Path) -> dict[str, int]:
    """Bytes of a file as it is and after gzip (level 9, no time stamp)."""
    content = Path(path).read_bytes()
    return {"file_bytes": len(content), "gzip_bytes": len(gzip.compress(content, 9, mtime=0))}


def peak_memory(path: str, inputs: Sequence[Sequence[Any]], batch: int = 32) -> int:
    """Highest resident memory in bytes of this process after it loaded the model and predicted one batch."""
    status = Path("/proc/self/status")
    open_runner(path)(joined({key: np.array(part) for key, part in items(load_inputs(inputs, batch))}))
    value = high_water(status.read_text()) if status.exists() else None
    if value is None:
        raise CompressionError("peak memory: this system does not report it in /proc/self/status")
    return value


def high_water(status: str) -> int | None:
    """Bytes of ``VmHWM`` in the text of ``/proc/self/status``; unlike ru_maxrss it starts anew with a program.

    >>> high_water("VmHWM:     2048 kB")
    2097152
    """
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def int8_support(cpuinfo: str | None = None) -> str:
    """Whether this CPU multiplies int8 numbers with instructions made for it; without them int8 may be slower.

    ``cpuinfo`` is the text of Linux' ``/proc/cpuinfo``.

    >>> int8_support("flags : fma avx2 avx512_vnni")
    'with int8 instructions (avx512_vnni)'
    """
    if cpuinfo is None:
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text() if path.is_file() else ""
    words = set(cpuinfo.split())
    if not words:
        return "int8 instructions unknown"
    found = [name for name in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm") if name in words]
    if found:
        return f"with int8 instructions ({', '.join(found)})"
    return "without int8 instructions (no VNNI or the like), so int8 can be slower than float"


# ------------------------------------------------------------------ time
def time_models(
    models: Sequence[dict[str, str]],
    inputs: Sequence[Sequence[Any]],
    threads: int,
    batches: Sequence[int] = BATCHES,
    repetitions: int = 30,
    energy: bool = False,
    against: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Time all models interleaved: each repetition visits every model, starting at another one.

    With ``against``, the name of one of them, it measures on (`quietest`) while another can't be told from that one at
    the first batch size. ``models`` holds ``{"name", "runtime", "path"}``. Returns name -> batch -> ``{"median", "low", "high"}`` in ms a
    call (quartiles), and with ``energy`` -> ``"energy"``: the fields of `joules_per_call` at batch 1. What is timed
    is setting the input, running, and reading the output; quantising the input beforehand is not.
    """
    x = load_inputs(inputs, max(batches))
    runners = {}
    if any(model["runtime"] == "keras" for model in models):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    for model in models:
        for batch in batches:
            part = joined({key: np.resize(one[:batch], (batch, *one.shape[1:])) for key, one in items(x)})
            make = keras_runner if model["runtime"] == "keras" else litert_runner
            runners[model["name"], batch] = make(model["path"], part, threads)
    reference = None if against is None else (against, batches[0])
    spreads = quietest(lambda: interleave(runners, repetitions), reference if reference in runners else None)
    result: dict[str, dict[str, Any]] = {model["name"]: {} for model in models}
    for (name, batch), spread in spreads.items():
        result[name][str(batch)] = spread
    for model in models if energy else ():
        result[model["name"]]["energy"] = joules_per_call(runners[model["name"], batches[0]])
    return result


Spread = dict[str, float]


def quietest(
    measure_round: Callable[[], dict[Any, list[float]]],
    reference: Any = None,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.monotonic,
) -> dict[Any, Spread]:
    """Median and quartiles in ms of each (name, batch), from the round with the least spread.

    One round is enough unless the middle half of another model at the reference's batch overlaps the reference's own: then
    up to ``rounds`` are measured. What else runs on a machine only adds time, so the quietest round is nearest the truth;
    within a round all models have met the same.
    """
    begun, best, least = clock(), {}, np.inf
    for _ in range(rounds):
        found = {key: _spread(seconds) for key, seconds in measure_round().items()}
        noise = float(np.mean([(one["high"] - one["low"]) / one["median"] for one in found.values()]))
        if noise < least:
            best, least = found, noise
        if reference is None or not overlapping(best, reference) or clock() - begun > EXTRA_SECONDS:
            break
    return best


def overlapping(spreads: dict[Any, Spread], reference: Any) -> list[str]:
    """Names of the models whose middle half of timings shares a point with the reference's, at its batch size.

    >>> two = {("float32", 1): {"low": 1.0, "high": 1.2}, ("int8", 1): {"low": 1.1, "high": 1.4}}
    >>> overlapping(two, ("float32", 1))
    ['int8']
    """
    own = spreads[reference]
    return [
        name
        for (name, batch), one in spreads.items()
        if batch == reference[1]
        and name != reference[0]
        and one["low"] <= own["high"]
        and own["low"] <= one["high"]
    ]


def _spread(seconds: Sequence[float]) -> Spread:
    low, median, high = np.quantile(np.asarray(seconds) * 1000, [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def interleave(
    runners: dict[Any, Callable[[], Any]], repetitions: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Any, list[float]]:
    """Seconds per call, ``repetitions`` of them a runner; the order rotates so that no one always comes first.

    Each is the median of groups of calls: another process that takes the core meanwhile spoils one group, not all.
    """
    names = list(runners)
    plan: dict[Any, tuple[int, int]] = {}
    times: dict[Any, list[float]] = {name: [] for name in names}
    for name in names:
        runners[name]()
        call = max(min(_seconds(runners[name], 1, clock) for _ in range(3)), 1e-9)
        calls = max(1, int(GROUP_SECONDS / call))
        plan[name] = calls, max(1, int(SLICE_SECONDS / (calls * call)))
    for repetition in range(repetitions):
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            calls, groups = plan[name]
            found = [_seconds(runners[name], calls, clock) for _ in range(groups)]
            times[name].append(float(np.median(found)) / calls)
    return times


def _seconds(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return clock() - start


def litert_runner(path: str, part: Arrays, threads: int) -> Callable[[], Any]:
    """A call that runs one batch; a file whose batch is fixed at 1 runs it sample by sample."""
    from lepton_kit.compression.quantization.litert import LiteRTModel

    model = LiteRTModel(path, threads)
    ready = model.quantise(part)
    size = model.fixed_batch
    if 0 < size < len(ready[0]):
        model.prepare([(size, *one.shape[1:]) for one in ready])
        pieces = [[one[i : i + size] for one in ready] for i in range(0, len(ready[0]), size)]
        return lambda: [model.invoke(piece) for piece in pieces]
    model.prepare([one.shape for one in ready])
    return lambda: model.invoke(ready)


def keras_runner(path: str, part: Arrays, threads: int) -> Callable[[], Any]:
    """A call of the compiled graph of a Keras model on one batch."""
    import tensorflow as tf

    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.training.inputs import Inputs

    model = load_keras(path)
    tensors = joined({key: tf.constant(one) for key, one in items(part)})
    given = Inputs(model, (part, None, None)).cast(tensors)
    ready = list(given) if isinstance(given, tuple) else given
    graph = tf.function(lambda x: model(x, training=False))
    return lambda: flat(graph(ready))


def keras_on(
    kind: str, path: str, inputs: Sequence[Sequence[Any]], output: str, repetitions: int
) -> dict[str, Any]:
    """The Keras model where TensorFlow prefers this kind of device (``"GPU"``): outputs to a file, times returned.

    Times are those of `time_models`, with one thread of the host; moving samples there and answers back is part of
    them. Raises `CompressionError` where TensorFlow sees no such device.
    """
    import tensorflow as tf

    found = tf.config.list_physical_devices(kind)
    if not found:
        raise CompressionError(f"TensorFlow {tf.__version__} sees no {kind} here; it needs a build with CUDA")
    # TensorFlow places on its first GPU what it can, unasked.
    model = {"name": "keras", "runtime": "keras", "path": path}
    times = time_models([model], inputs, 1, repetitions=repetitions)
    predict_file(path, inputs, output)
    return times["keras"]

"""Measures one model or file: predictions, parameters, size, peak memory, time and energy; runs in children."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.errors import CompressionError

BATCHES = (1, 32)
SLICE_SECONDS = (
    0.003  # one repetition runs at least this long, so that the clock's resolution does not matter
)
ENERGY_SECONDS = 1.0
ROUNDS, EXTRA_SECONDS = 4, 20.0
"""Timings that can't be told apart are taken again: so many rounds in all, and none begins after so many seconds."""
POWERCAP = Path("/sys/class/powercap")


# ------------------------------------------------------------------ predictions
def predict_file(path: str, runtime: str, samples: str, output: str, batch: int = 32) -> None:
    """Predict every sample of a ``.npy`` file and write the outputs to another; runtime is keras or litert."""
    x = np.load(samples, mmap_mode="r")
    if runtime == "litert":
        from lepton_kit.compression.quantization.litert import LiteRTModel

        np.save(output, LiteRTModel(path).predict(x, batch))
        return
    from lepton_kit.compression.quantization.convert import load_keras

    np.save(output, keras_predict(load_keras(path), x, batch))


def keras_facts(path: str) -> dict[str, Any]:
    """`parameters` of a Keras file."""
    from lepton_kit.compression.quantization.convert import load_keras

    return parameters(load_keras(path))


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


def peak_memory(path: str, runtime: str, samples: str, batch: int = 32) -> int:
    """Highest resident memory in bytes of this process after it loaded the model and predicted one batch."""
    status = Path("/proc/self/status")
    x = np.array(np.load(samples, mmap_mode="r")[:batch])
    if runtime == "litert":
        from lepton_kit.compression.quantization.litert import LiteRTModel

        LiteRTModel(path).predict(x, batch)
    else:
        from lepton_kit.compression.quantization.convert import load_keras

        keras_predict(load_keras(path), x, batch)
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
    samples: str,
    threads: int,
    batches: Sequence[int] = BATCHES,
    repetitions: int = 30,
    energy: bool = False,
    against: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Time all models interleaved: each repetition visits every model, starting at another one.

    With ``against``, the name of one of them, it measures on (`quietest`) while another can't be told from that one at
    the first batch size. ``models`` holds ``{"name", "runtime", "path"}``. Returns name -> batch -> ``{"median", "low", "high"}`` in ms a
    call (quartiles), and with ``energy`` -> ``"joule"`` per sample at batch 1 where the machine tells. What is timed
    is setting the input, running, and reading the output; quantising the input beforehand is not.
    """
    x = np.load(samples, mmap_mode="r")
    runners = {}
    if any(model["runtime"] == "keras" for model in models):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    for model in models:
        for batch in batches:
            part = np.resize(np.asarray(x[: min(batch, len(x))]), (batch, *x.shape[1:]))
            make = keras_runner if model["runtime"] == "keras" else litert_runner
            runners[model["name"], batch] = make(model["path"], part, threads)
    reference = None if against is None else (against, batches[0])
    spreads = quietest(lambda: interleave(runners, repetitions), reference if reference in runners else None)
    result: dict[str, dict[str, Any]] = {model["name"]: {} for model in models}
    for (name, batch), spread in spreads.items():
        result[name][str(batch)] = spread
    counters = energy_counters() if energy else []
    for model in models if counters else ():
        result[model["name"]]["joule"] = joule_per_call(runners[model["name"], batches[0]], counters)
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
    """Seconds per call, ``repetitions`` of them a runner; the order rotates so that no one always comes first."""
    names = list(runners)
    calls: dict[Any, int] = {}
    times: dict[Any, list[float]] = {name: [] for name in names}
    for name in names:
        for _ in range(3):
            runners[name]()
        start = clock()
        runners[name]()
        calls[name] = max(1, int(SLICE_SECONDS / max(clock() - start, 1e-9)))
    for repetition in range(repetitions):
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            run, count = runners[name], calls[name]
            start = clock()
            for _ in range(count):
                run()
            times[name].append((clock() - start) / count)
    return times


def litert_runner(path: str, part: np.ndarray, threads: int) -> Callable[[], Any]:
    """A call that runs one batch; a file whose batch is fixed at 1 runs it sample by sample."""
    from lepton_kit.compression.quantization.litert import LiteRTModel

    model = LiteRTModel(path, threads)
    if 0 < model.fixed_batch < len(part):
        model.prepare(model.fixed_batch)
        pieces = [
            model.quantise(part[i : i + model.fixed_batch]) for i in range(0, len(part), model.fixed_batch)
        ]
        return lambda: [model.invoke(piece) for piece in pieces]
    model.prepare(len(part))
    ready = model.quantise(part)
    return lambda: model.invoke(ready)


def keras_runner(path: str, part: np.ndarray, threads: int) -> Callable[[], Any]:
    """A call of the compiled graph of a Keras model on one batch."""
    import tensorflow as tf

    from lepton_kit.compression.quantization.convert import load_keras

    model = load_keras(path)
    ready = tf.constant(part.astype(model.inputs[0].dtype))
    graph = tf.function(lambda x: model(x, training=False))
    return lambda: graph(ready).numpy()


def keras_on(kind: str, path: str, samples: str, output: str, repetitions: int) -> dict[str, Any]:
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
    times = time_models([model], samples, 1, repetitions=repetitions)
    predict_file(path, "keras", samples, output)
    return times["keras"]


# ------------------------------------------------------------------ energy
def energy_counters(root: Path = POWERCAP) -> list[tuple[Path, float]]:
    """The packages' energy counters (file, where it wraps, in microjoule) that this user may read; Linux powercap."""
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue  # a part of a package, already counted in it
        try:
            int((folder / "energy_uj").read_text())
            found.append((folder / "energy_uj", float((folder / "max_energy_range_uj").read_text())))
        except (OSError, ValueError):
            continue
    return found


def joules(before: Sequence[float], after: Sequence[float], wraps: Sequence[float]) -> float:
    """Energy between two readings in microjoule; a counter that has wrapped once is put right.

    >>> joules([5e6], [2e6], [10e6])
    7.0
    """
    return sum((b - a) % w if b < a else b - a for a, b, w in zip(before, after, wraps, strict=True)) / 1e6


def joule_per_call(run: Callable[[], Any], counters: Sequence[tuple[Path, float]]) -> float:
    """Energy of the whole package for one call, over about a second of calls; idle power is included."""

    def read() -> list[float]:
        return [float(path.read_text()) for path, _ in counters]

    before, calls, end = read(), 0, time.perf_counter() + ENERGY_SECONDS
    while time.perf_counter() < end:
        run()
        calls += 1
    return joules(before, read(), [wrap for _, wrap in counters]) / calls

"""Data larger than memory: training from a file that is 4 times the memory allowed, and reading beside others.

    python benchmarks/data.py [--memory 1.5] [--rounds 3] [--seconds 8] [--only training] [--format arrow]

Two runs with two workers each take turns on the same small convolutional network (64 x 64 inputs, batches of 128): one
has its samples in memory, the other reads a Parquet or an Arrow file of 4 times ``--memory`` GB by row group. All processes of the
second one share a control group of that memory (cgroup v1 or v2, where this user may make one; else each has an
address-space limit on its data). Then reading alone, on one and the same TFRecord file: lepton_kit, tf.data and grain,
shuffled in windows of as many records; and lepton_kit's order by blocks against one of single rows. Printed are ratios,
taken round by round.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BATCH, GROUP = 64, 128, 1024
ROW_BYTES = SIDE * SIDE * 4
RECORDS, WINDOW = 40_000, 4096
GIGA = 2**30


def samples(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random((rows, SIDE * SIDE), np.float32), generator.integers(0, 10, rows).astype(np.int32)


def model() -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    stack = [layers.Reshape((SIDE, SIDE, 1))]
    for filters in (16, 32, 64):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D()]
    return keras.Sequential([keras.Input((SIDE * SIDE,)), *stack, layers.Flatten(), layers.Dense(10)])


def write_rows(path: Path, size: int) -> int:
    """A Parquet or Arrow file of random rows of about ``size`` bytes; returns the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups, writer = size // (GROUP * ROW_BYTES), None
    for number in range(groups):
        x, y = samples(GROUP, number)
        column = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), SIDE * SIDE)
        table = pa.table({"x": column, "y": y})
        if path.suffix == ".arrow":
            writer = writer or pa.ipc.new_file(path, table.schema)
            writer.write_table(table, max_chunksize=GROUP)
        else:
            writer = writer or pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
            writer.write_table(table, row_group_size=GROUP)
    writer.close()
    return groups * GROUP


# ---------------------------------------------------------------------- training within a limit of memory


def limited(limit: int) -> tuple[str, Callable[[], None], Callable[[], None]]:
    """(how memory is limited, what a process does to come under it, what takes the limit away)."""
    name = f"lepton_bench_{os.getpid()}"
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root, name)
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        return "control group", partial(_enter, group / "cgroup.procs"), group.rmdir
    return "RLIMIT_DATA", lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)), lambda: None


def _quietly(act: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        act()


def _enter(path: Path) -> None:
    path.write_text(str(os.getpid()))


def child(path: str, runs: str) -> None:
    """Launch the run that reads by index, from a process that is under the limit."""
    import lepton_kit as lk

    run = launch(lk.data.parquet(path, target="y", features=["x"], validation_split=0), runs)
    print(run.directory, flush=True)
    signal.pause()  # the zygote's client; the parent ends it


def launch(data: Any, runs: str) -> Any:
    import lepton_kit as lk

    options = {"loss": "sparse_categorical_crossentropy", "optimizer": "sgd", "learning_rate": 1e-6}
    return lk.launch(
        model(), data, workers=2, threads=1, batch_size=BATCH, epochs=100, runs_dir=runs, **options
    )


def turn(run: Any, seconds: float) -> float:
    """Samples/s of a run that is otherwise paused."""
    run.resume()
    wait(run, "running")
    time.sleep(1.0)
    first, begin = run.view().step, time.monotonic()
    time.sleep(seconds)
    speed = (run.view().step - first) * BATCH / (time.monotonic() - begin)
    run.pause()
    wait(run, "paused")
    return speed


def wait(run: Any, status: str) -> None:
    deadline = time.monotonic() + 300
    while run.status != status:
        if run.status == "failed" or time.monotonic() > deadline:
            raise SystemExit(f"{run.status}: {run.cause}\n{run.logs()}")
        time.sleep(0.05)


def training(folder: Path, kind: str, limit: int, rounds: int, seconds: float) -> None:
    import lepton_kit as lk

    path = folder / f"rows.{kind}"
    rows = write_rows(path, 4 * limit)
    how, enter, leave = limited(limit)
    atexit.register(_quietly, leave)  # also where something fails on the way
    print(
        f"{rows * ROW_BYTES / GIGA:.1f} GB on disk ({kind}); {how} of {limit / GIGA:.2f} GB for its processes",
        flush=True,
    )
    command = [sys.executable, __file__, "--child", str(path), str(folder / "limited")]
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=enter)
    assert begun.stdout is not None
    by_index = lk.open_run(begun.stdout.readline().strip())
    wait(by_index, "running")
    by_index.pause()
    wait(by_index, "paused")
    in_memory = launch(
        lk.data.arrays(*samples(max(BATCH * 8, rows // 16), 0), validation_split=0), str(folder / "free")
    )
    wait(in_memory, "running")
    in_memory.pause()
    wait(in_memory, "paused")
    ratios = []
    try:
        for one in (in_memory, by_index):
            turn(one, 2 * seconds)  # not counted: the first windows are read, and the graphs are warm
        for _ in range(rounds):
            memory, index = turn(in_memory, seconds), turn(by_index, seconds)
            ratios.append(index / memory)
            print(
                f"  from memory {memory:7.0f} samples/s, by index {index:7.0f}: {index / memory:.3f}",
                flush=True,
            )
        print(f"by index / from memory: median {statistics.median(ratios):.3f}")
        print(f"audit: {lk.audit(by_index)}")
    finally:
        for run in (by_index, in_memory):
            run.stop()
            run.wait(60)
        begun.terminate()
        begun.wait()


# ---------------------------------------------------------------------- reading alone


def write_records(path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for start in range(0, RECORDS, 1000):
            for x, y in zip(*samples(1000, start), strict=True):
                features = {
                    "x": tf.train.Feature(float_list=tf.train.FloatList(value=x)),
                    "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[y])),
                }
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
                )


def by_lepton(path: Path, order: str = "blocks") -> Iterator[int]:
    import lepton_kit as lk
    from lepton_kit.data import sharding

    split = lk.data.tfrecord(path, target="y", validation_split=0).prepare().train
    chosen = split.order if order == "blocks" else None

    def batch(step: int) -> np.ndarray:
        return sharding.batch_of(step, seed=0, samples=len(split), global_batch=BATCH, order=chosen)

    for step in range(len(split) // BATCH - 1):
        rows = batch(step)
        split.prefetch(batch(step + 1))
        x, _, _ = split.rows(rows)
        yield len(x)


def by_tf_data(path: Path) -> Iterator[int]:
    import tensorflow as tf

    form = {"x": tf.io.FixedLenFeature([SIDE * SIDE], tf.float32), "y": tf.io.FixedLenFeature([], tf.int64)}
    data = tf.data.TFRecordDataset(str(path)).shuffle(WINDOW).batch(BATCH)

    @tf.autograph.experimental.do_not_convert
    def parsed(batch: Any) -> Any:
        return tf.io.parse_example(batch, form)

    for batch in data.map(parsed).prefetch(2):
        yield len(batch["x"])


def by_grain(path: Path) -> Iterator[int]:
    import grain

    from lepton_kit.data.large.examples import features_of

    data = grain.experimental.TFRecordIterDataset(str(path)).map(features_of)
    data = grain.experimental.WindowShuffleIterDataset(data, window_size=WINDOW, seed=0)
    for batch in data.batch(BATCH):
        yield len(batch["x"])


def by_rows(path: Path) -> Iterator[int]:
    return by_lepton(path, "rows")


def reading(folder: Path, rounds: int, seconds: float) -> None:
    path = folder / "rows.tfrecord"
    write_records(path)
    contestants: dict[str, Callable[[Path], Iterator[int]]] = {
        "lepton_kit, by blocks": by_lepton,
        "lepton_kit, single rows": by_rows,
        "tf.data": by_tf_data,
        "grain": by_grain,
    }
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, make in contestants.items():
            with contextlib.suppress(ImportError):
                speeds[name].append(_speed(make(path), seconds))
    base = speeds["tf.data"]
    for name, found in speeds.items():
        if found:
            ratio = statistics.median(one / two for one, two in zip(found, base, strict=True))
            print(f"  reading, {name:24s} {ratio:5.2f} x tf.data", flush=True)


def _speed(batches: Iterator[int], seconds: float) -> float:
    next(batches)  # opened, and what is in front of the first batch is done
    rows, begin = 0, time.monotonic()
    for count in batches:
        rows += count
        if time.monotonic() - begin > seconds:
            break
    return rows / (time.monotonic() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=float, default=1.5, help="GB that the processes of the run may use")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=("reading", "training"))
    parser.add_argument("--format", choices=("parquet", "arrow"), default="parquet")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        if asked.only != "training":
            reading(Path(folder), asked.rounds, asked.seconds / 2)
        if asked.only != "reading":
            training(Path(folder), asked.format, int(asked.memory * GIGA), asked.rounds, asked.seconds)


if __name__ == "__main__":
    main()

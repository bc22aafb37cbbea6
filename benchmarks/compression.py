"""Compress a Fashion-MNIST classifier and print what it gained beside what we aim for.

    python benchmarks/compression.py [--epochs 8] [--tune 4] [--only variants|search] [--tfmot /path/to/other/environment/bin/python]

The full data set is used where Debian's package ``dataset-fashion-mnist`` is installed, else the bundled sample. tfmot needs
an environment of its own: ``pip install tensorflow-cpu==2.18.* tf-keras==2.18.* tensorflow-model-optimization``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from lepton_kit.data import arrays, image_folder
from lepton_kit.deploy import ReportCard, compress
from lepton_kit.deploy.subject import prepare, store_data
from lepton_kit.processes.isolated import Workshop

FULL = Path("/usr/share/datasets/fashion-mnist")
SAMPLE = Path(__file__).parents[1] / "data_samples" / "image_recognition" / "fashion_mnist_small.zip"

# Runs in an environment of its own that holds tfmot: prune the same network, print its accuracy and gzip size.
TFMOT = """
import gzip, json, os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np, tensorflow as tf, tensorflow_model_optimization as tfmot, tf_keras as keras
data = np.load(sys.argv[1]); epochs, tune = int(sys.argv[2]), int(sys.argv[3])
keras.utils.set_random_seed(0)
L = keras.layers
x, xv = data["x"] / np.float32(255), data["xv"] / np.float32(255)  # tfmot can't prune a model with Rescaling
model = keras.Sequential([L.Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)), L.MaxPooling2D(),
    L.Conv2D(64, 3, padding="same", activation="relu"), L.Conv2D(128, 3, activation="relu"), L.MaxPooling2D(),
    L.Flatten(), L.Dense(128, activation="relu"), L.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * -(-len(x) // 128))
model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
model.fit(x, data["y"], batch_size=128, epochs=epochs, verbose=0)
float_score = model.evaluate(xv, data["yv"], verbose=0)[1]
end = -(-len(x) // 64) * tune
plan = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 0, end // 2, frequency=max(1, end // 40))
pruned = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=plan)
pruned.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, end)), loss, metrics=["accuracy"])
pruned.fit(x, data["y"], batch_size=64, epochs=tune, verbose=0,
    callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
print(json.dumps({"float": float_score, "sparse-80": pruned.evaluate(xv, data["yv"], verbose=0)[1]}))
"""


def fashion_mnist(limit: int | None) -> tuple[np.ndarray, ...]:
    """(x_train, y_train, x_held, y_held), images uint8 of shape (n, 28, 28, 1)."""
    if not FULL.is_dir():
        data = prepare(image_folder(SAMPLE))
        return data.train.x, data.train.y, data.validation.x, data.validation.y
    found = []
    for part in ("train", "t10k"):
        images = gzip.decompress((FULL / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((FULL / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        found.append(np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)[:limit])
        found.append(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)[:limit])
    return tuple(found)


def train(data: str, output: str, epochs: int) -> None:
    """The float network (504k parameters), trained in a child process."""
    import keras

    from lepton_kit.data.prepared import open_folder

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(32, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(name="pool_1"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_2"),
            layers.Conv2D(128, 3, activation="relu", name="conv_3"),
            layers.MaxPooling2D(name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="dense"),
            layers.Dense(10, name="logits"),
        ]
    )
    split = open_folder(Path(data)).train
    # To the end of a falling rate, so that what is fine-tuned later has no unfinished training to profit from.
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * -(-len(split) // 128))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(np.asarray(split.x), np.asarray(split.y), batch_size=128, epochs=epochs, verbose=0)
    model.save(output)


def fixed_aims(fixed: ReportCard) -> list[tuple[str, str, str, bool]]:
    """(what, aim, measured, reached) for the variants; ratios count against float LiteRT on one thread, batch 1."""
    base, int8, sparse = fixed.reference, fixed["int8"], fixed["sparse-80+float32"]
    drop = -100 * int8.get("difference")
    smaller = base.get("file_bytes") / int8.get("file_bytes")
    faster = base.get("latency_1_one") / int8.get("latency_1_one")
    lost = -100 * sparse.get("difference")
    return [
        ("int8: smaller", "≥ 3.7 ×", f"{smaller:.2f} ×", smaller >= 3.7),
        ("int8: faster", "≥ 4 ×", f"{faster:.2f} ×", faster >= 4),
        ("int8: points lost", "≤ 0.2", f"{drop:+.2f}", drop <= 0.2),
        ("80 % zeros: points lost", "≤ 0.5", f"{lost:+.2f}", lost <= 0.5),
    ]


def search_aims(found: ReportCard) -> list[tuple[str, str, str, bool]]:
    """The same for what the search found; nothing where it found nothing."""
    if found.best is None or found.reference is None:
        return []
    best, base = found[found.best], found.reference
    smaller = base.get("file_bytes") / best.get("file_bytes")
    faster = base.get("latency_1_one") / best.get("latency_1_one")
    lost = -100 * best.get("difference")
    return [
        (f"search ({best.name}): smaller", "≥ 40 ×", f"{smaller:.2f} ×", smaller >= 40),
        (f"search ({best.name}): faster", "≥ 15 ×", f"{faster:.2f} ×", faster >= 15),
        ("search: points lost", "≤ 1", f"{lost:+.2f}", lost <= 1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8, help="of the float network")
    parser.add_argument(
        "--tune", type=int, default=4, help="extra epochs of pruned variants and of the control"
    )
    parser.add_argument("--limit", type=int, help="use only so many images of each split")
    parser.add_argument("--only", choices=("variants", "search"), help="leave the other half out")
    parser.add_argument("--output", type=Path, help="folder that keeps both cards")
    parser.add_argument(
        "--tfmot", help="python of an environment with tensorflow-model-optimization and tf-keras"
    )
    options = parser.parse_args()
    data = fashion_mnist(options.limit)
    print(f"{len(data[0])} images to train on, {len(data[2])} held out")
    with tempfile.TemporaryDirectory() as temporary:
        home = options.output or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        prepared = arrays(data[0], data[1], validation=(data[2], data[3])).prepare()
        model = home / "float.keras"
        if not model.is_file():
            with Workshop(paths=[Path(__file__).parent]) as workshop:
                folder = store_data(prepared, Path(temporary))
                workshop("compression:train", data=str(folder), output=str(model), epochs=options.epochs)
        common = {"fine_tune_epochs": options.tune, "memory": False, "tell": print}
        reached = []
        if options.only != "search":
            formats = ("float16", "dynamic_int8", "int8", "int4")
            fixed = compress(model, prepared, sparsity=0.8, quantize=formats, folder=home / "fixed", **common)
            print(fixed.to_markdown())
            reached += fixed_aims(fixed)
        if options.only != "variants":
            found = compress(
                model,
                prepared,
                max_accuracy_drop=0.01,
                sparsity=0,
                quantize=("dynamic_int8", "int8"),
                folder=home / "search",
                **common,
            )
            print(found.to_markdown())
            reached += search_aims(found)
        print("| what | aim | measured | reached |\n|---|---|---|---|")
        for what, aim, measured, is_reached in reached:
            print(f"| {what} | {aim} | {measured} | {'yes' if is_reached else 'no'} |")
        if options.tfmot:
            np.savez(home / "data.npz", x=data[0], y=data[1], xv=data[2], yv=data[3])
            command = [
                options.tfmot,
                "-c",
                TFMOT,
                str(home / "data.npz"),
                str(options.epochs),
                str(options.tune),
            ]
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode:
                print(f"tfmot: not run: {said.stderr.strip().splitlines()[-1]}")
            else:
                print(f"tfmot, the same network and epochs: {json.loads(said.stdout.splitlines()[-1])}")
        else:
            print("tfmot: not run (give --tfmot the python of an environment that has it)")


if __name__ == "__main__":
    main()

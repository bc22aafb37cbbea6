"""Decode a folder of JPEG files: one by one, in threads and in processes, and as `image_folder` prepares it.

python benchmarks/images.py [--images 20000]

The folder is made by the script. `image_folder` uses all cores, and a line says how far it is and what time is left.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lepton_kit.data import image_folder
from lepton_kit.data.images import decode
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.data.waiting import Waiting
from lepton_kit.machine.devices import usable_cores

SIZE = (128, 128)
PLAIN = ImagePreprocessing(image_size=SIZE, color_mode="rgb")
COMPARED = 2000


def make(folder: Path, images: int) -> list[Path]:
    """Photos of 300 x 400 pixels, some 30 KB each, in five classes."""
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(40):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), np.uint8)).resize((400, 300))
        noisy = np.asarray(coarse).astype(int) + generator.integers(-12, 12, (300, 400, 3))
        content = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=88)
        contents.append(content.getvalue())
    files = [folder / f"class {i % 5}" / f"{i}.jpg" for i in range(images)]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[i % len(contents)])
    return files


def one(file: Path) -> int:
    with file.open("rb") as stream:
        return int(PLAIN.sample(decode.decode(stream, file.name))[0, 0, 0])


def pooled(kind: Callable[[int], Executor], files: Sequence[Path]) -> None:
    with kind(usable_cores()) as pool:
        list(pool.map(one, files, chunksize=50))


def rate(work: Callable[[], object], images: int) -> float:
    """Images a second."""
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


class Watched:
    """The progress line of a launch, which also remembers the share of the work that was done when it first spoke."""

    def __init__(self) -> None:
        self.line, self.first = Waiting("preparing"), 1.0
        self.asked = False

    def __call__(self, done: int, total: int) -> None:
        self.line(done, total)
        if not self.asked:
            self.asked, self.first = True, done / total


def prepared(folder: Path, cache: Path, images: int) -> str:
    """A line on how fast a folder is prepared with all cores, and how early its progress is known."""
    watched = Watched()
    source = image_folder(folder, image_size=SIZE)
    found = rate(lambda: source.prepare(cache, progress=watched), images)
    return (
        f"prepare      {found:6.0f} images/s   ({images:,} images, {images / found:.1f} s with {usable_cores()} cores; first "
        f"progress at {100 * watched.first:.2f} % of the work)"
    )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=20_000)
    count = arguments.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        files = make(Path(name) / "photos", count)
        some = files[:COMPARED]
        processes = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("forkserver"))
        ways = {
            "one by one": lambda: [one(file) for file in some],
            "threads": lambda: pooled(ThreadPoolExecutor, some),
            "processes": lambda: pooled(processes, some),
        }
        best = {way: max(rate(work, len(some)) for _ in range(3)) for way, work in ways.items()}
        print(f"{usable_cores()} cores, load {os.getloadavg()[0]:.1f}; best of 3, {len(some)} images")
        for way, found in best.items():
            print(f"{way:12} {found:6.0f} images/s   {found / best['one by one']:.2f}")
        print(prepared(Path(name) / "photos", Path(name) / "cache", count))


if __name__ == "__main__":
    main()

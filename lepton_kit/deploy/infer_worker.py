"""One inference worker: ``python -m lepton_kit.deploy.infer_worker REQUEST`` loads, says ready, waits, predicts.

It answers in JSON lines on standard output: first ``ready`` with the shape and type of one output, then, once the
parent has written the output's path to standard input, ``done`` with the rows that it wrote.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.deploy.runners import open_runner
from lepton_kit.errors import CompressionError


def main(request: dict[str, Any]) -> None:
    """Work through the rows ``start`` to ``stop`` (exclusive) of the samples, in order, batch by batch."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    samples = np.load(request["samples"], mmap_mode="r")
    predict = loader(request["model"], request["threads"])
    first = predict(np.asarray(samples[: min(request["batch"], len(samples))]))[:1]
    answer(ready=True, shape=list(first.shape[1:]), dtype=first.dtype.str)
    path = sys.stdin.readline().strip()
    if not path:
        return
    started = time.perf_counter()
    output = np.load(path, mmap_mode="r+")
    for start in range(request["start"], request["stop"], request["batch"]):
        stop = min(start + request["batch"], request["stop"])
        output[start:stop] = predict(np.asarray(samples[start:stop]))
    output.flush()
    answer(done=[request["start"], request["stop"]], seconds=time.perf_counter() - started)


def loader(path: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from samples to the only output of a model file of any format. Raises `CompressionError`."""
    run = open_runner(path, threads)

    def predict(part: np.ndarray) -> np.ndarray:
        outputs = run(part)
        if len(outputs) != 1:
            raise CompressionError(f"{path}: got {len(outputs)} outputs; inference handles one")
        return outputs[0]

    return predict


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # last, where a model's own modules may lie
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

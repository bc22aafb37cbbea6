"""One inference worker: ``python -m lepton_kit.deploy.infer_worker REQUEST`` loads, says ready, waits, predicts.

It answers in JSON lines on standard output: first ``ready`` with the shape and type of each output, then, once the
parent has written the outputs' paths to standard input, ``done`` with the rows that it wrote.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import items, joined
from lepton_kit.deploy.runners import open_runner
from lepton_kit.errors import LeptonError
from lepton_kit.processes.isolated import end_with


def main(request: dict[str, Any]) -> None:
    """Work through the rows ``start`` to ``stop`` (exclusive) of the samples, in order, batch by batch."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    samples = joined({key: np.load(path, mmap_mode="r") for key, path in request["inputs"]})
    run = open_runner(request["model"], request["threads"])
    answered = run(_part(samples, 0, request["batch"]))
    answer(ready=True, outputs=[[list(one.shape[1:]), one.dtype.str] for one in answered])
    line = sys.stdin.readline().strip()
    if not line:
        return
    started = time.perf_counter()
    outputs = [np.load(path, mmap_mode="r+") for path in json.loads(line)]
    for start in range(request["start"], request["stop"], request["batch"]):
        stop = min(start + request["batch"], request["stop"])
        for output, found in zip(outputs, run(_part(samples, start, stop)), strict=True):
            output[start:stop] = found
    for output in outputs:
        output.flush()
    answer(done=[request["start"], request["stop"]], seconds=time.perf_counter() - started)


def _part(samples: Any, start: int, stop: int) -> Any:
    return joined({key: np.asarray(part[start:stop]) for key, part in items(samples)})


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # last, where a model's own modules may lie
    end_with(os.getppid())
    try:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except LeptonError as failure:
        sys.exit(str(failure))  # the words alone; the parent tells the last line

"""Inference on a host: takes a model and rows over its standard input, predicts there, and sends the outputs back.

``python -m lepton_kit.deploy.infer_host`` says what it is (a JSON line), reads a header (a JSON line) and the bytes of the
files that it names, and answers with a line and the bytes of each output. It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from lepton_kit.data.structure import joined
from lepton_kit.errors import LeptonError
from lepton_kit.models import trust
from lepton_kit.runtime.hosts.mirror import is_inside
from lepton_kit.runtime.hosts.versions import versions

CHUNK = 1 << 20


def main(reading: IO[bytes], writing: IO[bytes]) -> None:
    """Serve one request."""
    _say(writing, versions=versions())
    line = reading.readline()
    if not line:
        return
    with tempfile.TemporaryDirectory(prefix="lepton-infer-") as folder:
        try:
            outputs = _answered(json.loads(line), reading, Path(folder))
        except (LeptonError, OSError) as failure:
            _say(writing, error=str(failure))
            return
        _say(writing, outputs=[[list(one.shape), one.dtype.str] for one in outputs])
        for one in outputs:
            writing.write(np.ascontiguousarray(one).tobytes())
        writing.flush()


def _answered(header: dict[str, Any], reading: IO[bytes], home: Path) -> list[np.ndarray]:
    from lepton_kit.deploy.inference import infer

    for name, size in header["files"]:
        if not is_inside(name):
            raise LeptonError(f"file {name!r}: its name leaves the folder")
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        with open(home / name, "wb") as file:
            while size:
                data = reading.read(min(size, CHUNK))
                if not data:
                    raise OSError("the connection has closed")
                file.write(data)
                size -= len(data)
    threading.Thread(target=_end_with, args=(reading,), daemon=True).start()
    model = home / header["model"]
    trust.trust(model)  # whoever sent it has looked at it
    samples = joined({key: np.load(home / name, mmap_mode="r") for key, name in header["inputs"]})
    settings = {name: header[name] for name in ("workers", "batch", "threads")}
    found = infer(model, samples, **settings).outputs
    return found if isinstance(found, list) else [found]


def _end_with(reading: IO[bytes]) -> None:
    """Nobody waits for the answer any more once standard input ends."""
    reading.read()
    os._exit(1)


def _say(writing: IO[bytes], **values: Any) -> None:
    writing.write(json.dumps(values).encode() + b"\n")
    writing.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(sys.stdin.buffer, answers)
    os._exit(0)  # a thread waits for the end of standard input

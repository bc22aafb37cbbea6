"""Builds, finds and loads the shared-memory allreduce; without it Horovod's own allreduce is used."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lepton_kit.errors import DeviceError

SOURCE = Path(__file__).with_name("ring.cc")
HEADER = SOURCE.with_suffix(".h")
COMPILER_FLAGS = ("-O3", "-shared", "-fPIC", "-w")
ASK_TENSORFLOW = (
    "from tensorflow import sysconfig as s; print(*s.get_compile_flags(), *s.get_link_flags(), sep='\\n')"
)
HEADER_BYTES = 20480
"""Bytes before the first slot; `lepton_ring_bytes` is the authority, a test compares the two."""
PIECE_BYTES = 16 << 20
"""The largest slot, as `kPieceBytes`."""


def library_path() -> Path:
    """Where the built library lies: outside the checkout, named by all that it depends on."""
    key = "|".join(
        (
            SOURCE.read_text(encoding="utf-8"),
            HEADER.read_text(encoding="utf-8"),
            importlib.metadata.version("tensorflow"),
            platform.machine(),
            platform.libc_ver()[0],
            *COMPILER_FLAGS,
        )
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lepton_kit" / "native" / hashlib.sha256(key.encode()).hexdigest()[:20] / "ring.so"


def available() -> bool:
    """True if the library is built for this TensorFlow and this machine."""
    return sys.platform == "linux" and library_path().is_file()


def build(compiler: str | None = None) -> Path:
    """Compile the library if it is not there yet (about 20 s) and return its path.

    Raises `DeviceError` with the compiler's own words when it fails.
    """
    path = library_path()
    if path.is_file():
        return path
    if sys.platform != "linux":
        raise DeviceError(
            "the shared-memory allreduce needs Linux (futex, memfd); Horovod's own is used here"
        )
    compiler = compiler or os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        raise DeviceError("no C++ compiler (g++ or c++) on PATH; Horovod's own allreduce is used")
    # In a child, because TensorFlow talks on stderr while it loads, whatever it is told.
    told = subprocess.run([sys.executable, "-c", ASK_TENSORFLOW], capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise DeviceError(f"TensorFlow does not load:\n{told.stderr[-2000:]}")

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / "ring.so"
        command = [compiler, *COMPILER_FLAGS, str(SOURCE), "-o", str(target)]
        command += told.stdout.split("\n")[:-1]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise DeviceError(f"the shared-memory allreduce did not compile:\n{result.stderr[-2000:]}")
        os.replace(target, path)
    return path


@functools.cache
def load() -> tuple[Any, ctypes.CDLL]:
    """The TensorFlow operations and the C functions of the library; TensorFlow is loaded with it."""
    import tensorflow as tf

    path = str(library_path())
    operations = tf.load_op_library(path)
    functions = ctypes.CDLL(path)
    functions.lepton_ring_bytes.restype = ctypes.c_size_t
    functions.lepton_ring_bytes.argtypes = (ctypes.c_int, ctypes.c_size_t)
    functions.lepton_ring_open.argtypes = (*[ctypes.c_int] * 3, ctypes.c_size_t, ctypes.c_int)
    functions.lepton_ring_inside.restype = ctypes.c_int64
    return operations, functions

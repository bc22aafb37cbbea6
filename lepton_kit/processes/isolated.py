"""Runs a function of this package in a process of its own, so that a crash or a big library costs only that process.

One *workshop* process imports TensorFlow once and runs no operation. Every call forks it: the child does the work,
answers in JSON and ends. A converter that dies by a signal takes its child with it, nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lepton_kit import errors
from lepton_kit.errors import CompressionError
from lepton_kit.processes.program import begin

Call = Callable[..., Any]  # call("module:function", name=value, …) -> JSON value

PRELOADED = (
    "lepton_kit.compression.quantization.convert",
    "lepton_kit.compression.quantization.litert",
    "lepton_kit.deploy.report.measure",
    "lepton_kit.deploy.report.tune",
    "lepton_kit.models.layers",
    "lepton_kit.models.payload",
)
"""Modules whose functions are called; each that is loaded before a fork is one that no fork has to load."""

FRESH_SECONDS = 1800
PARENT_LOOK_SECONDS = 0.5
_FORKING = threading.Lock()
"""One at a time: a child that inherits another one's end of a pipe keeps it open, and who reads it waits for both."""
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", "CUDA_VISIBLE_DEVICES": "-1"}


class Crash(CompressionError):
    """The process of a call was killed by a signal; ``signal_name`` says which, ``tail`` is what it last wrote."""

    def __init__(self, text: str, signal_name: str = "", tail: str = ""):
        super().__init__(text)
        self.signal_name = signal_name
        self.tail = tail


class Workshop:
    """Calls functions in forked children of one process that has TensorFlow loaded.

    Use as a context manager. It starts with the first call and costs one import of TensorFlow. Arguments and
    results are JSON values; arrays travel as ``.npy`` files.
    """

    def __init__(self, log: str | Path | None = None, paths: Sequence[str | Path] = ()):
        self._log, self._paths = log, paths  # paths: folders whose modules can be called too
        self._process: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()  # calls from several threads come one after the other

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Workshop:
        """Begin to load TensorFlow now, so that the first call waits less."""
        if self._process is None or self._process.poll() is not None:
            with open(self._log or os.devnull, "ab") as stderr:
                self._process = begin(
                    "lepton_kit.processes.isolated",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=child_environment(self._paths),
                    text=True,
                )
        return self

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Run ``"module:function"`` with JSON arguments. Raises what it raised, or `Crash` if a signal ended it."""
        with self._asking:
            answer = self._ask(function, arguments)
        return _unpack(answer)

    def _ask(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"call": function, "arguments": arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = process.wait()
            self._process = None
            raise Crash(f"{function}: the compression process ended with exit code {code} before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process; calling again is harmless."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def child_environment(more: Sequence[str | Path] = ()) -> dict[str, str]:
    """The environment of a child: this one, quiet, and able to import the same lepton_kit."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [
        root,
        *(str(Path(path).resolve()) for path in more),
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    ]
    return {**os.environ, **_QUIET, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def fresh_call(function: str, *, gpus: str = "-1", **arguments: Any) -> Any:
    """Run ``"module:function"`` in a new process into which nothing was loaded; it sees these GPUs, by default none.

    ``gpus`` is what CUDA_VISIBLE_DEVICES shall be. Raises what the function raised, or `Crash`.
    """
    process = begin(
        "lepton_kit.processes.isolated",
        function,
        json.dumps(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**child_environment(), "CUDA_VISIBLE_DEVICES": gpus},
    )
    with process:
        try:
            said, complaints = process.communicate(timeout=FRESH_SECONDS)
        finally:
            process.kill()  # nothing where it has ended
    if process.returncode:
        ended = f"exit code {process.returncode}"
        if process.returncode < 0:
            ended = signal.Signals(-process.returncode).name
        return _unpack({"crash": ended, "function": function, "tail": complaints[-4000:].strip()})
    return _unpack(json.loads(said))


def fork_call(function: str, **arguments: Any) -> Any:
    """Run ``"module:function"`` in a fork of this process, which must not have run a TensorFlow operation."""
    return _unpack(_fork(function, arguments))


def _fork(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    parent = os.getpid()
    with tempfile.TemporaryFile() as said:
        with _FORKING:
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(read)
                _in_child(function, arguments, write, said.fileno(), parent)
            os.close(write)
        with os.fdopen(read, "rb") as stream:
            answer = stream.read()
        _, status = os.waitpid(child, 0)
        size = said.seek(0, os.SEEK_END)
        said.seek(max(0, size - 4000))
        tail = said.read().decode(errors="replace").strip()
    if os.WIFSIGNALED(status):
        return {"crash": signal.Signals(os.WTERMSIG(status)).name, "function": function, "tail": tail}
    if not answer:
        return {"crash": f"exit code {os.WEXITSTATUS(status)}", "function": function, "tail": tail}
    result: dict[str, Any] = json.loads(answer)
    return result


def end_with(parent: int) -> None:
    """Have this process end when ``parent`` does, whatever it is at: nobody waits for its answer any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_LOOK_SECONDS)
        for child in _children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _children(pid: int) -> list[int]:
    """Processes that this one has started and those that they have, as far as /proc tells; the last ones first."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        queue += (mine := parents.get(queue.pop(), []))
        found += mine
    return found[::-1]


def _in_child(function: str, arguments: dict[str, Any], write: int, said: int, parent: int) -> None:
    try:
        end_with(parent)
        os.dup2(said, 1)
        os.dup2(said, 2)
        answer = _answer(function, arguments)
        with os.fdopen(write, "wb") as stream:
            stream.write(json.dumps(answer).encode())
    finally:
        os._exit(0)  # the fork must never return into the parent's code


def _answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        module, name = function.split(":")
        return {"result": getattr(importlib.import_module(module), name)(**arguments)}
    except BaseException as failure:
        return {"error": type(failure).__name__, "text": str(failure), "trace": traceback.format_exc()}


def _unpack(answer: dict[str, Any]) -> Any:
    if "result" in answer:
        return answer["result"]
    if "crash" in answer:
        text = f"{answer['function']}: the process was ended by {answer['crash']}"
        raise Crash(text, signal_name=answer["crash"], tail=answer["tail"])
    kind = getattr(errors, answer["error"], None)
    if isinstance(kind, type) and issubclass(kind, errors.LeptonError) and kind is not errors.ConfigError:
        raise kind(answer["text"])
    surprise = CompressionError(f"{answer['error']}: {answer['text']}")
    surprise.add_note(answer["trace"])
    raise surprise


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    end_with(os.getppid())
    load_tensorflow()
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_fork(request["call"], request["arguments"])) + "\n")
        answers.flush()


def load_tensorflow() -> None:
    """Import TensorFlow and Keras and run nothing, so that forks of this process can."""
    os.environ.update(_QUIET)
    import keras
    import tensorflow as tf

    _ = tf.lite.TFLiteConverter  # loads it now
    for module in PRELOADED:
        importlib.import_module(module)
    tf.get_logger().setLevel("ERROR")
    keras.config.disable_interactive_logging()


def _answer_once(function: str, arguments: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    end_with(os.getppid())
    with answers:
        answers.write(json.dumps(_answer(function, json.loads(arguments))))


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # last, where a model's own modules may lie
    if sys.argv[1:]:
        _answer_once(*sys.argv[1:])
    else:
        _serve()

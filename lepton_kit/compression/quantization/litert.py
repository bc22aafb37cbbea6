"""A LiteRT flatbuffer as a model: arrays in, arrays out, whatever the number format inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import Arrays, form, items
from lepton_kit.errors import CompressionError


class LiteRTModel:
    """Load a ``.tflite`` file; `predict` takes and returns float32 or integer arrays as the Keras model would.

    Integer inputs and outputs of a full-integer model are quantised and dequantised here. The batch is resized to
    what comes; a model whose batch is fixed (a recurrent one that could not be unrolled) is fed in pieces.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = Path(path)
        if not self.path.is_file():
            raise CompressionError(f"{self.path}: no such LiteRT file")
        if threads < 1:
            raise CompressionError(f"threads: got {threads}; expected a whole number of at least 1")
        try:
            self.interpreter = Interpreter(model_path=str(self.path), num_threads=threads)
        except (ValueError, RuntimeError) as failure:
            raise CompressionError(f"{self.path}: not a LiteRT file ({failure})") from None
        self.inputs, self.outputs = self._sides()
        """Name -> what the interpreter knows of each input and output; outputs in the model's order."""
        self.fixed_batch = int(next(iter(self.inputs.values()))["shape_signature"][0])  # -1: any
        self._shapes: list[tuple[int, ...]] | None = None

    def _sides(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """By the names of the file's signature; of a file without one in the order of its tensors."""
        takes, gives = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        signatures = self.interpreter.get_signature_list()
        if not signatures:
            named = ({str(one["name"]): one for one in side} for side in (takes, gives))
            return next(named), next(named)
        runner = self.interpreter.get_signature_runner(next(iter(signatures)))
        sides = []
        for details, known in ((runner.get_input_details(), takes), (runner.get_output_details(), gives)):
            by_index = {one["index"]: one for one in known}
            names = sorted(details, key=lambda name: (len(name), name))
            sides.append({name: by_index.get(details[name]["index"], details[name]) for name in names})
        return sides[0], sides[1]

    def __repr__(self) -> str:
        takes = ", ".join(
            f"{tuple(int(size) for size in one['shape_signature'])} {one['dtype'].__name__}"
            for one in self.inputs.values()
        )
        return f"LiteRTModel({self.path.name}, input {takes})"

    def named(self, x: Arrays) -> dict[str, np.ndarray]:
        """Samples by the names of the inputs, which the file lists in another order than the model. Raises `CompressionError`
        for samples of another number, name or shape."""
        given = items(x)
        wanted = {
            name: tuple(int(size) for size in one["shape_signature"][1:]) for name, one in self.inputs.items()
        }
        if len(given) != len(wanted):
            raise CompressionError(
                f"{self.path.name}: got {form(x)}; the model takes {', '.join(wanted) if len(wanted) > 1 else 'one array'}"
            )
        names = [str(key) for key, _ in given]
        if len(given) > 1 and sorted(names) != sorted(wanted):
            raise CompressionError(
                f"{self.path.name}: got the inputs {', '.join(names)}; the model takes {', '.join(wanted)}"
            )
        parts = {name: np.asarray(part) for name, (_, part) in zip(names, given, strict=True)}
        found = parts if len(given) > 1 else {next(iter(wanted)): next(iter(parts.values()))}
        for name, part in found.items():
            shape = wanted[name]
            if part.ndim != len(shape) + 1 or any(
                w not in (-1, g) for w, g in zip(shape, part.shape[1:], strict=True)
            ):
                raise CompressionError(
                    f"{self.path.name}: got samples of shape {part.shape[1:]}; the input is {shape}"
                )
            if part.dtype.kind in "SU" and np.dtype(self.inputs[name]["dtype"]).kind in "biuf":
                raise CompressionError(
                    f"{self.path.name}: got text ({str(part.flat[0])[:40]!r}); the input takes numbers"
                )
        return {name: found[name] for name in self.inputs}

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Make room for inputs of these shapes, in the order of `inputs`."""
        if list(shapes) == self._shapes:
            return
        try:
            for one, shape in zip(self.inputs.values(), shapes, strict=True):
                self.interpreter.resize_tensor_input(one["index"], list(shape))
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as failure:
            said = " ".join(str(failure).split())[:200]
            raise CompressionError(
                f"{self.path.name}: LiteRT can't run it on {', '.join(map(str, shapes))}: {said}"
            ) from None
        self._shapes = list(shapes)

    def quantise(self, x: Arrays) -> list[np.ndarray]:
        """Samples in the numbers of the model's inputs, in their order."""
        return [quantise(part, self.inputs[name]) for name, part in self.named(x).items()]

    def invoke(self, x: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run one prepared batch that is already in the inputs' numbers; the raw outputs."""
        for one, part in zip(self.inputs.values(), x, strict=True):
            self.interpreter.set_tensor(one["index"], part)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(one["index"]) for one in self.outputs.values()]

    def predict(self, x: Arrays, batch: int = 32) -> Any:
        """Outputs for all samples in order, shape ``(samples, …)``; of several outputs a list of them."""
        ready = self.quantise(x)
        size = self.fixed_batch if self.fixed_batch > 0 else batch
        parts: list[list[np.ndarray]] = []
        for start in range(0, len(ready[0]), size):
            part = [one[start : start + size] for one in ready]
            rows = len(part[0])
            if missing := (size - rows if self.fixed_batch > 0 else 0):
                part = [np.concatenate([one, np.repeat(one[-1:], missing, axis=0)]) for one in part]
            self.prepare([one.shape for one in part])
            made = zip(self.invoke(part), self.outputs.values(), strict=True)
            parts.append([dequantise(one, details)[:rows] for one, details in made])
        if not parts:
            parts = [[np.zeros((0, *one["shape"][1:]), np.float32) for one in self.outputs.values()]]
        found = [np.concatenate(one) for one in zip(*parts, strict=True)]
        return found[0] if len(found) == 1 else found


def quantise(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Real numbers to a tensor's own: round(x / scale + zero point), clipped (Jacob et al. 2018, arXiv:1712.05877).

    >>> quantise(np.array([0.0, 1.0]), {"dtype": np.int8, "quantization": (0.5, -128)})
    array([-128, -126], dtype=int8)
    """
    dtype = np.dtype(details["dtype"])
    scale, zero = details["quantization"]
    if not scale or dtype.kind not in "iu":
        return np.ascontiguousarray(x, dtype=dtype)
    limits = np.iinfo(dtype)
    steps = np.round(np.asarray(x, np.float32) / np.float32(scale)) + zero
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype)


def dequantise(y: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """A tensor's own numbers to real ones: (y - zero point) * scale."""
    scale, zero = details["quantization"]
    if not scale or y.dtype.kind not in "iu":
        return y
    return np.asarray((y.astype(np.float32) - zero) * np.float32(scale))

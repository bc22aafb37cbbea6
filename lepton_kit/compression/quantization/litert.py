"""A LiteRT flatbuffer as a model: arrays in, arrays out, whatever the number format inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise CompressionError(
                f"{self.path}: got {len(inputs)} inputs and {len(outputs)} outputs; expected one of each"
            )
        self.input: dict[str, Any] = inputs[0]
        self.output: dict[str, Any] = outputs[0]
        self.fixed_batch = int(self.input["shape_signature"][0])  # -1: any
        self._batch: int | None = None

    def __repr__(self) -> str:
        return f"LiteRTModel({self.path.name}, input {tuple(self.input['shape_signature'])} {self.input['dtype'].__name__})"

    def prepare(self, batch: int) -> None:
        """Make room for a batch of this size."""
        if batch == self._batch:
            return
        shape = [batch, *self.input["shape"][1:]]
        self.interpreter.resize_tensor_input(self.input["index"], shape)
        self.interpreter.allocate_tensors()
        self._batch = batch

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """``x`` in the numbers of the model's input."""
        return quantise(np.asarray(x), self.input)

    def invoke(self, x: np.ndarray) -> np.ndarray:
        """Run one prepared batch that is already in the input's numbers; the raw output."""
        self.interpreter.set_tensor(self.input["index"], x)
        self.interpreter.invoke()
        result: np.ndarray = self.interpreter.get_tensor(self.output["index"])
        return result

    def predict(self, x: np.ndarray, batch: int = 32) -> np.ndarray:
        """Outputs for all samples in order; shape ``(samples, …)``."""
        x = np.asarray(x)
        wanted = tuple(int(size) for size in self.input["shape_signature"][1:])
        if x.ndim != len(wanted) + 1 or any(
            w not in (-1, g) for w, g in zip(wanted, x.shape[1:], strict=True)
        ):
            raise CompressionError(
                f"{self.path.name}: got samples of shape {x.shape[1:]}; the input is {wanted}"
            )
        size = self.fixed_batch if self.fixed_batch > 0 else batch
        parts = []
        for start in range(0, len(x), size):
            part = self.quantise(x[start : start + size])
            missing = size - len(part) if self.fixed_batch > 0 else 0
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            self.prepare(len(part))
            parts.append(dequantise(self.invoke(part), self.output)[: len(part) - missing])
        if not parts:
            return np.zeros((0, *self.output["shape"][1:]), np.float32)
        return np.concatenate(parts)


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
    result: np.ndarray = np.clip(
        np.round(np.asarray(x, np.float32) / np.float32(scale)) + zero, limits.min, limits.max
    ).astype(dtype)
    return result


def dequantise(y: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """A tensor's own numbers to real ones: (y - zero point) * scale."""
    scale, zero = details["quantization"]
    if not scale or y.dtype.kind not in "iu":
        return y
    result: np.ndarray = (y.astype(np.float32) - zero) * np.float32(scale)
    return result

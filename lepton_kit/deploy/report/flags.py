"""What a reader must not overlook about a row of a report card, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lepton_kit.deploy.report.rows import Row

SLOWER, SAME = 1.05, 0.1  # ratios within 5 % (10 %) count as noise; our choice, 2026-11

DEPARTURE = 1e-3  # float32 kernels of two runtimes differ by rounding, which is less (our choice, 2026-11)


def flags(row: Row, rows: Sequence[Row], *, higher_is_better: bool = True) -> tuple[str, ...]:
    """What a reader must not overlook about a row, in words."""
    reference = next((other for other in rows if other.name == "float32" and other.error is None), None)
    if row.error or reference is None:
        return ()
    departure = row.get("departure")
    said = []
    if departure is not None and departure > DEPARTURE:
        said.append(
            f"float LiteRT differs from Keras, by up to {departure:.2g} of the largest output: what its variants lose "
            "is lost in the conversion too"
        )
    if row.role == "float":
        return (*said, *_control_run(row, rows))
    size, time = _ratio(row, reference, "file_bytes"), _ratio(row, reference, "latency_1_one")
    if time is not None and _overlap(row, reference, "latency_1_one"):
        said.append(
            f"latency not distinguishable from float LiteRT's on this machine now ({time:.2f} × at the median; the middle "
            "halves of the timings overlap)"
        )
        time = 1.0  # no difference that these timings can show
    if size and time and size < 1 - SAME and time > SLOWER:
        said.append(f"smaller but slower: {1 / size:.1f} × smaller, {time:.2f} × the latency of float LiteRT")
    if size and time and size >= 1 and time >= 1 and row.role != "control" and not row.sparsity:
        said.append("no gain: neither smaller nor faster than float LiteRT")
    elif size and size > 1 + SAME and row.precision != "float32":
        said.append(
            f"larger than float LiteRT ({size:.2f} ×): what {row.precision} adds to the file is more than what it saves"
        )
    if (
        size
        and time
        and size < 1
        and row.precision in ("float16", "int4")
        and time <= SLOWER
        and time > 1 - SAME
    ):
        said.append("smaller, not faster")
    if (
        row.sparsity > 0
        and row.precision == "float32"
        and not row.structured
        and time
        and abs(time - 1) <= SAME
    ):
        zip_ratio = _ratio(row, reference, "gzip_bytes")
        said.append(
            f"{row.sparsity:.0%} zeros do not make it faster ({time:.2f} × the latency)"
            + (f"; only the compressed file shrinks, to {zip_ratio:.0%}" if zip_ratio else "")
        )
    said += _worse_than_small_float(row, rows, time, higher_is_better)
    said += _worse_than_float(row, higher_is_better)
    said += _control(row, rows, higher_is_better)
    said += _control_run(row, rows)
    return tuple(said)


def _ratio(row: Row, reference: Row, key: str) -> float | None:
    mine, other = row.get(key), reference.get(key)
    return mine / other if mine is not None and other else None


def _overlap(row: Row, reference: Row, key: str) -> bool:
    """Whether the intervals of two figures, where both have one, share a point."""
    mine, other = row.figures.get(key), reference.figures.get(key)
    if mine is None or mine.low is None or mine.high is None:
        return False
    if other is None or other.low is None or other.high is None:
        return False
    return mine.low <= other.high and other.low <= mine.high


def _worse_than_small_float(row: Row, rows: Sequence[Row], time: float | None, higher: bool) -> list[str]:
    if time is None or time >= 1 or row.get("score") is None or row.precision == "float32":
        return []
    sign = 1 if higher else -1
    for other in rows:
        if other.precision != "float32" or other.runtime != "LiteRT" or other.error or other.role == "float":
            continue
        if None in (other.get("score"), other.get("latency_1_one"), row.get("latency_1_one")):
            continue
        if (
            sign * (other.known("score") - row.known("score")) > 0
            and other.known("latency_1_one") <= row.known("latency_1_one")
            and (other.get("file_bytes") or math.inf) <= (row.get("file_bytes") or math.inf)
        ):
            return [
                f"faster but worse than {other.name!r}, a float model that is as small, as fast and scores better"
            ]
    return []


def _worse_than_float(row: Row, higher: bool) -> list[str]:
    figure = row.figures.get("difference")
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return []
    worse = figure.high < 0 if higher else figure.low > 0
    return [f"worse than float beyond chance ({figure.value:+.4f})"] if worse else []


def _control(row: Row, rows: Sequence[Row], higher: bool) -> list[str]:
    control = _scored(rows, "control")
    mine, difference = row.get("score"), row.get("difference")
    trained = row.sparsity or row.structured or row.precision.startswith("qat")
    if control is None or row.role == "control" or not trained or mine is None:
        return []
    sign = 1 if higher else -1
    gained = sign * (difference or 0) > 0 and sign * (control.known("score") - mine) >= 0
    return (
        ["its gain comes from the extra training: the control, trained for as much work, scores as well"]
        if gained
        else []
    )


def _control_run(row: Row, rows: Sequence[Row]) -> list[str]:
    """What the run's own pruning or rounding cost, on the rows that show it."""
    control = _scored(rows, "control-run")
    own = row.name == "float32" or (
        row.precision.startswith("qat") and not row.structured and not row.sparsity
    )
    if control is None or not own or row.get("score") is None:
        return []
    return [
        f"scores {row.get('score'):.4f}; the control-run, trained as long in float, {control.get('score'):.4f}"
    ]


def _scored(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row.name == name and row.get("score") is not None), None)

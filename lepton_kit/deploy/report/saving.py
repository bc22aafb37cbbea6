"""The same score for less: which variant keeps the score of another within its interval, for what part of the energy."""

from __future__ import annotations

from collections.abc import Sequence

from lepton_kit.deploy.report.rows import COLUMNS, Figure, Row

WORDS = {"energy": "energy", "training_energy": "energy of training"}


def same_for_less(
    rows: Sequence[Row],
    reference: Row | None,
    metric: str,
    cost: str = "energy",
    higher_is_better: bool = True,
) -> str | None:
    """One sentence: the cheapest row whose score is not below the interval of the reference's; None where nothing is known.

    >>> def row(name, score, low, energy):
    ...     figures = {"score": Figure(score, "measured", low, 1.0), "energy": Figure(energy, "estimated")}
    ...     return Row(name, "LiteRT", figures=figures)
    >>> rows = [row("float32", 0.95, 0.92, 2.0), row("int8", 0.94, 0.91, 0.62), row("int4", 0.8, 0.7, 0.5)]
    >>> same_for_less(rows, rows[0], "accuracy")
    'int8 gives the same accuracy as float32 within its interval for 0.31 × of the energy (estimated).'
    """
    if reference is None or not reference.get(cost) or reference.get("score") is None:
        return None
    words = WORDS.get(cost, COLUMNS[cost][0])
    known = [row for row in rows if row.get(cost) is not None and row.get("score") is not None]
    same = [row for row in known if _keeps(row, reference, higher_is_better)]
    best = min(same, key=lambda row: row.known(cost))
    ratio = best.known(cost) / reference.known(cost)
    origins = {row.figures[cost].origin for row in (best, reference)}
    tag = "measured" if origins == {"measured"} else "estimated"
    if best is reference or ratio >= 1:
        return f"No other gives the same {metric} as {reference.name} for less {words} ({tag})."
    within = f"{best.name} gives the same {metric} as {reference.name} within its interval"
    return f"{within} for {ratio:.2f} × of the {words} ({tag})."


def _keeps(row: Row, reference: Row, higher_is_better: bool) -> bool:
    """Whether a score is as good as the worse end of the reference's interval."""
    figure: Figure = reference.figures["score"]
    end = figure.low if higher_is_better else figure.high
    bound = reference.known("score") if end is None else end
    return row.known("score") >= bound if higher_is_better else row.known("score") <= bound

"""Runs and compressed variants on a plane of accuracy and energy: which are worth it, as a picture, a table and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client.compare import Comparison, compare
from lepton_kit.client.run import Run
from lepton_kit.deploy.report.card import ReportCard, pareto
from lepton_kit.deploy.report.rows import COLUMNS, Figure, Row
from lepton_kit.deploy.report.saving import same_for_less
from lepton_kit.deploy.report.still import front_picture
from lepton_kit.deploy.report.yardstick import DOWN
from lepton_kit.drawing import SVG, Picture, still
from lepton_kit.errors import CompressionError, ConfigError, RunError

if TYPE_CHECKING:
    import pandas as pd


class Plane:
    """Points with a score and an energy: ``rows``, the ``front`` that no other beats, `picture`, `table`, ``sentence``.

    ``cost`` is ``"energy"`` of a prediction in mJ, or ``"training_energy"`` of a run in J.
    """

    def __init__(
        self, rows: Sequence[Row], metric: str, held_out: int, cost: str, reference: Row | None, rises: bool
    ):
        self.rows, self.metric, self.held_out, self.cost = tuple(rows), metric, held_out, cost
        self._reference, self._rises = reference, rises

    def __repr__(self) -> str:
        return f"<Plane: {self.metric} and {COLUMNS[self.cost][0]} of {len(self.rows)}>"

    def front(self, cost: str = "") -> tuple[Row, ...]:
        """The rows that no other beats in both, the least energy first."""
        sign = 1.0 if self._rises else -1.0
        return tuple(
            self.rows[place]
            for place in pareto([(sign * row.known("score"), row.known(self.cost)) for row in self.rows])
        )

    @property
    def sentence(self) -> str:
        """Which gives the same score as the reference within its interval, for what part of its energy."""
        said = same_for_less(self.rows, self._reference, self.metric, self.cost, self._rises)
        return said or f"None has both {self.metric} and {COLUMNS[self.cost][0]}."

    def picture(self) -> Picture:
        """The plane as a still picture (SVG) with words; the front is dashed."""
        found = front_picture(self, self.cost)
        assert found is not None, "a plane has rows"
        return Picture(found.svg, f"{found.text} {self.sentence}")

    def table(self) -> pd.DataFrame:
        """A row for each point, the least energy first: score and energy with their intervals, tag, ``worth_it``."""
        import pandas as pd

        best = {row.name for row in self.front()}
        heading, unit = COLUMNS[self.cost]
        records: list[dict[str, Any]] = []
        for row in sorted(self.rows, key=lambda row: row.known(self.cost)):
            score, energy = row.figures["score"], row.figures[self.cost]
            record = {"name": row.name, self.metric: score.value}
            record |= {f"{self.metric} low": score.low, f"{self.metric} high": score.high}
            record |= {f"{heading} ({unit})": energy.value, "low": energy.low, "high": energy.high}
            records.append(record | {"origin": energy.origin, "worth_it": row.name in best})
        return pd.DataFrame(records).set_index("name")

    def _repr_html_(self) -> str:
        drawn = self.picture()
        shown = still(SVG, drawn.svg, drawn.text)["text/html"]
        return f"{shown}<p>{escape(self.sentence)}</p>{self.table().to_html(float_format=lambda value: f'{value:.4g}')}"


def tradeoff(
    *what: Run | ReportCard | str | Path | Iterable[Run], runs_dir: str | Path | None = None
) -> Plane:
    """Put runs, or the compressed variants of report cards, on a plane of accuracy and energy.

    One card, or one run that has been compressed, gives its variants and the energy of a prediction; several runs give
    the energy of their training, with the main metric on validation samples. Raises `ConfigError` or `CompressionError`
    with what is missing: for a run without a validation or energy, a single run without a card, cards of other metrics.

    >>> lk.tradeoff(run).sentence  # doctest: +SKIP
    'int8 gives the same accuracy as float32 within its interval for 0.31 × of the energy (estimated).'
    """
    cards = [one for one in what if isinstance(one, ReportCard)]
    if cards and len(cards) < len(what):
        raise ConfigError(
            "tradeoff", given=what, rule="report cards alone, or runs alone: they count different energies"
        )
    if cards:
        return _of_cards(cards)
    if len(what) == 1 and isinstance(what[0], Run | str | Path):
        return _of_cards([_card_of(what[0], runs_dir)])
    return of_runs(compare(*what, runs_dir=runs_dir))  # type: ignore[arg-type]  # runs or their names, as `compare` takes them


def _card_of(run: Any, runs_dir: str | Path | None) -> ReportCard:
    from lepton_kit.client.run import open_run

    found = run if isinstance(run, Run) else open_run(run, runs_dir)
    try:
        return ReportCard.load(found.directory / "compression")
    except CompressionError:
        raise CompressionError(
            f"{found.id}: it has no report card yet, and one run alone has nothing to be compared with; "
            "lk.compress(run) makes one, or give several runs"
        ) from None


def _of_cards(cards: Sequence[ReportCard]) -> Plane:
    """All variants with an energy; named by the card's folder where there are several cards."""
    if len({card.metric for card in cards}) > 1:
        raise ConfigError("cards", given=[card.metric for card in cards], rule="report cards of one metric")
    rows, references = [], []
    for place, card in enumerate(cards):
        before = f"{Path(card.folder or str(place)).parent.name or place}: " if len(cards) > 1 else ""
        mine = [replace(row, name=before + row.name) for row in card.rows]
        references += [row for row in mine if row.name == f"{before}float32" and row.error is None]
        rows += [row for row in mine if row.get("score") is not None and row.get("energy") is not None]
    if not rows:
        whys = [row.figures["energy"].note for card in cards for row in card.rows if "energy" in row.figures]
        raise CompressionError(
            f"no variant has an energy: {next(filter(None, whys), 'the card was made without it')}"
        )
    return Plane(
        rows,
        cards[0].metric,
        cards[0].held_out,
        "energy",
        next(iter(references), None),
        cards[0].higher_is_better,
    )


def of_runs(compared: Comparison) -> Plane:
    """See `tradeoff`; the reference is the run with the best score."""
    metric = compared.main[-1]
    name = f"val_{metric}"
    figures = compared.figures()
    rows = []
    for label, run in zip(compared.names, compared.runs, strict=True):
        score, energy = figures[label].get(name), run.energy().training
        if score is None or score.value is None:
            rule = f"runs with {name}: a validation split, and an epoch that has ended"
            raise ConfigError("runs", given=label, rule=rule)
        told = {
            "score": Figure(score.value, "measured", score.low, score.high),
            "training_energy": Figure(energy.joules, energy.origin, energy.low, energy.high),
        }
        if energy.joules > 0:
            rows.append(Row(label, "run", figures=told))
    if not rows:
        raise RunError("the energy of their training is not known of these runs")
    held = [run.view().plan.get("validation_samples") or 0 for run in compared.runs]
    rises = not any(word in name.lower() for word in DOWN)
    sign = 1.0 if rises else -1.0
    best = max(rows, key=lambda row: sign * row.known("score"))
    return Plane(rows, name, max(held), "training_energy", best, rises)

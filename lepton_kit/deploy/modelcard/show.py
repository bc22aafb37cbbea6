"""A model card as HTML, readable on light and dark pages and without scripts, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from lepton_kit.deploy.modelcard.sections import Bin, Facts, Metric, OutputCard, Residuals, WorstSample

STYLE = """
.lk-model-card{font-family:system-ui,sans-serif;font-size:14px;line-height:1.4;max-width:72em}
.lk-model-card h2{font-size:1.4em;margin:.2em 0}.lk-model-card h3{font-size:1.1em;margin:1.2em 0 .3em}
.lk-model-card table{border-collapse:collapse;margin:.3em 0;width:auto}
.lk-model-card td,.lk-model-card th{padding:.2em .6em;text-align:right;border-bottom:1px solid rgba(127,127,127,.3);
font-variant-numeric:tabular-nums}
.lk-model-card th{font-weight:600}.lk-model-card td:first-child,.lk-model-card th:first-child{text-align:left}
.lk-model-card .wide{overflow-x:auto}.lk-model-card .quiet{opacity:.75}
.lk-model-card .worst{display:flex;flex-wrap:wrap;gap:.8em}
.lk-model-card .beside{display:flex;flex-wrap:wrap;gap:0 2.5em;align-items:flex-start}.lk-model-card .beside>div{min-width:0}
.lk-model-card .small{font-size:.85em;overflow-wrap:anywhere}
.lk-model-card figure{margin:0;padding:.5em;border:1px solid rgba(127,127,127,.3);border-radius:4px;max-width:16em}
.lk-model-card figure img{width:64px;image-rendering:pixelated;display:block}
.lk-model-card figure.map img{width:auto;max-width:160px}
.lk-model-card svg text{fill:currentColor;font-size:11px}
"""
SPLITS = {"given": "given", "validation": "held-out", None: "held-out"}
BLUE, ORANGE = "76,120,168", "245,133,24"


def page(facts: Facts) -> str:
    """A whole HTML document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(facts.name)}: model card</title></head><body>{html(facts)}</body></html>\n"
    )


def html(facts: Facts) -> str:
    """The card as a part of a page."""
    parts = [f"<style>{STYLE}</style>", '<div class="lk-model-card">', f"<h2>{escape(facts.name)}</h2>"]
    about, made_with = _facts(facts)
    parts.append(f'<p class="quiet">{escape("; ".join(about))}</p>')
    parts.append(f'<p class="quiet small">{escape("; ".join(made_with))}</p>')
    for output in facts.outputs:
        parts += _output(output, facts.split)
    if facts.limits:
        parts.append("<h3>What this does not show</h3>")
        parts.append(_list(facts.limits))
    if facts.data.notes:
        parts += ["<h3>About the data</h3>", _list(facts.data.notes)]
    if facts.formats or facts.preprocessing:
        lines = [facts.preprocessing] if facts.preprocessing else []
        parts += ["<h3>Exports</h3>", _list([*lines, *_formats(facts)])]
    parts.append("</div>")
    return "\n".join(parts)


def _output(output: OutputCard, split: str | None) -> Iterator[str]:
    yield '<div class="beside"><div>'
    yield f"<h3>{escape(output.name or 'Figures')} on {SPLITS[split]} samples</h3>"
    if output.metrics:
        usual = {one.name: one.value for one in output.baseline}
        rows = [
            (one.name, number(one.value), interval(one), one.how or "", number(usual.get(one.name)))
            for one in output.metrics
        ]
        unit = f" ({output.unit})" if output.unit else ""
        yield _table((f"metric{unit}", "value", "95 % interval", "interval by", "baseline"), rows)
    if output.baseline_rule:
        yield f'<p class="quiet">Baseline: {escape(output.baseline_rule)}.</p>'
    if output.limits:
        yield _list(output.limits)
    yield "</div>"
    if output.calibration:
        yield '<div style="max-width:280px"><h3>Calibration</h3>'
        yield '<p class="quiet">On the line, of answers said with 80 % eight in ten are right.</p>'
        yield reliability(output.calibration) + "</div>"
    yield '</div><div class="beside">'
    if output.confusion is not None:
        yield "<div><h3>Confusion matrix</h3>"
        yield '<p class="quiet">Rows: true class. Columns: answer. Shade: share of the row.</p>'
        yield matrix([one.name for one in output.classes], output.confusion) + "</div>"
    if output.classes:
        yield "<div><h3>Each class</h3>"
        rows = [
            (
                one.name,
                f"{number(one.precision.value)} {interval(one.precision)}",
                f"{number(one.recall.value)} {interval(one.recall)}",
                number(one.f1),
                f"{one.support:,}",
            )
            for one in output.classes
        ]
        heads = ("F1 = Dice", "places") if output.places else ("F1", "support")
        yield _table(("class", "precision", "recall", *heads), rows) + "</div>"
    yield "</div>"
    if output.residuals is not None:
        yield "<h3>Residuals</h3>"
        yield scatter(output.residuals, output.unit)
        told = output.residuals.quantiles
        yield _table(("predicted − true", *told), [("quantile", *map(number, told.values()))])
    if output.worst:
        yield "<h3>Worst samples</h3>"
        if output.places:
            kind = "The answer in colour, the outline of the truth in yellow."
        else:
            beside = "how far the answer is off" if output.residuals else "the probability of the true class"
            kind = f"In parentheses: {beside}."
        yield f'<p class="quiet">{kind}</p>'
        tell = _map if output.places else _sample
        yield '<div class="worst">' + "".join(map(tell, output.worst)) + "</div>"


def _map(one: WorstSample) -> str:
    said = f"Dice {number(one.score)}"
    about = f"{one.name}: the answer over the image, the truth outlined; {said}"
    picture = (
        f'<img alt="{escape(about, quote=True)}" src="{escape(one.picture, quote=True)}">'
        if one.picture
        else ""
    )
    return (
        f'<figure class="map">{picture}<figcaption>{said}'
        f'<div class="quiet">{escape(one.name)}</div></figcaption></figure>'
    )


def _sample(one: WorstSample) -> str:
    picture = f'<img alt="" src="{escape(one.picture, quote=True)}">' if one.picture else ""
    text = f"<div>{escape(one.text)}</div>" if one.text else ""
    return (
        f"<figure>{picture}{text}<figcaption>true <b>{escape(one.truth)}</b>, answered "
        f"<b>{escape(one.answer)}</b> ({number(one.score)})"
        f'<div class="quiet">{escape(one.name)}</div></figcaption></figure>'
    )


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as a table; right answers blue, wrong ones orange, by their share of the row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row) or 1
        cells = "".join(
            f'<td style="background:rgba({BLUE if k == j else ORANGE},{0.75 * count / total:.3f})">'
            f"{count or ''}</td>"
            for j, count in enumerate(row)
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def reliability(bins: Sequence[Bin]) -> str:
    """Calibration as a picture: the share that was right over what was said; circles grow with the count."""
    most = max(one.count for one in bins)
    points = "".join(
        f'<circle cx="{40 + 200 * one.confidence:.1f}" cy="{210 - 200 * one.accuracy:.1f}" '
        f'r="{3 + 7 * (one.count / most) ** 0.5:.1f}" fill="rgba({BLUE},.75)"><title>said {one.confidence:.3f}, '
        f"right {one.accuracy:.3f}, {one.count:,} samples</title></circle>"
        for one in bins
    )
    line = '<line x1="40" y1="210" x2="240" y2="10" stroke="currentColor" stroke-opacity=".4" stroke-dasharray="4"/>'
    return _plot(line + points, "probability said", "share right", ("0", "1"), ("0", "1"))


def scatter(residuals: Residuals, unit: str | None) -> str:
    """Predicted over true values, with the line on which they are equal."""
    values = [value for point in residuals.points for value in point]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = "".join(
        f'<circle cx="{40 + 200 * (true - low) / span:.1f}" cy="{210 - 200 * (told - low) / span:.1f}" r="2" '
        f'fill="rgba({BLUE},.6)"/>'
        for true, told in residuals.points
    )
    line = '<line x1="40" y1="210" x2="240" y2="10" stroke="currentColor" stroke-opacity=".4" stroke-dasharray="4"/>'
    ends, unit = (number(low), number(high)), f", {escape(unit)}" if unit else ""
    return _plot(line + points, f"true{unit}", f"predicted{unit}", ends, ends)


def _plot(inner: str, across: str, up: str, ends_x: tuple[str, str], ends_y: tuple[str, str]) -> str:
    return (
        f'<svg width="280" height="250" viewBox="0 0 280 250" role="img" aria-label="{up} over {across}">'
        '<rect x="40" y="10" width="200" height="200" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
        f'{inner}<text x="140" y="242" text-anchor="middle">{across}</text>'
        f'<text x="12" y="110" text-anchor="middle" transform="rotate(-90 12 110)">{up}</text>'
        f'<text x="40" y="225" text-anchor="middle">{ends_x[0]}</text>'
        f'<text x="240" y="225" text-anchor="middle">{ends_x[1]}</text>'
        f'<text x="36" y="210" text-anchor="end">{ends_y[0]}</text>'
        f'<text x="36" y="18" text-anchor="end">{ends_y[1]}</text></svg>'
    )


def markdown(facts: Facts) -> str:
    """The card as Markdown."""
    lines = [f"# {facts.name}", "", *(f"- {fact}" for part in _facts(facts) for fact in part), ""]
    for output in facts.outputs:
        lines += [f"## {output.name or 'Figures'} on {SPLITS[facts.split]} samples", ""]
        usual = {one.name: one.value for one in output.baseline}
        if output.metrics:
            lines += ["| metric | value | 95 % interval | interval by | baseline |", "|---|---|---|---|---|"]
            lines += [
                f"| {one.name} | {number(one.value)} | {interval(one)} | {one.how or ''} | {number(usual.get(one.name))} |"
                for one in output.metrics
            ]
            lines.append("")
        if output.baseline_rule:
            lines += [f"Baseline: {output.baseline_rule}.", ""]
        lines += [f"- {text}" for text in output.limits]
        if output.classes:
            heads = "F1 = Dice | places" if output.places else "F1 | support"
            lines += ["", f"| class | precision | recall | {heads} |", "|---|---|---|---|---|"]
            lines += [
                f"| {_cell(one.name)} | {number(one.precision.value)} {interval(one.precision)} | "
                f"{number(one.recall.value)} {interval(one.recall)} | {number(one.f1)} | {one.support} |"
                for one in output.classes
            ]
        if output.confusion is not None:
            names = [_cell(one.name) for one in output.classes]
            lines += ["", f"| true \\ answer | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
            lines += [
                f"| {name} | {' | '.join(map(str, row))} |"
                for name, row in zip(names, output.confusion, strict=True)
            ]
        if output.residuals is not None:
            told = ", ".join(f"{name}: {number(value)}" for name, value in output.residuals.quantiles.items())
            lines += ["", f"Predicted minus true, quantiles: {told}."]
        lines.append("")
    for title, texts in (
        ("What this does not show", facts.limits),
        ("About the data", facts.data.notes),
        ("Exports", [*([facts.preprocessing] if facts.preprocessing else []), *_formats(facts)]),
    ):
        if texts:
            lines += [f"## {title}", "", *(f"- {text}" for text in texts), ""]
    return "\n".join(lines)


def _facts(facts: Facts) -> tuple[list[str], list[str]]:
    """Sentences about the run and its data, and those that only a repetition needs."""
    data = facts.data
    found = [facts.created]
    if facts.step is not None:
        found.append(f"step {facts.step}")
    if data.training_samples is not None:
        found.append(
            f"{data.training_samples:,} samples to train on, {data.validation_samples or 0:,} "
            + ("given to judge by" if facts.split == "given" else "held out")
        )
    if data.class_names:
        more = f" and {len(data.class_names) - 20} more" if len(data.class_names) > 20 else ""
        found.append(f"classes {', '.join(data.class_names[:20])}{more}")
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return found, [*([f"data {data.fingerprint}"] if data.fingerprint else []), versions]


def _formats(facts: Facts) -> list[str]:
    return [
        f"{name}: answers differ by at most {one['difference']:.1e} (measured on {one['samples']} samples; "
        f"an export beyond {one['allowed']:.1e} is refused)"
        for name, one in facts.formats.items()
    ]


def number(value: float | None) -> str:
    """Four significant figures; nothing for None.

    >>> number(0.98765), number(0.94), number(None), number(1234567.0)
    ('0.9877', '0.9400', '', '1.235e+06')
    """
    return "" if value is None else f"{value:#.4g}".rstrip(".")


def interval(metric: Metric) -> str:
    """``(low–high)``; nothing where there is none."""
    return f"({number(metric.low)}–{number(metric.high)})" if metric.low is not None else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _list(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

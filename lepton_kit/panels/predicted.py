"""What a run's model says of its validation split, as HTML: the confusion matrix or points, and a handful of samples."""

from __future__ import annotations

import html
from collections.abc import Callable

import numpy as np

from lepton_kit import drawing
from lepton_kit.drawing import BLUE, GREY
from lepton_kit.panels.parts import Markup, table
from lepton_kit.panels.sentences import predictions_told, short
from lepton_kit.rundir.predictions import Example, Predictions

SIDE = 250
LEFT, BOTTOM = 46, 34
SHORT = 3
"""Letters of a class up to which its name stands upright over its column."""

STYLE = """<style>
.lk-predicted{margin:8px 0 12px}
.lk-predicted-parts{display:flex;flex-wrap:wrap;gap:14px 28px;align-items:flex-start;margin-top:6px}
.lk-predicted-parts>*{min-width:0;max-width:100%}
.lk-confusion{overflow-x:auto;flex:0 1 auto}
.lk-panel .lk-confusion table{border-collapse:separate;border-spacing:1px;font-size:11px;font-variant-numeric:tabular-nums;
 margin:0;background:none;border:none}
.lk-panel .lk-confusion :is(td,th){padding:2px 4px;min-width:22px;height:20px;text-align:center;border:none;line-height:1.2;
 color:var(--jp-ui-font-color1,#222);background:none;font-weight:400;box-sizing:border-box}
.lk-panel .lk-confusion tbody th{text-align:right;max-width:120px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;padding-right:6px}
.lk-panel .lk-confusion thead th{vertical-align:bottom;white-space:nowrap}
.lk-panel .lk-confusion thead th.lk-turned>span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:96px;overflow:hidden;
 text-overflow:ellipsis;display:inline-block}
.lk-panel .lk-confusion td{background:color-mix(in srgb,#e08a1e calc(var(--s,0)*.6%),var(--jp-layout-color2,#eee));
 color:var(--jp-ui-font-color0,#000)}
.lk-panel .lk-confusion td.r{background:color-mix(in srgb,#3d85c6 calc(var(--s,0)*.6%),var(--jp-layout-color2,#eee))}
.lk-panel .lk-confusion td.z{color:var(--jp-ui-font-color2,#666)}
.lk-panel .lk-confusion td.lk-corner{background:none;color:var(--jp-ui-font-color2);text-align:right;white-space:nowrap;
 vertical-align:bottom}
.lk-panel .lk-examples{list-style:none;margin:0;padding:0;display:grid;flex:1 1 280px;gap:8px 14px;
 grid-template-columns:repeat(auto-fill,minmax(min(170px,100%),1fr))}
.lk-examples li{display:flex;gap:8px;align-items:center;margin:0;font-size:12px;line-height:1.35;min-width:0}
.lk-examples li>div{min-width:0;overflow-wrap:anywhere}
.lk-examples .lk-words-of{flex:1 1 100%;min-width:0;color:var(--jp-ui-font-color2);overflow-wrap:anywhere;
 display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
.lk-examples li.lk-tall{flex-wrap:wrap;gap:2px 8px;align-content:flex-start}
.lk-held{flex:0 0 auto;width:56px;height:56px;border-radius:3px;background-position:center;background-size:contain;background-repeat:no-repeat;image-rendering:pixelated;
 border:1px solid var(--jp-border-color2)}
.lk-held-wide{width:96px}.lk-panel img.lk-held{width:84px;height:84px}
.lk-panel img.lk-held{object-fit:contain;margin:0}
.lk-right,.lk-wrong{white-space:nowrap}
.lk-right{color:var(--jp-success-color0,#1a7f37)}.lk-wrong{color:var(--jp-error-color0,#b3261e)}
</style>"""

Shown = Callable[[Example], Markup]


def told(seen: Predictions | None, show: Shown) -> str:
    """The whole part as HTML; empty before the first validation. ``show`` gives the picture or words of a sample."""
    if seen is None:
        return ""
    said = f'<div class="lk-note">{html.escape(predictions_told(seen))}</div>'
    if seen.form == "none":
        return f'<div class="lk-predicted">{said}</div>'
    parts = {"labels": labels, "values": points}.get(seen.form, confusion)(seen)
    return f'<div class="lk-predicted">{said}<div class="lk-predicted-parts">{parts}{examples(seen, show)}</div></div>'


def confusion(seen: Predictions) -> Markup:
    """The confusion matrix as a table: a row for each true class, shaded by its share of the row."""
    names = [*seen.names, *([f"{seen.others} others"] if seen.others else [])]
    turned = len(names) > 6 and max(map(len, names)) > SHORT
    head = "".join(_header(name, "col", turned) for name in names)
    lines = []
    for true, (name, row) in enumerate(zip(names, seen.counts.tolist(), strict=True)):
        total = sum(row) or 1
        cells = "".join(_cell(count, 100 * count / total, true == said) for said, count in enumerate(row))
        lines.append(f"<tr>{_header(name, 'row', False)}{cells}</tr>")
    unit = "places" if seen.form == "places" else "samples"
    text = (
        f"Confusion matrix, in validation {unit}: a row for each true class, a column for what the model said"
    )
    return Markup(
        f'<div class="lk-confusion" tabindex="0" role="region" aria-label="{text}"><table aria-label="{text}">'
        f'<thead><tr><td class="lk-corner">true ↓ said →</td>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _header(name: str, scope: str, turned: bool) -> str:
    text = html.escape(name)
    inside, kind = (f"<span>{text}</span>", ' class="lk-turned"') if turned else (text, "")
    return f'<th scope="{scope}" title="{text}"{kind}>{inside}</th>'


def _cell(count: int, share: float, right: bool) -> str:
    if not count:
        return "<td class=z>0</td>"
    kind = " class=r" if right else ""
    return f'<td{kind} style="--s:{share:.0f}">{short(count)}</td>'


def labels(seen: Predictions) -> Markup:
    """Of several labels a sample: how often each was said and true."""
    lines: list[list[object]] = []
    for name, (both, said, true) in zip(seen.names, seen.counts.tolist(), strict=True):
        shares = [f"{both / one:.1%}" if one else "–" for one in (said, true)]
        lines.append([name, f"{both:,}", f"{said - both:,}", f"{true - both:,}", *shares])
    more = f'<div class="lk-note">and {seen.others:,} labels with fewer errors</div>' if seen.others else ""
    columns = ["label", "found", "said wrongly", "missed", "precision", "recall"]
    return Markup(f"<div>{table(columns, lines, numbers=(1, 2, 3, 4, 5))}{more}</div>")


def points(seen: Predictions) -> Markup:
    """What was said against what is true, a picture for each value of a sample."""
    drawn = [_scatter(name, *pair) for name, pair in zip(seen.names, seen.points, strict=False)]
    return Markup("".join(f'<div class="lk-drawn">{one}</div>' for one in drawn))


def _scatter(name: str, true: np.ndarray, said: np.ndarray) -> str:
    known = np.isfinite(true) & np.isfinite(said)
    true, said = true[known], said[known]
    if not len(true):
        return ""
    low, high, tick = drawing.axis(np.concatenate([true, said]))
    right, bottom = SIDE - 8, SIDE - BOTTOM

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (right - LEFT)

    def up(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - 8)

    parts = [drawing.line(across(low), up(low), across(high), up(high), GREY, 'stroke-dasharray="4 4"')]
    for value in drawing.marks(low, high, tick):
        text = f"{round(value, 10):g}"
        parts.append(drawing.line(LEFT, up(value), right, up(value), GREY, 'stroke-opacity="0.3"'))
        parts.append(drawing.words(LEFT - 5, up(value) + 4, text, "end"))
        parts.append(drawing.words(across(value), bottom + 15, text, "middle"))
    parts += [
        f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6" fill="{BLUE}" fill-opacity="0.65"/>'
        for x, y in zip(true.tolist(), said.tolist(), strict=True)
    ]
    parts.append(drawing.words((LEFT + right) / 2, SIDE - 4, f"true {name}", "middle"))
    parts.append(drawing.words(LEFT + 4, 16, "said"))
    text = f"{name}: what the model said against what is true, {len(true)} validation samples; on the dashed line it is right"
    return drawing.svg(parts, SIDE, text, SIDE)


def examples(seen: Predictions, show: Shown) -> Markup:
    """The same handful of samples after each epoch, with what is true and what was said."""
    lines = "".join(_example(one, show(one)) for one in seen.examples)
    return Markup(f'<ul class="lk-examples" aria-label="samples of the validation split">{lines}</ul>')


def _example(one: Example, shown: Markup) -> str:
    chance = f" {one.probability:.2f}" if one.probability is not None else ""
    mark = {
        True: ' <span class="lk-right">✓ right</span>',
        False: ' <span class="lk-wrong">✗ wrong</span>',
        None: "",
    }
    true = f"true <b>{html.escape(one.true)}</b><br>" if one.true else ""
    says = f"says <b>{html.escape(one.predicted)}</b>{chance}" if one.true else html.escape(one.predicted)
    tall = ' class="lk-tall"' if "lk-words-of" in shown else ""
    return f"<li{tall}>{shown}<div>{true}{says}{mark[one.right]}</div></li>"

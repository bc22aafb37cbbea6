"""What all panels share: the base class, the look, and where an error's text appears."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from lepton_kit.drawing import in_notebook
from lepton_kit.errors import LeptonError
from lepton_kit.panels import still
from lepton_kit.panels.farewell import farewell

STYLE = (
    """<style>
.lk-panel{font-size:13px;color:var(--jp-ui-font-color1);overflow:hidden}
.lk-panel .widget-html-content{line-height:1.45}
.lk-card .widget-label{text-align:left}
.lk-card{border:1px solid var(--jp-border-color2);border-radius:8px;padding:12px 14px;overflow:hidden;
 background:var(--jp-layout-color1)}
.lk-title{font-weight:600;font-size:14px;color:var(--jp-ui-font-color0)}
.lk-note,.lk-note .widget-html-content{color:var(--jp-ui-font-color2);font-size:12px}
.lk-error{border-left:3px solid var(--jp-error-color1,#d33);padding:6px 10px;border-radius:3px;white-space:pre-wrap;
 overflow-wrap:anywhere;background:color-mix(in srgb,var(--jp-error-color1,#d33) 10%,transparent);color:var(--jp-ui-font-color1)}
.lk-table{border-collapse:collapse;font-size:12px;width:100%}
.lk-panel .lk-table th,.lk-panel .lk-table td{padding:3px 10px 3px 0;text-align:left;border:none;background:none;
 border-bottom:1px solid var(--jp-border-color3,var(--jp-border-color2));color:var(--jp-ui-font-color1)}
.lk-panel .lk-table th{color:var(--jp-ui-font-color2);font-weight:500}
.lk-panel .lk-table td.lk-digits,.lk-panel .lk-table th.lk-digits{text-align:right;font-variant-numeric:tabular-nums}
.lk-chip{display:inline-block;padding:1px 9px;border-radius:10px;font-size:12px;font-weight:600;color:#fff;
 background:#6e7781}
.lk-chip-running,.lk-chip-training,.lk-chip-ready{background:#1a7f37}.lk-chip-starting,.lk-chip-standby,.lk-chip-paused{background:#9a6700}
.lk-chip-queued{background:#57606a}.lk-chip-stopping,.lk-chip-leaving{background:#9a6700}.lk-chip-finished{background:#0969da}
.lk-chip-failed,.lk-chip-lost,.lk-chip-refused,.lk-chip-interrupted{background:#cf222e}
.lk-number{display:flex;flex-wrap:wrap;align-items:center;gap:2px 8px;margin:2px;min-height:28px;padding-right:2px;overflow:visible!important}
.lk-number-label{flex:0 0 118px;font-size:13px}
.lk-host .lk-number-label{flex-basis:auto}.lk-hosts .lk-table+.lk-table{margin-top:10px}
.lk-row .lk-number+.lk-number .lk-number-label{flex-basis:auto}
.lk-panel .lk-number-range{flex:1 1 90px;min-width:60px;margin:0;accent-color:var(--jp-brand-color1,#1976d2);height:20px}
.lk-panel .lk-number-problem[hidden]{display:none}
.lk-number-value{display:inline-flex;align-items:center;gap:4px;white-space:pre}
.lk-panel .lk-number-field{width:76px;height:26px;box-sizing:border-box;font:inherit;padding:0 6px;text-align:right;
 font-variant-numeric:tabular-nums;color:var(--jp-ui-font-color1);background:var(--jp-input-background,var(--jp-layout-color1));
 border:1px solid var(--jp-border-color1)}
.lk-panel .lk-number-field:disabled,.lk-panel .lk-number-range:disabled{opacity:.55}
.lk-panel .lk-number-field[aria-invalid=true]{border-color:var(--jp-error-color1,#d33)}
.lk-number-problem{flex:1 1 100%;font-size:12px}
.lk-panel :is(button,input,select,textarea,[tabindex]):focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:1px}
.lk-panel details.lk-words{font-size:12px;color:var(--jp-ui-font-color2)}.lk-panel .lk-words summary{cursor:pointer}
.lk-panel .widget-html-content{overflow-x:auto}
.lk-panel{container-type:inline-size;
 /* that of the widgets is black in both themes */
 --jp-widgets-dropdown-arrow:url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E%3Cpath fill='none' stroke='%23888' stroke-width='2' d='M4.5 7 9 11.5 13.5 7'/%3E%3C/svg%3E")}
@container (max-width:420px){
 .lk-panel .widget-inline-hbox:has(>select,>input:not([type=checkbox]),>textarea){flex-wrap:wrap;height:auto}
 .lk-panel .widget-inline-hbox:has(>select,>input:not([type=checkbox]),>textarea)>.widget-label{width:100%!important;text-align:left}
 .lk-panel .widget-inline-hbox>:is(select,input:not([type=checkbox]),textarea){flex:1 1 90px}
 .lk-panel .lk-table :is(th,td){min-width:60px}
 .lk-pages .lm-TabBar-content{flex-wrap:wrap}
 .lk-pages .lm-TabBar-tab{flex:1 0 auto!important;min-width:fit-content!important}
 .lk-card{padding:10px 8px}
}
.lk-drawn svg{max-width:100%;height:auto;display:block}
.lk-note:has(>.widget-html-content:empty){display:none}
.lk-heard{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.lk-tiles{display:flex;flex-wrap:wrap;gap:6px 20px}
.lk-tile b{display:block;font-size:16px;font-weight:600;font-variant-numeric:tabular-nums;
 color:var(--jp-ui-font-color0)}
.lk-tile span{font-size:11px;color:var(--jp-ui-font-color2)}
.lk-bar{display:flex;height:14px;border-radius:3px;overflow:hidden;margin:3px 0 5px;gap:1px}
.lk-bar div{min-width:2px;font-size:10px;line-height:14px;color:#fff;text-align:center;overflow:hidden}
.lk-code{white-space:pre;overflow-x:auto;font-family:var(--jp-code-font-family,monospace);font-size:12px;
 background:var(--jp-layout-color2);color:var(--jp-ui-font-color1);padding:8px 10px;border-radius:4px;margin:0}
.lk-codes{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(360px,100%),1fr));gap:10px;align-items:start}
.lk-codes>div{min-width:0}
.lk-panel pre.lk-code{padding:8px 10px;white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere}
.lk-compared svg{width:100%;height:auto;max-height:420px}
.lk-runs-wide{overflow-x:auto;max-height:520px;overflow-y:auto;margin:4px 0 8px}
.lk-panel .lk-runs th,.lk-panel .lk-runs td{white-space:nowrap;padding:4px 12px 4px 0;vertical-align:middle}
.lk-panel .lk-runs thead th{position:sticky;top:0;background:var(--jp-layout-color1);z-index:1}
.lk-panel .lk-runs thead button,.lk-more{background:none;border:none;padding:2px 0;font:inherit;color:inherit;cursor:pointer}
.lk-panel .lk-runs thead button:hover,.lk-more:hover{color:var(--jp-ui-font-color0);text-decoration:underline}
.lk-panel .lk-runs tbody th{font-weight:500;color:var(--jp-ui-font-color0);cursor:pointer;max-width:230px;overflow:hidden;
 text-overflow:ellipsis}
.lk-panel .lk-runs tr.lk-chosen{background:color-mix(in srgb,var(--jp-brand-color1,#1976d2) 12%,transparent)}
.lk-panel .lk-runs input[type=checkbox]{margin:0 2px;vertical-align:middle}
.lk-tag{display:inline-block;border:1px solid var(--jp-border-color1);border-radius:9px;padding:0 7px;margin-right:4px;font-size:11px}
.lk-empty{color:var(--jp-ui-font-color2);margin:6px 0}.lk-more{padding:6px 0;font-size:12px}
.lk-track{height:8px;border-radius:4px;background:var(--jp-layout-color3,#ccc);overflow:hidden}
.lk-track div{height:100%;border-radius:4px;background:var(--jp-brand-color1,#1976d2)}
.lk-incidents{margin:4px 0 0;padding:0;list-style:none;font-size:12px}
.lk-panel img.lk-thumb{width:30px;height:30px;object-fit:cover;image-rendering:pixelated;border-radius:3px;margin:0 4px 4px 0;
 display:inline-block;vertical-align:middle;border:1px solid var(--jp-border-color2)}
.lk-panel .lk-drop{display:block;box-sizing:border-box;width:100%;padding:12px 10px;border-radius:6px;cursor:pointer;
 text-align:center;font:inherit;font-size:12px;white-space:normal;color:var(--jp-ui-font-color2);
 background:none;border:1.5px dashed var(--jp-border-color1)}
.lk-panel .lk-drop:hover,.lk-panel .lk-drop:focus-visible,.lk-panel .lk-drop.lk-over{
 border-color:var(--jp-brand-color1,#1976d2);color:var(--jp-ui-font-color1)}
.lk-panel .lk-drop.lk-over{background:color-mix(in srgb,var(--jp-brand-color1,#1976d2) 12%,transparent)}
.lk-panel .lk-drop:disabled{cursor:default;opacity:.6}
.lk-panel .lk-described img.lk-thumb{height:44px;width:44px}
.lk-panel .widget-box,.lk-panel .widget-tab,.lk-panel .jupyter-widget-tab{margin:0!important}
.lk-panel .widget-button{border-radius:4px}
.lk-panel .lk-row{overflow:hidden}
.lk-pages>.widget-tab-contents,.lk-pages>.jupyter-widget-TabPanel-tabContents{border:none!important;padding:10px 0 0!important;
 overflow:hidden;background:none!important}
"""
    + still.HIDDEN
    + "</style>"
)

PALETTE = ("#3d85c6", "#c2740c", "#2f8a4b", "#8a5fbf", "#b3475e", "#3b8f8f", "#8c6d31", "#6b7280")
LABEL_WIDTH = "118px"


class Panel:
    """Base of every panel: holds a widget in ``view``, shows itself in a notebook, has a short stable `repr`."""

    def __init__(self) -> None:
        self.view: widgets.Widget = widgets.VBox([])
        self.problem = widgets.HTML("", layout=widgets.Layout(display="none", margin="4px 0 0 0"))
        self.problem.add_class("lk-problem")
        self.still_output = still.StillOutput(lambda: self.still(), lambda: self.still_mark())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        bundle = self.view._repr_mimebundle_(include=include, exclude=exclude) or {}
        bundle = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        return bundle | {"text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)
        if in_notebook():
            self.still_output.show()

    def still(self) -> dict[str, str]:
        """A picture for readers without a kernel, with its alternative text: by type, as a notebook stores it."""
        return still.drawn_words(still.title_of(type(self).__name__), list(still.words_of(self.view)))

    def still_mark(self) -> Any:
        """What tells that the still picture is another now; cheap, for it is asked after each cell."""
        return tuple(still.words_of(self.view))

    def complain(self, problem: BaseException | str | None) -> None:
        """Show an error's text in the panel, in place; None takes it away."""
        show_problem(self.problem, problem)

    @property
    def complaint(self) -> str:
        """The error's text that the panel shows now, or an empty text."""
        text = self.problem.value
        start, end = text.find(">") + 1, text.rfind("</div>")
        return html.unescape(text[start:end]) if text else ""

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Whatever goes wrong inside is shown in the panel; what goes well clears it."""
        try:
            yield
        except Exception as failure:
            self.complain(failure)
        else:
            self.complain(None)

    def close(self) -> None:
        """Take the panel off the page; a run goes on without it."""
        for child in _below(self.view):
            child.close()


def show_problem(place: widgets.HTML, problem: BaseException | str | None) -> None:
    """Show an error's text in a place of its own, such as below its field; None takes it away."""
    text = "" if problem is None else str(problem) or type(problem).__name__
    if isinstance(problem, BaseException) and not isinstance(problem, LeptonError):
        text = f"{type(problem).__name__}: {text}"
    set_html(place, text and f'<div class="lk-error" role="alert">{html.escape(text)}</div>')
    place.layout.display = "" if text else "none"


def _below(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    for child in getattr(widget, "children", ()):
        yield from _below(child)
    yield widget


def send_again(widget: widgets.Widget) -> None:
    """Send the state of a widget and of all below it, to a page that may have missed some of it while it loaded."""
    for one in _below(widget):
        one.send_state()
        if isinstance(one, widgets.DOMWidget):
            one.layout.send_state()


def framed(*children: widgets.Widget, classes: tuple[str, ...] = ("lk-panel",)) -> widgets.VBox:
    """A column that brings the panels' style with it, so that each panel can stand alone."""
    box = widgets.VBox(
        [widgets.HTML(STYLE, layout=widgets.Layout(display="none")), farewell(), *children],
        layout=widgets.Layout(width="100%", margin="0", overflow="hidden"),
    )
    for name in classes:
        box.add_class(name)
    return box


def card(title: str, *children: widgets.Widget, note: str = "") -> widgets.VBox:
    """A titled frame around widgets."""
    heading = f'<span class="lk-title">{html.escape(title)}</span>'
    if note:
        heading += f'<br><span class="lk-note">{html.escape(note)}</span>'
    box = widgets.VBox(
        [widgets.HTML(heading, layout=widgets.Layout(margin="0 0 6px 0")), *children],
        layout=widgets.Layout(width="100%", margin="0", overflow="hidden"),
    )
    box.add_class("lk-card")
    return box


def row(*children: widgets.Widget, gap: str = "8px") -> widgets.HBox:
    """Widgets side by side, wrapped to the next line where the page is narrow."""
    box = widgets.HBox(
        list(children),
        layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap=gap, overflow="hidden"),
    )
    box.add_class("lk-row")
    return box


def columns(*children: widgets.Widget) -> widgets.Box:
    """Widgets in columns of equal width, one below the other where the page is narrow."""
    return widgets.Box(
        list(children),
        layout=widgets.Layout(
            display="grid", grid_template_columns="repeat(auto-fit, minmax(min(360px, 100%), 1fr))", grid_gap="10px", width="100%",
            margin="0", overflow="hidden", align_items="flex-start",
        ),
    )  # fmt: skip


def column(*children: widgets.Widget, gap: str = "10px") -> widgets.VBox:
    """Widgets below each other in the whole width."""
    return widgets.VBox(
        list(children), layout=widgets.Layout(width="100%", margin="0", overflow="hidden", grid_gap=gap)
    )


def field(
    widget: type[widgets.Widget],
    description: str,
    tooltip: str,
    label_width: str = LABEL_WIDTH,
    **options: Any,
) -> Any:
    """An input with a label of the common width and a tooltip that tells what it does."""
    layout = options.pop("layout", None) or widgets.Layout(width="98%", max_width="460px")
    style = {"style": {"description_width": label_width}} if hasattr(widget, "style") else {}
    return widget(description=description, tooltip=tooltip, layout=layout, **style, **options)


def note(text: str = "") -> widgets.HTML:
    """Small grey text; may hold HTML, so pass outside text through `html.escape`."""
    widget = widgets.HTML(text)
    widget.add_class("lk-note")
    return widget


def button(
    description: str, tooltip: str, style: str = "", icon: str = "", width: str = "auto"
) -> widgets.Button:
    """A button that carries its description as a CSS class, such as ``lk-start``."""
    made = widgets.Button(
        description=description,
        tooltip=tooltip,
        button_style=style,
        icon=icon,
        layout=widgets.Layout(width=width),
    )
    made.add_class(f"lk-{description.lower().replace(' ', '-')}")
    return made


def table(columns: list[str], rows: list[list[object]], numbers: tuple[int, ...] = ()) -> str:
    """An HTML table; every cell is escaped unless it is `Markup`."""

    def cell(tag: str, place: int, value: object) -> str:
        kind = ' class="lk-digits"' if place in numbers else ""
        text = value if isinstance(value, Markup) else html.escape(str(value))
        return f"<{tag}{kind}>{text}</{tag}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(columns))
    body = "".join(
        f"<tr>{''.join(cell('td', place, value) for place, value in enumerate(line))}</tr>" for line in rows
    )
    return f'<table class="lk-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Markup(str):
    """Text that is already HTML."""


def chip(state: str) -> Markup:
    """A state as a coloured word."""
    return Markup(f'<span class="lk-chip lk-chip-{html.escape(state)}">{html.escape(state)}</span>')


def bar(label: str, pieces: Iterable[tuple[int, str, str]]) -> Markup:
    """A bar cut into coloured pieces, each given as (length, what a pointer over it reads, what stands on it)."""
    cut = "".join(
        f'<div style="flex:{max(length, 0.001)};background:{PALETTE[place % len(PALETTE)]}" '
        f'title="{html.escape(title)}">{html.escape(text)}</div>'
        for place, (length, title, text) in enumerate(pieces)
    )
    return Markup(f'<div class="lk-bar" role="img" aria-label="{html.escape(label)}">{cut}</div>')


def on_change(widget: widgets.Widget, function: Callable[[Any], None]) -> None:
    """Call ``function(new value)`` when the value changes, from the page or from code."""
    widget.observe(lambda change: function(change["new"]), names="value")


def set_html(widget: widgets.HTML, text: str) -> bool:
    """Send a text only if it is new; True if it was."""
    if widget.value == text:
        return False
    widget.value = text
    return True

"""Still pictures of panels: words for every panel, renewed as they change, and shown by converters."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import ipywidgets as widgets
import nbformat
import pytest

from lepton_kit import panels
from lepton_kit.panels import still
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import STYLE, framed, note
from lepton_kit.panels.still import StillOutput, drawn_words, plain, words_of

SMALL = [
    panels.CompressionPanel, panels.DevicePanel, panels.FpgaPanel, panels.LivePanel, panels.ReportPanel,
    panels.RunsPanel, panels.ShardingPanel, panels.TrainingPanel,
]  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_every_panel_has_a_still_picture_with_words(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel = kind()
    made = panel.still()
    assert re.search(r'src="data:image/(png|svg\+xml);base64,', made["text/html"])
    alt = re.search(r'alt="([^"]+)"', made["text/html"]).group(1)
    assert len(alt) > 15
    assert "<script" not in made["text/html"]
    panel.close()


def test_what_can_be_read_is_told_and_what_is_hidden_is_not():
    hidden = note("secret")
    hidden.layout.display = "none"
    box = framed(
        note("<b>int8</b>: <i>small</i>"), hidden, widgets.Dropdown(options=["a", "b"], description="Letter"),
        Number(value=0.5, max=1, description="Share", factor=100, unit=" %"), widgets.Button(description="Go"),
        widgets.Checkbox(True, description="keep"), widgets.SelectMultiple(options=["x", "y"], value=("x", "y"), description="Two"),
    )  # fmt: skip
    assert list(words_of(box)) == ["int8: small", "Letter: a", "Share: 50 %", "keep: yes", "Two: x, y"]


def test_a_picture_inside_text_is_read_by_its_label_alone():
    text = '<p>Batch</p><div role="img" aria-label="parts: [43, 43]"><div>43</div><br><div>43</div></div>after <img alt="a cat">'
    assert plain(text) == ["Batch", "parts: [43, 43]", "after a cat"]
    assert plain('<img alt="a sample: 0"><img alt="a sample: 1"> two') == ["a sample: 0 · a sample: 1 · two"]


def test_long_words_are_cut_to_a_picture_of_bounded_size():
    made = drawn_words("Title <1>", ["word " * 60] * 40)
    coded = re.search(r"base64,([^\"]+)", made["text/html"]).group(1)
    root = ElementTree.fromstring(base64.b64decode(coded))
    assert float(root.get("height")) < 600
    assert root.get("aria-label").startswith("Title <1>. word")
    assert len(root.get("aria-label")) <= 600


class Shell:
    def __init__(self):
        self.messages, self.hooks = [], []
        self.events = self

    def register(self, name, hook):
        assert name == "post_run_cell"
        self.hooks.append(hook)


@pytest.fixture
def shell(monkeypatch):
    import IPython
    import IPython.display

    made = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: made)
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda data, raw, display_id: made.messages.append(("show", display_id, data)),
    )
    monkeypatch.setattr(
        IPython.display, "update_display",
        lambda data, raw, display_id: made.messages.append(("renew", display_id, data)),
    )  # fmt: skip
    return made


def test_a_displayed_picture_is_renewed_after_a_cell_that_changed_it(shell):
    state = ["first"]
    drawn = []

    def make():
        drawn.append(state[0])
        return {"text/html": state[0]}

    output = StillOutput(make, lambda: state[0])
    assert not output.renew()
    output.show()
    (after_cell,) = shell.hooks
    after_cell(None)
    assert drawn == ["first"]
    state[0] = "second"
    after_cell(None)
    assert [(kind, data["text/html"]) for kind, _, data in shell.messages] == [
        ("show", "first"),
        ("renew", "second"),
    ]
    assert len({place for _, place, _ in shell.messages}) == 1
    output.show()
    assert len(shell.hooks) == 1


def test_the_style_hides_a_still_where_the_panel_itself_is_shown():
    assert still.HIDDEN in STYLE
    assert f'class="{still.CLASS}"' in drawn_words("a", ["b"])["text/html"]


class Pictures(HTMLParser):
    def __init__(self):
        super().__init__()
        self.alts, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag == "img" and still.CLASS in (known.get("class") or ""):
            self.alts.append(known.get("alt"))
            self.sources.append(known["src"])


CELLS = """
import time
from tests.panels.conftest import SyntheticRun
from pathlib import Path
import lepton_kit as lk
run = SyntheticRun(Path("runs/demo-1").absolute()).begin()
run.advance(3)
lk.panels.LivePanel(run)
----
lk.panels.ShardingPanel(workers=2)
----
run.advance(57)
run.end()
"""


def test_an_executed_notebook_converts_with_a_picture_and_words_of_every_panel(tmp_path, monkeypatch):
    """The panel that was displayed while its run trained shows how it ended."""
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text.strip()) for text in CELLS.split("----")]
    )
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}, store_widget_state=False
    ).execute()
    shown = Pictures()
    shown.feed(HTMLExporter().from_notebook_node(notebook)[0])
    assert len(shown.alts) == 2
    assert shown.alts[0].startswith("Run demo-1, finished, step 60 of 60. Training loss fell from")
    assert shown.sources[0].startswith("data:image/png;base64,")
    assert "Each step takes the next 128 samples" in shown.alts[1]


def test_no_panel_uses_a_slider_that_has_neither_name_nor_number_field():
    """Stock sliders of ipywidgets 8.1 give their handle no name; a stock number field clamps in silence."""
    folder = Path(panels.__file__).parent
    stock = re.compile(r"widgets\.\w*(Slider|IntText|FloatText)\b")
    assert {
        path.name: stock.findall(path.read_text())
        for path in folder.glob("*.py")
        if stock.search(path.read_text())
    } == {}

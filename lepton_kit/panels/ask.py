"""The ask panel: a text is answered while it is typed, by any model that answers texts, with its likeliest classes."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import ipywidgets as widgets

from lepton_kit.drawing import BLUE, GREY
from lepton_kit.errors import ConfigError
from lepton_kit.panels.parts import PALETTE, Panel, card, field, framed, on_change, set_html
from lepton_kit.panels.picture import SCALE, WIDTH, text_at
from lepton_kit.panels.still import bundle_of

LINE = 22
"""Height of a line of the still picture, in pixels of the page."""
MOST_LETTERS = 90
"""Letters of a text that the still picture has room for."""


class AskPanel(Panel):
    """A text field beside the ``top`` likeliest classes of what stands in it, by `lk.load(…)` or a run.

    Below ``threshold`` (a probability) the panel does not answer but offers the classes. ``panel.text.value`` is the
    text, ``panel.answer`` the row of `predict` for it. Raises `ConfigError` for a model that does not answer texts.
    """

    def __init__(self, predictor: Any, text: str = "", *, threshold: float = 0.0, top: int = 3):
        super().__init__()
        how = getattr(predictor, "preprocessing", None) or predictor.predictor().preprocessing
        if how.kind != "text":
            raise ConfigError("predictor", given=how.kind, rule="a model of texts, such as lk.load(folder)")
        if not 0 <= threshold <= 1:
            raise ConfigError("threshold", given=threshold, rule="a probability from 0 to 1")
        self.predictor, self.threshold, self.top = predictor, threshold, top
        self.answer: Any = None
        self.text = field(
            widgets.Text, "Text", "answered while you type", value=text, placeholder="type a sentence",
            layout=widgets.Layout(width="98%", max_width="640px"), label_width="44px",
        )  # fmt: skip
        self.text.add_class("lk-ask")
        self.shown = widgets.HTML("")
        self.shown.add_class("lk-answer")
        on_change(self.text, lambda _: self.ask())
        self.view = framed(card("Ask the model", self.text, self.shown, self.problem))
        self.ask()

    def __repr__(self) -> str:
        return f"<AskPanel: {self.text.value!r}, {self.said}>"

    @property
    def sure(self) -> bool:
        """Whether there is an answer whose probability reaches the threshold."""
        return bool(self.ranked) and self.ranked[0][1] >= self.threshold

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """(class, probability), best first; nothing for a text that can't be read."""
        if self.answer is None or self._wrong:
            return []
        row = self.answer.iloc[0]
        word = "probability" if "probability" in row else "score"
        return [
            (str(row[f"class{end}"]), float(row[f"{word}{end}"]))
            for end in ("", *(f"_{place}" for place in range(2, self.top + 1)))
            if f"class{end}" in row
        ]

    @property
    def said(self) -> str:
        """The answer in words."""
        if not self.ranked:
            return self._wrong or "no text yet"
        names = [f"{name} ({share:.2f})" for name, share in self.ranked]
        return names[0] if self.sure else f"not sure: {', '.join(names)}"

    def ask(self) -> None:
        """Answer the text that stands in the field now."""
        with self.reporting():
            self.answer = (
                self.predictor.predict([self.text.value], top=self.top, progress=False)
                if self.text.value.strip()
                else None
            )
            set_html(self.shown, self._told())

    def still(self) -> dict[str, str]:
        """A picture of what the panel shows now, with words, as a bundle of MIME types."""
        from PIL import Image, ImageDraw

        if not self.ranked:
            return super().still()
        letters = self.text.value
        letters = letters if len(letters) <= MOST_LETTERS else letters[: MOST_LETTERS - 1] + "…"
        size = (WIDTH, LINE * (len(self.ranked) + 2))
        image = Image.new("RGBA", (size[0] * SCALE, size[1] * SCALE), (0, 0, 0, 0))
        draw = ImageDraw.Draw(image)
        text_at(draw, 8, LINE / 2, f"“{letters}”", anchor="lm", size=13)
        text_at(draw, 8, 1.5 * LINE, self._heading, anchor="lm", size=12)
        for place, (name, share) in enumerate(self.ranked, 2):
            middle = (place + 0.5) * LINE
            text_at(draw, 8, middle, name, anchor="lm", size=12)
            left, color = 240, BLUE if place == 2 and self.sure else GREY
            end = left + max(2.0, 440 * min(1.0, max(0.0, share)))
            draw.rectangle(
                [left * SCALE, (middle - 5) * SCALE, end * SCALE, (middle + 5) * SCALE], fill=color
            )
            text_at(draw, end + 8, middle, f"{share:.2f}", anchor="lm", size=12)
        buffer = io.BytesIO()
        image.quantize(64).save(buffer, "PNG", optimize=True)
        told = f"Asked “{self.text.value}”, the model answers: {self.said}"
        return bundle_of(told, png=base64.b64encode(buffer.getvalue()).decode())

    @property
    def _wrong(self) -> str:
        """Why the text can't be answered; empty if it can."""
        if self.answer is None or "problem" not in self.answer:
            return ""
        return str(self.answer["problem"].iloc[0])

    @property
    def _heading(self) -> str:
        return "Answer" if self.sure else f"Not sure (below {self.threshold:.2f}). Did you mean one of these?"

    def _told(self) -> str:
        if not self.ranked:
            return f'<div class="lk-note">{html.escape(self.said)}</div>'
        lines = "".join(
            f"<tr><td>{html.escape(name)}</td><td class='lk-number'>{share:.2f}</td><td style='width:50%'>"
            f"<div style='height:10px;border-radius:2px;width:{100 * min(1.0, max(0.0, share)):.1f}%;"
            f"background:{PALETTE[0] if place == 0 and self.sure else PALETTE[-1]}'></div></td></tr>"
            for place, (name, share) in enumerate(self.ranked)
        )
        notes = "".join(
            f'<div class="lk-note">{html.escape(one.removesuffix(" (1 of 1 inputs)"))}</div>'
            for one in self.answer.attrs["notes"]
        )
        return f"<div role='status'><b>{html.escape(self._heading)}</b><table class='lk-table'>{lines}</table></div>{notes}"

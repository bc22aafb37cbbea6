"""A number field, with a slider beside it where that helps: named for screen readers, and with its error beside it."""

from __future__ import annotations

import math
from typing import Any

import anywidget
import traitlets

from lepton_kit.errors import ConfigError

_ESM = """
function render({ model, el }) {
  const get = (name) => model.get(name);
  const make = (tag, settings, ...children) => {
    const made = Object.assign(document.createElement(tag), settings);
    made.append(...children);
    return made;
  };
  const id = "lk-" + Math.random().toString(36).slice(2);
  const label = make("label", { className: "lk-number-label", htmlFor: id });
  const range = make("input", { type: "range", className: "lk-number-range" });
  const field = make("input", { type: "text", className: "lk-number-field", id, autocomplete: "off" });
  const unit = make("span", { className: "lk-number-unit" });
  const problem = make("div", { className: "lk-error lk-number-problem", id: id + "-problem" });
  field.inputMode = "decimal";
  problem.setAttribute("role", "status");
  field.setAttribute("aria-describedby", problem.id);
  const rounded = (value) => Number(value.toPrecision(12));
  const moved = (value) => Number(value.toPrecision(get("digits")));
  const shown = (value) => String(rounded(value * get("factor")));
  const place = (value) => (get("log") ? Math.log10(value) : value);
  const value_at = (at) => {
    const value = moved(get("log") ? 10 ** Number(at) : Number(at));
    return Math.min(get("max"), Math.max(get("min"), value));
  };
  const draw = () => {
    label.textContent = get("description");
    range.setAttribute("aria-label", get("description") + ", slider");
    range.min = place(get("min"));
    range.max = place(get("max"));
    range.step = get("step");
    range.value = place(get("value"));
    range.setAttribute("aria-valuetext", shown(get("value")) + get("unit"));
    if (get("wrong") === "") field.value = shown(get("value"));
    unit.textContent = get("unit");
    for (const one of [range, field]) {
      one.disabled = get("disabled");
      one.title = get("tooltip");
    }
    const told = get("wrong") || get("problem");
    problem.textContent = told;
    problem.hidden = !told;
    field.setAttribute("aria-invalid", String(Boolean(told)));
  };
  const send = (settings) => {
    for (const [name, value] of Object.entries(settings)) model.set(name, value);
    model.save_changes();
    draw();
  };
  const typed = () => {
    const text = field.value.trim(), value = rounded(Number(text) / get("factor"));
    const whole = !get("whole") || Number.isInteger(value);
    if (text !== "" && value >= get("min") && value <= get("max") && whole) send({ value, wrong: "" });
    else send({ wrong: `${get("description")}: got ${text || "nothing"}; expected ${get("rule")}` });
  };
  const key = (event) => {
    event.stopPropagation();  // the notebook has keys of its own
    if (event.key === "Enter") typed();
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (way && get("whole") && !get("slided")) {
      event.preventDefault();
      send({ value: Math.min(get("max"), Math.max(get("min"), get("value") + way * get("step"))), wrong: "" });
    }
  };
  range.addEventListener("input", () => { field.value = shown(value_at(range.value)); });
  range.addEventListener("change", () => send({ value: value_at(range.value), wrong: "" }));
  range.addEventListener("keydown", (event) => event.stopPropagation());
  field.addEventListener("change", typed);
  field.addEventListener("keydown", key);
  model.on("change", draw);
  el.classList.add("lk-number");
  el.dataset.lmSuppressShortcuts = "true";  // JupyterLab's own keys would be taken before these fields see them
  el.append(label, ...(get("slided") ? [range] : []), make("span", { className: "lk-number-value" }, field, unit), problem);
  draw();
  return () => model.off("change", draw);
}
export default { render };
"""


class _Figure(traitlets.TraitType[Any, Any]):
    """A number as its `Number` takes it: an int where it is whole. What the page sends is checked by the same rules.

    A cross-validator would not do: while a message of the page is applied, those run after the observers.
    """

    default_value = 0.0
    info_text = "a number"

    def __init__(self, bounded: bool):
        super().__init__()
        self._bounded = bounded

    def validate(self, obj: Any, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.error(obj, value)
        return obj.checked(value) if self._bounded else obj.typed(value)


class Number(anywidget.AnyWidget):
    """A number from ``min`` to ``max`` that is typed, or moved where it is ``slided``; ``whole``, or on a ``log`` scale.

    ``factor`` and ``unit`` say how it is shown: 0.8 with 100 and `` %`` reads "80 %". ``step`` is the distance of two
    places of the slider, on a log scale in powers of ten, and ``digits`` those of a moved value; any value in range may
    be typed. What is typed out of range is refused in ``wrong``, beside the field, and ``value`` stays; ``problem`` is
    the text for what only other fields make wrong. Python raises `ConfigError`, which names the field, instead.
    """

    _esm = _ESM
    description = traitlets.Unicode("").tag(sync=True)
    tooltip = traitlets.Unicode("").tag(sync=True)
    value = _Figure(bounded=True).tag(sync=True)
    min = _Figure(bounded=False).tag(sync=True)
    max = _Figure(bounded=False).tag(sync=True)
    step = traitlets.Float(1.0).tag(sync=True)
    rule = traitlets.Unicode("").tag(sync=True)
    slided = traitlets.Bool(False).tag(sync=True)
    whole = traitlets.Bool(False).tag(sync=True)
    log = traitlets.Bool(False).tag(sync=True)
    digits = traitlets.Int(4).tag(sync=True)
    factor = traitlets.Float(1.0).tag(sync=True)
    unit = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)
    wrong = traitlets.Unicode("").tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, *, value: float, max: float, min: float = 0.0, whole: bool = False, **settings: Any):
        super().__init__(whole=whole, **settings)  # each is held against the ones before it
        self.min, self.max = min, max
        self.value = value

    def typed(self, value: float) -> float:
        """A number as this field has them: an int where it is whole."""
        return int(value) if self.whole else float(value)

    def checked(self, value: float) -> float:
        """A value in range. Raises `ConfigError` for another one."""
        shown = int(value) if math.isfinite(value) and value == int(value) else value
        if not self.min <= value <= self.max or (self.whole and not isinstance(shown, int)):
            raise ConfigError(self.description, given=shown, rule=self._rule())
        return self.typed(value)

    @traitlets.observe("value")
    def _mended(self, _: Any = None) -> None:
        self.wrong = self.problem = ""

    @traitlets.observe("min", "max")
    def _tell_rule(self, _: Any = None) -> None:
        self.rule = self._rule()

    def _rule(self) -> str:
        kind = "a whole number from " if self.whole else ""
        return f"{kind}{self._figure(self.min)} to {self._figure(self.max)}{self.unit}"

    def _figure(self, value: float) -> str:
        shown = value * self.factor
        return f"{shown:,.0f}" if self.whole else f"{shown:.12g}"

    def show(self, value: float) -> None:
        """Take a value that stands elsewhere, such as in a run; the range widens as far as it has to."""
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        self.value = value

    @property
    def label(self) -> str:
        """The value as it is read, with its unit.

        >>> Number(description="Zeros", value=0.8, max=1, factor=100, unit=" %").label
        '80 %'
        """
        shown = self.value * self.factor
        return (f"{shown:.0f}" if self.whole else f"{shown:.{self.digits}g}") + self.unit

    @property
    def refusal(self) -> str:
        """What the field says is wrong, or an empty text."""
        return self.wrong or self.problem

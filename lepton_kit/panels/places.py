"""The places panel: where on this machine workers are to sit, with a picture of it; impossible choices say why."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from lepton_kit.client.seat_map import Sitter, seat_map
from lepton_kit.models import footprint
from lepton_kit.panels.parts import Panel, button, card, framed, note, row, set_html
from lepton_kit.panels.telling import size
from lepton_kit.planning.offers import Offer, offers
from lepton_kit.runtime.seating import room_now

INK = "currentColor"
FITTING = "max-width:100%;height:auto"


class PlacesPanel(Panel):
    """How the workers of the next run sit: anywhere, on cores of their own, on GPUs. ``on_choice`` hears of each choice.

    While a run trains on this machine the picture shows its workers.
    """

    def __init__(self, workers: int = 2, on_choice: Callable[[], None] = lambda: None):
        super().__init__()
        self.workers, self._needed, self._name = workers, (0, 0), "anywhere"
        self._on_choice, self._locked = on_choice, False
        self._shown: Sequence[dict[str, Any]] | None = None
        self.choices: dict[str, widgets.ToggleButton] = {}
        self.offers: list[Offer] = []
        self.picture_of_seats, self.told, self.reasons = widgets.HTML(), note(), note()
        self.reasons.add_class("lk-reasons")
        for offer in offers(room_now(), workers):
            one = widgets.ToggleButton(value=offer.name == self._name, description=offer.name, layout=widgets.Layout(width="auto"))  # fmt: skip
            one.observe(lambda change, name=offer.name: self._pressed(name, change["new"]), names="value")
            self.choices[offer.name] = one
        self.look = button("Look again at places", "read what other runs hold now", "", "refresh")
        self.look.on_click(lambda _: self.refresh())
        self.view = framed(
            card(
                "Places of the workers", row(*self.choices.values(), self.look), self.told, self.reasons,
                self.picture_of_seats, self.problem,
            )
        )  # fmt: skip
        self.refresh()

    def __repr__(self) -> str:
        return f"<PlacesPanel: {self.workers} workers, {self._name}>"

    @property
    def chosen(self) -> Offer:
        """The choice that holds now."""
        return next(one for one in self.offers if one.name == self._name)

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses."""
        places = self.chosen.places
        if places is None:
            return {}
        named = places if isinstance(places, str) else [one.told() for one in places]
        return {"places": named, "max_workers": None}  # places are for so many workers, and no more

    def know(self, workers: int, model: Any) -> None:
        """Take up how many workers there are to be, and from their model what each needs in memory and on a GPU.

        None: the model is not known now.
        """
        with self.reporting():
            each = 0 if model is None else footprint.estimated(model)
            needed = (each, max(0, each - footprint.WORKER_BYTES))
            if (workers, needed) != (self.workers, self._needed):
                self.workers, self._needed = workers, needed
                self.refresh()

    def refresh(self) -> None:
        """Look at the machine again; a choice that has become impossible gives way to the usual one."""
        with self.reporting():
            self._room = room_now()
            self.offers = offers(self._room, self.workers, self._needed[1])
            if self.chosen.reason is not None:
                self._choose("anywhere")
            self._show()

    def observe(self, workers: Sequence[dict[str, Any]] | None) -> None:
        """Show the workers of a run that trains here, as its log tells of them; None: the choice for the next one."""
        rows = None if workers is None else [one for one in workers if one.get("rank") is not None]
        if rows != self._shown:
            self._shown = rows
            self._show()

    def lock(self, locked: bool) -> None:
        """The places of a run that trains can't change."""
        self._locked = locked
        self.refresh()

    def _pressed(self, name: str, value: bool) -> None:
        if value and name != self._name:
            self._choose(name)
            self._show()
        elif not value and name == self._name:
            self.choices[name].value = True  # it stays: one always holds

    def _choose(self, name: str) -> None:
        before, self._name = self._name, name
        self.choices[before].value, self.choices[name].value = False, True
        self._on_choice()

    def _show(self) -> None:
        for offer in self.offers:
            one = self.choices[offer.name]
            one.disabled = self._locked or offer.reason is not None
            one.tooltip = offer.reason or offer.meaning
        impossible: dict[str, list[str]] = {}
        for offer in self.offers:
            if offer.reason is not None:
                impossible.setdefault(offer.reason, []).append(offer.name)
        told = [f"{', '.join(names)}: {reason}" for reason, names in impossible.items()]
        set_html(self.reasons, html.escape(f"Not possible now: {'; '.join(told)}.") if told else "")
        set_html(self.told, html.escape(self._in_words()))
        drawn = seat_map(self._room, self._sitters(), ink=INK).svg
        set_html(self.picture_of_seats, drawn.replace("<svg ", f'<svg style="{FITTING}" ', 1))

    def _in_words(self) -> str:
        if self._shown is not None:
            return "The run that trains sits as it is drawn; its places stay until it ends."
        each, on_gpu = self._needed
        name = self.chosen.name
        text = f"{name[0].upper()}{name[1:]}: {self.chosen.meaning}."
        if each:
            text += f" Each worker needs about {size(each)} of memory"
            on = any(one.gpu is not None for one in self.chosen.seats)
            text += f", and {size(on_gpu)} of its GPU" if on else ""
            text += " (estimated from the model's size)."
        return text

    def _sitters(self) -> list[Sitter]:
        if self._shown is not None:
            return [
                Sitter(str(one["rank"]), tuple(one.get("cores") or ()), one.get("gpu")) for one in self._shown
            ]
        return [Sitter(str(k), one.cores, one.gpu) for k, one in enumerate(self.chosen.seats)]

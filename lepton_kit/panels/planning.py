"""The plan panel: how far more workers pay, as a picture and a sentence, and a button that takes what is advised."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from lepton_kit.panels.announce import Announcer
from lepton_kit.panels.background import Background
from lepton_kit.panels.parts import Panel, button, card, framed, note, row, set_html

WIDTH = 480
"""Of the picture, in pixels: as wide as the card in a workbench, so that its letters are as large as others."""
HINT = "Short runs with 1 and 2 workers at two batches, some 15 s; nothing of them stays."


class PlanPanel(Panel):
    """Shows a `Plan`; a script has ``lk.plan`` for the same.

    ``ask()`` gives model, data and options of what is planned when the button is pressed; ``use(options)`` takes what is advised, as
    arguments of ``launch``. Without them the panel shows the plan that it is given.
    """

    def __init__(
        self,
        plan: Any = None,
        ask: Callable[[], tuple[Any, Any, dict[str, Any]]] | None = None,
        use: Callable[[dict[str, Any]], None] | None = None,
    ):
        super().__init__()
        self.plan: Any = None
        self._ask, self._use = ask, use
        self._locked = False
        self.told, self.advice, self.picture = note(), note(), note()
        self.picture.add_class("lk-drawn")
        self.heard = Announcer()
        self.make = button(
            "Plan", "measure steps in short runs, and predict other workers", "", "line-chart", "90px"
        )
        self.take = button(
            "Use this", "set workers and global batch to what is advised", "", "check", "110px"
        )
        self.make.layout.display = "" if ask else "none"
        self.make.on_click(lambda _: self.measure())
        self.take.on_click(lambda _: self.use_advice())
        self._measuring = Background(self._made, self._found)
        self.view = framed(
            card("Plan", row(self.make, self.take), self.told, self.advice, self.picture, self.problem, self.heard,
                 note=HINT if ask else "")
        )  # fmt: skip
        self.view.add_class("lk-planner")
        self._show(plan)

    def __repr__(self) -> str:
        return f"<PlanPanel: {'no plan yet' if self.plan is None else self.plan.told()}>"

    def measure(self) -> None:
        """Make the plan, beside the notebook."""
        if self._ask is not None and not self._measuring.busy and not self._locked:
            with self.reporting():
                asked = self._ask()
                set_html(self.told, "Preparing short runs …")
                self._enable(busy=True)
                self._measuring.start(asked)

    def use_advice(self) -> None:
        """Take what is advised."""
        if self._use is not None and self.plan is not None:
            with self.reporting():
                self._use(dict(self.plan.advise().options))
                self.heard.text = "taken"

    def lock(self, locked: bool) -> None:
        """No plan is made while a run trains on the same cores, and a batch can't change."""
        self._locked = locked
        self._enable(self._measuring.busy)

    def settled(self, timeout: float | None = None) -> None:
        """Wait until the plan that is being made is there."""
        self._measuring.settled(timeout)

    def close(self) -> None:
        """Take the panel off the page."""
        self._measuring.join()
        super().close()

    def _made(self, asked: tuple[Any, Any, dict[str, Any]]) -> Any:
        import lepton_kit as lk

        model, data, options = asked
        return lk.plan(model, data, tell=self._say, **options)

    def _say(self, text: str) -> None:
        set_html(self.told, f"{html.escape(text)} …")

    def _found(self, plan: Any, failure: BaseException | None) -> None:
        if failure is None:
            self._show(plan)
        else:
            set_html(self.told, "")
            self.complain(failure)
        self._enable(busy=False)

    def _show(self, plan: Any) -> None:
        self.plan = plan
        if plan is not None:
            advice = plan.advise()
            set_html(self.told, html.escape(plan.told()))
            set_html(self.advice, f"<b>{html.escape(advice.text)}</b>")
            set_html(self.picture, plan.figure(width=WIDTH)._repr_mimebundle_()["text/html"])
            self.heard.text = f"{plan.told()} {advice.text}"
        self._enable(busy=False)

    def _enable(self, busy: bool) -> None:
        self.make.disabled = busy or self._locked
        self.take.disabled = busy or self._locked or self.plan is None
        self.take.layout.display = "" if self._use is not None else "none"

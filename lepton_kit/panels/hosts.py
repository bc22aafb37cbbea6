"""The hosts panel: known hosts, which of them the next run uses, what a check finds, and what each contributes now."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from lepton_kit.hosts import HostSpec
from lepton_kit.panels import host_lines
from lepton_kit.panels.announce import Announcer
from lepton_kit.panels.background import Background
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import (
    Panel,
    button,
    card,
    chip,
    column,
    field,
    framed,
    note,
    on_change,
    row,
    set_html,
)
from lepton_kit.rundir import RunView

MOST_SLOTS = 256
HINT = "Hosts that ssh reaches by these names; localhost/a is a second place on this machine, to try it out."


class HostRow:
    """One host: whether the next run uses it, its slots, its state, and the button that forgets it."""

    def __init__(self, host: HostSpec, chosen: bool, panel: HostsPanel):
        self.host = host
        self.use = widgets.Checkbox(
            value=chosen, description=f"Use {host.name}", indent=False, tooltip=f"train the next run on {host.name}",
            layout=widgets.Layout(width="auto", min_width="150px", max_width="320px"),
        )  # fmt: skip
        self.slots = field(
            Number, f"Slots of {host.name}", "workers that it has room for", value=host.slots, min=1, max=MOST_SLOTS,
            whole=True, layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.state = note()
        self.forget = button("Remove", f"forget {host.name}", "", "trash", "100px")
        self.view = column(row(self.use, self.slots, self.forget), self.state, gap="0")
        self.view.add_class("lk-host")
        on_change(self.use, lambda _: panel.changed())
        on_change(self.slots, lambda _: panel.resize(self))
        self.forget.on_click(lambda _: panel.remove(self.host.name))

    def spec(self) -> HostSpec:
        """The host with the slots of the field."""
        return self.host.model_copy(update={"slots": int(self.slots.value)})


class HostsPanel(Panel):
    """Add hosts, check them, choose those that the next run uses; a script has `lk.Cluster` for the same.

    ``on_choice()`` is called when another choice is made. `chosen` are the hosts of the next run.
    """

    def __init__(self, *, on_choice: Callable[[], None] = lambda: None):
        super().__init__()
        self._on_choice = on_choice
        self.rows: list[HostRow] = []
        self.checked: Any = None
        self._live: dict[str, str] = {}
        self.heard = Announcer()
        self.name = field(
            widgets.Text,
            "Add a host",
            "name:slots, as ssh knows it",
            placeholder="gpu-box:4",
            continuous_update=False,
        )
        self.add = button("Add", "remember this host for this and later notebooks", "", "plus", "84px")
        self.check = button("Check hosts", "reach each host, and each from each", "", "search", "130px")
        self.add.on_click(lambda _: self.add_host(self.name.value))
        self.check.on_click(lambda _: self.look())
        self.lines = column(gap="6px")
        self.told, self.tables = note(), note()
        self._looking = Background(self._ask, self._found)
        self.view = framed(
            card("Hosts", row(self.name, self.add), self.lines, row(self.check), self.told, self.tables, self.problem,
                 self.heard, note=HINT)
        )  # fmt: skip
        self.view.add_class("lk-hosts")
        self.refresh()

    def __repr__(self) -> str:
        return f"<HostsPanel: {len(self.rows)} hosts, {len(self.chosen)} chosen>"

    @property
    def chosen(self) -> list[HostSpec]:
        """The hosts that the next run uses; none: this machine alone, as ever."""
        return [one.spec() for one in self.rows if one.use.value]

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses."""
        hosts = self.chosen
        if not hosts:
            return {}
        plain = all(HostSpec.parse(f"{one.name}:{one.slots}") == one for one in hosts)
        return {
            "hosts": [
                f"{one.name}:{one.slots}" if plain else one.model_dump(exclude_defaults=True) for one in hosts
            ]
        }

    # ------------------------------------------------------------------ which hosts there are

    def refresh(self) -> None:
        """Show the known hosts; what was chosen stays so."""
        from lepton_kit.hosts import known_hosts

        with self.reporting():
            self._show(known_hosts(), {one.name for one in self.chosen})

    def _show(self, hosts: Sequence[HostSpec], chosen: set[str]) -> None:
        self.rows = [HostRow(host, host.name in chosen, self) for host in hosts]
        self.lines.children = [one.view for one in self.rows]
        self.check.disabled = not self.rows
        set_html(self.told, "" if self.rows else "No host yet: runs train on this machine alone.")
        self._tell()

    def add_host(self, text: str) -> None:
        """Remember a host from ``name`` or ``name:slots``, and choose it."""
        from lepton_kit.client.cluster import Cluster

        with self.reporting():
            cluster = Cluster(text)
            cluster.add()
            names = {host.name for host in cluster.hosts}
            kept = {one.name for one in self.chosen} | names
            self.name.value = ""
            self.refresh()
            self._choose(kept)
            self.heard.text = f"{', '.join(sorted(names))} added"

    def remove(self, name: str) -> None:
        """Forget a host."""
        from lepton_kit.client.cluster import Cluster
        from lepton_kit.hosts import known_hosts

        with self.reporting():
            if name in {one.name for one in known_hosts()}:
                Cluster(name).remove()
            self._show(
                [one.host for one in self.rows if one.host.name != name], {one.name for one in self.chosen}
            )
            self.heard.text = f"{name} removed"
            self._on_choice()

    def resize(self, changed: HostRow) -> None:
        """Remember the slots of a host."""
        from lepton_kit.hosts import keep_hosts, known_hosts

        with self.reporting():
            changed.host = changed.spec()
            keep_hosts([changed.host if one.name == changed.host.name else one for one in known_hosts()])
        self.changed()

    def changed(self) -> None:
        """Another choice was made."""
        self._on_choice()

    def _choose(self, names: set[str]) -> None:
        for one in self.rows:
            one.use.value = one.host.name in names
        self._on_choice()

    def show_run(self, config: Any) -> None:
        """Show the hosts of a run as chosen, also those that are not known here; not nodes that Slurm or Spark gave it."""
        hosts = [one for one in config.workers.hosts or () if one.via in ("ssh", "local")]
        names = {host.name for host in hosts}
        others = [one.host for one in self.rows if one.host.name not in names]
        self._show([*hosts, *others] if hosts else others, names)
        self._on_choice()

    def lock(self, locked: bool) -> None:
        """The hosts of a run that trains can't change."""
        for one in self.rows:
            one.use.disabled = one.slots.disabled = one.forget.disabled = locked

    # ------------------------------------------------------------------ what is found of them

    def look(self) -> None:
        """Check the chosen hosts, or all if none is chosen, beside the notebook."""
        hosts = self.chosen or [one.spec() for one in self.rows]
        if not hosts:
            return
        self.check.disabled = True
        self.checked = None
        self._tell(f"checking {', '.join(host.name for host in hosts)} …")
        self._looking.start(hosts)

    def _ask(self, hosts: list[HostSpec]) -> Any:
        from lepton_kit.client.cluster import Cluster

        return Cluster(hosts).check()

    def _found(self, checked: Any, failure: BaseException | None) -> None:
        self.check.disabled = False
        self.complain(failure)
        self.checked = checked
        if checked is not None:
            wrong = len(checked.problems)
            ready = f"all {len(checked.hosts)} hosts are ready" if not wrong else f"{wrong} can't be used"
            self.heard.text = f"check done: {ready}"
        self._tell()

    def observe(self, view: RunView | None) -> None:
        """Show what each host does for the run that trains; None while none does."""
        lines = host_lines.shares(view) if view is not None else []
        live = {one.host: f"{chip(one.state)} {host_lines.contribution(one)}" for one in lines}
        if live != self._live:
            self._live = live
            self._tell()

    def _tell(self, doing: str = "") -> None:
        found = {one.host.name: one for one in self.checked.hosts} if self.checked is not None else {}
        for one in self.rows:
            name = one.host.name
            set_html(one.state, self._live.get(name) or _state(found.get(name)))
        if self.rows:
            set_html(self.told, html.escape(doing))
        set_html(self.tables, host_lines.found_tables(self.checked) if self.checked is not None else "")

    def close(self) -> None:
        """Take the panel off the page."""
        self._looking.join()
        super().close()


def _state(found: Any) -> str:
    if found is None:
        return "not checked yet"
    if found.problem is not None:
        text = found.problem.removeprefix(f"{found.host.name}: ")
        return f'{chip("refused")} <span class="lk-error">{html.escape(text)}</span>'
    remarks = "; ".join(found.remarks)
    return f"{chip('ready')} {html.escape(remarks)}"

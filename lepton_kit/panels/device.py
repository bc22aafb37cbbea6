"""The device panel: what this machine can train and infer on."""

from __future__ import annotations

from typing import Any

from lepton_kit.panels.parts import Panel, button, card, framed, note, row, set_html, table
from lepton_kit.panels.telling import size


def facts(found: Any) -> str:
    """One line about cores, memory and disk of an `Inventory`."""
    return (
        f"<b>{found.cores_usable}</b> of {found.cores_logical} cores usable · "
        f"<b>{size(found.memory_free_bytes)}</b> of {size(found.memory_total_bytes)} memory free · "
        f"<b>{size(found.disk_free_bytes)}</b> disk free ({found.origin})"
    )


def devices_table(found: Any) -> str:
    """Every device of an `Inventory`, what it can do, and where the knowledge comes from."""
    lines = [
        [device.kind.upper(), device.name, " and ".join(device.abilities), size(device.memory_bytes), device.note, device.origin]
        for device in found.devices
    ]  # fmt: skip
    return table(["kind", "device", "can", "memory", "note", "figures are"], lines, numbers=(3,))


class DevicePanel(Panel):
    """Cores, memory, disk, GPUs and FPGA targets of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory: Any = None
        self.line, self.listing = note(), note()
        self.look = button("Look again", "read the machine's state anew", "", "refresh", "120px")
        self.look.on_click(lambda _: self.refresh())
        self.view = framed(card("This machine", self.line, self.listing, row(self.look), self.problem))
        self.refresh()

    def __repr__(self) -> str:
        kinds = (
            ", ".join(sorted({device.kind for device in self.inventory.devices}))
            if self.inventory
            else "unknown"
        )
        return f"<DevicePanel: {kinds}>"

    def refresh(self) -> None:
        """Look at the machine again."""
        from lepton_kit.machine.devices import inventory

        with self.reporting():
            self.inventory = inventory()
            set_html(self.line, facts(self.inventory))
            set_html(self.listing, devices_table(self.inventory))

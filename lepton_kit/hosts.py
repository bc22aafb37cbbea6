"""The hosts of a run: what describes one, and how users write them: names with slots, a list of those, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PositiveInt

from lepton_kit.errors import ConfigError
from lepton_kit.specs import Section

RULE = "names with slots such as ['localhost:2', 'gpu-box:4'], a YAML file that lists hosts, or slurm"
HOST = r"^[^-\s][^\s]*$"
"""Names that no program takes for an option."""
SLURM = "slurm"
"""As the name of a host: all nodes of the Slurm allocation that the run starts in, with the slots that they have there."""


class HostSpec(Section):
    """A host on which workers of a run may stand, and how to get there.

    >>> HostSpec(name="gpu-box", slots=4).via
    'ssh'
    """

    name: str = Field(
        min_length=1,
        pattern=HOST,
        description="as ssh knows it: a name of its configuration, or user@host; localhost is this machine, "
        "slurm the nodes of a Slurm allocation",
    )
    slots: PositiveInt = Field(1, description="workers that it has room for")
    via: Literal["ssh", "local", "slurm"] = Field(
        "ssh", description="how its agent starts; local: on this machine, slurm: by srun in an allocation"
    )
    python: str | None = Field(
        None, description="the Python there that has lepton_kit; null: what was installed, else the same path"
    )
    interface: str | None = Field(
        None, description="network interface of the ring; null: the one that reaches the other hosts"
    )
    threads: PositiveInt | None = Field(None, description="threads per worker; null: its cores by its slots")
    speed: float = Field(1.0, gt=0, description="speed of each slot, relative to those of other hosts")
    device: Literal["cpu", "gpu"] = Field("cpu", description="what its workers compute on")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A host from ``name`` or ``name:slots``; localhost, and localhost/name, are this machine.

        ``slurm`` is all nodes of an allocation, whose slots Slurm says. Raises `ValueError` for slots that are no number.

        >>> HostSpec.parse("me@lab-3:2").slots, HostSpec.parse("localhost").via
        (2, 'local')
        """
        if text.strip() == SLURM:
            return cls(name=SLURM, via="slurm")
        name, colon, slots = text.strip().rpartition(":")
        if not colon:
            name, slots = slots, "1"
        if not slots.isdigit():
            raise ValueError(f"{text!r}: name or name:slots, such as gpu-box:4")
        if name == SLURM:
            raise ValueError(f"{text!r}: slurm alone; Slurm says how many slots its nodes have")
        local = name == "localhost" or name.startswith("localhost/")
        return cls(name=name, slots=int(slots), via="local" if local else "ssh")

    @property
    def is_allocation(self) -> bool:
        """Whether it stands for all nodes of a Slurm allocation, which are found when a run starts."""
        return self.via == "slurm" and self.name == SLURM


def read_hosts(value: Any) -> list[Any]:
    """What ``workers.hosts`` holds for what a user gave: a list, names with commas between, or a file.

    A file (``hosts.yaml``) is a list of names or of mappings with the fields of `HostSpec`, or holds one under
    ``hosts``. Raises `ConfigError` that names the file or the entry.

    >>> read_hosts("localhost:2, gpu-box:4")
    ['localhost:2', 'gpu-box:4']
    """
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith((".yaml", ".yml"))):
        return _from_file(Path(value))
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not entries:
        raise ConfigError("hosts", given=value, rule=RULE)
    found: list[Any] = []
    for number, entry in enumerate(entries):
        if isinstance(entry, str):
            found.append(_parsed(f"hosts.{number}", entry.strip()))
        elif isinstance(entry, HostSpec):
            found.append(entry.model_dump())
        elif isinstance(entry, Mapping):
            found.append(dict(entry))
        else:
            raise ConfigError(f"hosts.{number}", given=entry, rule=RULE)
    return found


def _parsed(field: str, text: str) -> str:
    try:
        HostSpec.parse(text)
    except ValueError:
        raise ConfigError(field, given=text, rule="name or name:slots, such as gpu-box:4, or slurm") from None
    return text


def _from_file(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigError(
            "hosts", given=str(path), rule=f"a YAML file that can be read ({failure})"
        ) from None
    if isinstance(content, Mapping):
        content = content.get("hosts")
    if not isinstance(content, list):
        raise ConfigError(
            "hosts", given=str(path), rule="a file with a list of hosts, or with one under `hosts`"
        )
    return read_hosts(content)

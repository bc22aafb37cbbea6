"""The hosts of a run: what describes one, and how users write them: names with slots, a list of those, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PositiveInt

from lepton_kit.errors import ConfigError
from lepton_kit.specs import Section

RULE = "names with slots such as ['localhost:2', 'gpu-box:4'], or a YAML file that lists hosts"


class HostSpec(Section):
    """A host on which workers of a run may stand, and how to get there.

    >>> HostSpec(name="gpu-box", slots=4).via
    'ssh'
    """

    name: str = Field(
        min_length=1,
        pattern=r"^[^-\s][^\s]*$",
        description="as ssh knows it: a name of its configuration, or user@host; localhost is this machine",
    )
    slots: PositiveInt = Field(1, description="workers that it has room for")
    via: Literal["ssh", "local"] = Field("ssh", description="how its agent starts; local: on this machine")
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

        Raises `ValueError` for slots that are no number.

        >>> HostSpec.parse("me@lab-3:2").slots, HostSpec.parse("localhost").via
        (2, 'local')
        """
        name, colon, slots = text.strip().rpartition(":")
        if not colon:
            name, slots = slots, "1"
        if not slots.isdigit():
            raise ValueError(f"{text!r}: name or name:slots, such as gpu-box:4")
        local = name == "localhost" or name.startswith("localhost/")
        return cls(name=name, slots=int(slots), via="local" if local else "ssh")


def hosts_file() -> Path:
    """Where the user's known hosts stand: ``lepton_kit/hosts.yaml`` in the folder for settings."""
    root = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return root / "lepton_kit" / "hosts.yaml"


def known_hosts() -> list[HostSpec]:
    """The hosts that the user has added. Raises `ConfigError` for a file that can't be read."""
    if not hosts_file().exists():
        return []
    found = []
    for number, entry in enumerate(_from_file(hosts_file(), or_none=True)):
        try:
            found.append(HostSpec.parse(entry) if isinstance(entry, str) else HostSpec.model_validate(entry))
        except ValueError as failure:
            raise ConfigError(
                f"{hosts_file()}: hosts.{number}", given=entry, rule=f"{RULE} ({failure})"
            ) from None
    return found


def keep_hosts(hosts: Sequence[HostSpec]) -> None:
    """Have these be the known hosts. Raises `ConfigError` where they can't be written."""
    file = hosts_file()
    text = yaml.safe_dump(
        {"hosts": [host.model_dump(exclude_defaults=True) for host in hosts]}, sort_keys=False
    )
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, file)
    except OSError as failure:
        raise ConfigError(
            "hosts", given=str(file), rule=f"a file that can be written ({failure.strerror})"
        ) from None


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
        raise ConfigError(field, given=text, rule="name or name:slots, such as gpu-box:4") from None
    return text


def _from_file(path: Path, *, or_none: bool = False) -> list[Any]:
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
    return [] if or_none and not content else read_hosts(content)

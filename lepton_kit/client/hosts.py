"""The hosts of a run as users write them: names with slots, a list of those, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lepton_kit.errors import ConfigError
from lepton_kit.specs import HostSpec

RULE = "names with slots such as ['localhost:2', 'gpu-box:4'], or a YAML file that lists hosts"


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

"""The hosts of a run: what describes one, and how users write them: names with slots, a list of those, or a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
import yaml
from pydantic import Field, PositiveInt

from lepton_kit.errors import ConfigError
from lepton_kit.specs import Settings

RULE = "names with slots such as ['localhost:2', 'gpu-box:4'], a YAML file that lists hosts, or slurm"
HOST = r"^[^-\s][^\s]*$"
"""Names that no program takes for an option."""
HERE = "localhost"
MOST_SLOTS = 1024
SLURM = "slurm"
"""As the name of a host: all nodes of the Slurm allocation that the run starts in, with the slots that they have there."""


class HostSpec(Settings):
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
    slots: int = Field(1, ge=1, le=MOST_SLOTS, description="workers that it has room for")
    via: Literal["ssh", "local", "slurm", "spark"] = Field(
        "ssh",
        description="how its agent starts; local: on this machine, slurm: by srun in an allocation, spark: as a task",
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

    @pydantic.model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, values: Any) -> Any:
        """How its agent starts follows from the name, unless it is said."""
        if not isinstance(values, dict) or values.get("via") is not None:
            return values
        name = values.get("name")
        here = isinstance(name, str) and (name == HERE or name.startswith(f"{HERE}/"))
        return {**values, "via": "local" if here else "slurm" if name == SLURM else "ssh"}

    @pydantic.model_validator(mode="after")
    def _plainly_named(self) -> Self:
        rule = {"local": r"[A-Za-z0-9._-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)?", "ssh": r"[^/]+"}.get(
            self.via, r".+"
        )
        if not re.fullmatch(rule, self.name):
            raise ValueError("a name that ssh knows, or localhost, or localhost/ and a word for this machine")
        return self

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
        return cls.model_validate({"name": name, "slots": int(slots)})

    @property
    def is_allocation(self) -> bool:
        """Whether it stands for all nodes of a Slurm allocation, which are found when a run starts."""
        return self.via == "slurm" and self.name == SLURM


class SparkSpec(Settings):
    """The Spark application whose tasks are the places of a run.

    >>> SparkSpec(master="spark://head:7077").gang
    False
    """

    master: str | None = Field(
        None,
        min_length=1,
        description="starts an application of the run's own there; null: a session that the launch is given",
    )
    conf: dict[str, str] = Field({}, description="settings of the run's own application")
    archive: str | None = Field(
        None,
        description="what `lepton spark-archive` wrote, for executors without lepton_kit; null: it is there",
    )
    gang: bool = Field(False, description="all tasks at once or none (barrier mode)")
    address: str | None = Field(
        None, description="where executors reach the driver; null: as they reach Spark's own"
    )
    bind: str | None = Field(None, description="address on which the driver listens; null: the same")
    port: int | None = Field(
        None, ge=1, le=65535, description="port on which it listens; null: the system chooses"
    )

    @property
    def threads(self) -> int:
        """Cores of one task."""
        given = self.conf.get("spark.task.cpus", "1")
        return int(given) if given.isdigit() and int(given) else 1


def check_hosts(hosts: Sequence[HostSpec] | None, *, of_spark: bool) -> None:
    """Raises `ValueError` unless hosts stand there once each, and are all tasks of Spark or none."""
    names = [host.name for host in hosts or ()]
    if hosts is not None and not hosts:
        raise ValueError("at least one host, or null")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"each host once: {name} stands there twice (two on this machine: localhost/a)")
    if {host.via == "spark" for host in hosts or ()} - {of_spark}:
        raise ValueError("tasks of Spark where `spark` is given, and none where it is not")


def with_places_of_spark(workers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of workers with a host for each task that Spark shall run, where they name none.

    There are as many as the run may have at once: ``max_workers``, or count and standby. What is not valid stays as it is.

    >>> made = with_places_of_spark({"count": 2, "spark": {"master": "yarn"}})
    >>> [(host["name"], host["via"]) for host in made["hosts"]]
    [('spark/0', 'spark'), ('spark/1', 'spark')]
    """
    spark = workers.get("spark")
    if spark is None or workers.get("hosts") is not None:
        return dict(workers)
    try:
        spec = SparkSpec.model_validate(spark)
        most = workers.get("max_workers")
        tasks = (
            int(most) if most is not None else int(workers.get("count", 2)) + int(workers.get("standby", 0))
        )
    except (ValueError, TypeError):
        return dict(workers)
    place = {
        "slots": 1,
        "via": "spark",
        "threads": workers.get("threads") or spec.threads,
        "device": workers.get("device", "cpu"),
    }
    return {**workers, "hosts": [{"name": f"spark/{n}", **place} for n in range(tasks)]}


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
        raise ConfigError(field, given=text, rule="name or name:slots, such as gpu-box:4, or slurm") from None
    return text


def _from_file(path: Path, *, or_none: bool = False) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as failure:
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

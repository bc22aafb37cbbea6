"""The workers of a run, as its configuration names them: how many, where, and how they are kept."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field

from lepton_kit.hosts import HOST, SLURM, HostSpec, SparkSpec, check_hosts, with_places_of_spark
from lepton_kit.places import PINNED, Places, PlaceSpec
from lepton_kit.specs import Settings

MOST_WORKERS = 1024


class WorkersConfig(Settings):
    """How many processes train, and how they are kept."""

    count: int | Literal["auto"] = Field(
        2, description="workers that train, or auto: as many as cores are free"
    )
    min_workers: int = Field(1, ge=1, description="auto never goes below this")
    max_workers: int | None = Field(
        None,
        ge=1,
        le=MOST_WORKERS,
        description="neither count nor any request goes above this; null: 64, with auto the cores",
    )
    expects: tuple[int, ...] = Field(
        (),
        max_length=8,
        description="numbers of workers that the run will be scaled to: a recurrent model's graphs for them are made before it starts",
    )
    share: float = Field(1.0, ge=1e-6, le=1000, description="with auto: weight among the runs of the machine")
    priority: int = Field(0, ge=-9, le=9, description="with auto: each more counts as four times the share")
    standby: int = Field(0, ge=0, le=16, description="warm processes kept ready to join or replace")
    threads: int | None = Field(None, ge=1, description="threads per worker; null: cores divided by workers")
    weights: tuple[float, ...] | Literal["auto"] | None = Field(
        None,
        description="relative speed of each place, the first slot first; auto: as the workers turn out to be; null: all equal",
    )
    spark: SparkSpec | None = Field(
        None, description="the Spark application whose tasks the workers are; null: none"
    )
    hosts: tuple[HostSpec, ...] | None = Field(
        None,
        description="hosts whose slots the workers take, the first ones first, or slurm; null: this machine",
    )
    driver: str | None = Field(
        None,
        pattern=HOST,
        description="host on which the driver runs too, as ssh knows it; null: this machine",
    )
    device: Literal["cpu", "gpu"] = Field("cpu", description="what each worker computes on")
    allreduce: Literal["auto", "horovod", "shared_memory"] = Field(
        "auto",
        description="how gradients are summed; auto: in shared memory within a host, by Horovod between hosts",
    )
    wire: Literal["float32", "float16"] = Field(
        "float32",
        description="number format of gradients that Horovod sends; within a host always float32; float16 is not exact",
    )
    hang_seconds: float = Field(15.0, gt=0, description="a silent worker is replaced after this time")
    max_failures: int = Field(
        5, ge=0, description="unexpected worker deaths in a row, without progress, that end the run"
    )
    places: Places = Field(
        None,
        description="where on this machine workers sit, the first one first; pinned: on cores of their own; null: anywhere",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _with_places_of_spark(cls, values: Any) -> Any:
        return with_places_of_spark(values) if isinstance(values, dict) else values

    @pydantic.field_validator("spark")
    @classmethod
    def _knows_its_tasks(cls, spark: SparkSpec | None, info: pydantic.ValidationInfo) -> SparkSpec | None:
        if spark is not None and (info.data.get("count"), info.data.get("max_workers")) == ("auto", None):
            raise ValueError("`max_workers` beside `auto`: so many tasks Spark is asked for")
        return spark

    @pydantic.field_validator("expects")
    @classmethod
    def _are_numbers_of_workers(cls, expects: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= one <= MOST_WORKERS for one in expects):
            raise ValueError(f"numbers of workers, 1 to {MOST_WORKERS}")
        return expects

    @pydantic.field_validator("hosts", mode="before")
    @classmethod
    def _read_hosts(cls, hosts: Any) -> Any:
        if hosts == SLURM:
            hosts = [hosts]
        if not isinstance(hosts, list | tuple):
            return hosts
        return tuple(HostSpec.parse(one) if isinstance(one, str) else one for one in hosts)

    @pydantic.field_validator("hosts")
    @classmethod
    def _checked(
        cls, hosts: tuple[HostSpec, ...] | None, info: pydantic.ValidationInfo
    ) -> tuple[HostSpec, ...] | None:
        check_hosts(hosts, of_spark=info.data.get("spark") is not None)
        return hosts

    @pydantic.field_validator("places", mode="before")
    @classmethod
    def _read_places(cls, places: Any) -> Any:
        if not isinstance(places, list | tuple):
            return places
        return tuple(PlaceSpec.parse(one) if isinstance(one, str) else one for one in places)

    @pydantic.field_validator("places")
    @classmethod
    def _of_this_machine(cls, places: Places, info: pydantic.ValidationInfo) -> Places:
        if places is None:
            return None
        given = info.data
        for name, why in (
            ("spark", "Spark gives the tasks their cores"),
            ("hosts", "a host has `slots`, whose workers are not pinned"),
            ("driver", "places are of this machine"),
        ):
            if given.get(name) is not None:
                raise ValueError(f"null beside `{name}`: {why}")
        if given.get("count") == "auto":
            raise ValueError("null beside count auto: runs that share the machine take any cores")
        if given.get("device") == "gpu":
            raise ValueError("null beside device gpu: a place says which, such as gpu:0")
        needed = int(given.get("count", 1)) + int(given.get("standby", 0))
        if places != PINNED and len(places) < needed:
            raise ValueError(f"a place for each of the {needed} workers, those of standby included")
        return places

    @property
    def slots(self) -> int | None:
        """Room for workers on all hosts together, or the places that were chosen; None: as many as are wanted."""
        if isinstance(self.places, tuple):
            return len(self.places)
        if self.places == PINNED:
            assert isinstance(self.count, int), "places are refused beside auto"
            return max(self.count, self.max_workers or 0) + self.standby
        return None if self.hosts is None else sum(host.slots for host in self.hosts)

    @property
    def divided(self) -> bool:
        """Whether it stands on its machine, or on hosts, that a pool divides; not on chosen places, or on what Slurm or Spark give.

        >>> WorkersConfig().divided, WorkersConfig(hosts=("slurm",)).divided
        (True, False)
        """
        return self.places is None and all(host.via in ("local", "ssh") for host in self.hosts or ())

    @property
    def devices(self) -> frozenset[str]:
        """What its workers compute on: cpu, gpu or both."""
        if isinstance(self.places, tuple):
            return frozenset(place.device for place in self.places)
        return frozenset({self.device})

    @property
    def whereabouts(self) -> dict[str, Any]:
        """How many workers were asked for, and the hosts with their slots: what the log says of where a run stands.

        >>> WorkersConfig(count=3, hosts=("localhost:2", "gpu-box")).whereabouts
        {'workers': 3, 'hosts': ['localhost:2', 'gpu-box:1']}
        """
        hosts = None if self.hosts is None else [f"{host.name}:{host.slots}" for host in self.hosts]
        return {"workers": self.count, "hosts": hosts}

    @pydantic.field_validator("count")
    @classmethod
    def _count(cls, count: int | str) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError("a whole number of at least 1, or auto")
        return count

    @pydantic.field_validator("max_workers")
    @classmethod
    def _above_the_others(cls, highest: int | None, info: pydantic.ValidationInfo) -> int | None:
        for name in ("count", "min_workers"):
            other = info.data.get(name)
            if highest is not None and isinstance(other, int) and highest < other:
                raise ValueError(f"at least {name} ({other})")
        return highest

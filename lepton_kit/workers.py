"""The workers of a run, as its configuration names them: how many, where, and how they are kept."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field

from lepton_kit.hosts import HOST, SLURM, HostSpec, SparkSpec, check_hosts, with_places_of_spark
from lepton_kit.specs import Section

MOST_WORKERS = 1024


class WorkersConfig(Section):
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
    share: float = Field(1.0, gt=0, le=1000, description="with auto: weight among the runs of the machine")
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

    @property
    def slots(self) -> int | None:
        """Room for workers on all hosts together; None without hosts."""
        return None if self.hosts is None else sum(host.slots for host in self.hosts)

    @property
    def places(self) -> dict[str, Any]:
        """How many workers were asked for, and the hosts with their slots: what the log says of where a run stands.

        >>> WorkersConfig(count=3, hosts=("localhost:2", "gpu-box")).places
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

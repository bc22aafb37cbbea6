"""A configuration as what repeats it elsewhere: with absolute paths, and as Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lepton_kit.client.options import SAME
from lepton_kit.config import RunConfig, TrainingConfig
from lepton_kit.data.places import is_address
from lepton_kit.hosts import SparkSpec
from lepton_kit.specs import LeptonSpec, Spec
from lepton_kit.workers import WorkersConfig

EVENT = ("verb", "id", "accepted", "cause", "time", "kind", "step")
"""What an event of a request holds beside the request's own arguments."""


def absolute(config: RunConfig, base: Path) -> RunConfig:
    """The same configuration with the paths of model, data and callbacks absolute, as a launch begins with."""
    from lepton_kit.training import callback_specs

    values = config.to_dict()
    values["frozen"] = None  # a repetition freezes its own
    for section in ("model", "data"):
        path = values[section].get("path")
        if path is not None and not is_address(path):
            values[section]["path"] = str(Path(base, path).resolve())
    values["training"]["callbacks"] = callback_specs.absolute(config.training.callbacks, base.resolve())
    return RunConfig.from_dict(values)


def as_python(config: RunConfig) -> str:
    """A script that repeats the run of a configuration whose paths are absolute."""
    spark = config.workers.spark
    arguments = [
        f"{name}={_spark_code(spark) if name == 'spark' and spark is not None else repr(value)}"
        for name, value in _arguments(config)
        if spark is None or name != "hosts"
    ]
    lines = ["import lepton_kit as lk"]
    lines += ["from pyspark.sql import SparkSession"] if spark is not None and spark.master is None else []
    lines += ["", f"model = {_model_code(config.model)}"]
    lines += [f"data = {data_code(config.data)}", "run = lk.launch("]
    lines += ["    model,", "    data,", *(f"    {argument}," for argument in arguments), ")", "run.wait()"]
    return "\n".join(lines) + "\n"


def told_changes(requests: Iterable[Mapping[str, Any]]) -> list[str]:
    """What clients changed while a run trained, as lines of Python with the step after which each was asked.

    >>> told_changes(
    ...     [{"verb": "scale", "workers": 3, "step": 120, "accepted": True}, {"verb": "pause", "step": 300}]
    ... )
    ['after step 120: run.scale(3)', 'after step 300: run.pause()']
    """
    lines = []
    for request in requests:
        if request.get("accepted") is False:
            continue
        arguments = {name: value for name, value in request.items() if name not in EVENT}
        if request["verb"] == "slow":  # weights and losses are the same without it
            continue
        if request["verb"] == "scale":
            given = repr(arguments.pop("workers", None))
        else:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        lines.append(f"after step {request['step']}: run.{request['verb']}({given})")
    return lines


def with_changes(code: str, requests: Iterable[Mapping[str, Any]]) -> str:
    """A script that repeats a run, with what was changed while it trained as comments."""
    lines = told_changes(requests)
    if not lines:
        return code
    return (
        code
        + "\n# Changed while it trained, at the next commit; this script does not repeat it:\n"
        + "".join(f"#   {line}\n" for line in lines)
    )


def _arguments(config: RunConfig) -> Iterator[tuple[str, Any]]:
    """Options of `launch`, by their names there: the usual ones, and whatever is not as by default."""
    values = config.to_dict()
    yield "workers", values["workers"].pop("count")
    defaults = {
        "training": TrainingConfig().model_dump(mode="json"),
        "workers": WorkersConfig().model_dump(mode="json"),
    }
    for section, shown in (("training", ("global_batch", "epochs")), ("workers", ())):
        for name, value in values[section].items():
            if name == "places" and isinstance(config.workers.places, tuple):
                yield name, [place.told() for place in config.workers.places]
            elif name in shown or value != defaults[section][name]:
                yield SAME.get(name, name), value
    for name in ("seed", "name"):
        yield name, values[name]
    for name in ("pruning", "quantization_aware"):
        if values[name] is not None:
            yield name, values[name]


def _spark_code(spark: SparkSpec) -> str:
    """What ``spark=`` was: a session stands for the one that its reader has.

    >>> _spark_code(SparkSpec(gang=True))
    "{'session': SparkSession.builder.getOrCreate(), 'gang': True}"
    """
    given = spark.model_dump(exclude_defaults=True)
    if spark.master is not None:
        return repr(given)
    settings = [f"{name!r}: {value!r}" for name, value in given.items() if name != "conf"]
    return "{" + ", ".join(["'session': SparkSession.builder.getOrCreate()", *settings]) + "}"


def _model_code(spec: Spec) -> str:
    if not isinstance(spec, LeptonSpec):
        return f"lk.models.build({dict(spec)!r}, base='.', seed=0)"
    settings = {name: value for name, value in spec.items() if name != "kind" and value is not None}
    return f"lk.LeptonModel({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def data_code(spec: Spec) -> str:
    """The Python that gives the data of a configuration."""
    if spec.kind == "arrays":
        return f"lk.data.Dataset.from_spec({dict(spec)!r})"
    if spec.kind == "sample":
        return f"lk.data.sample({spec['name']!r})"
    options = {
        name: value for name, value in spec.items() if name not in ("kind", "path") and value is not None
    }
    settings = [repr(spec["path"]), *(f"{name}={value!r}" for name, value in options.items())]
    return f"lk.data.{spec.kind}({', '.join(settings)})"

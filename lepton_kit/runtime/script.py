"""A configuration as what repeats it elsewhere: with absolute paths, and as Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig


def absolute(config: RunConfig, base: Path) -> RunConfig:
    """The same configuration with the paths of model and data absolute."""
    values = config.to_dict()
    for section in ("model", "data"):
        path = values[section].get("path")
        if path is not None:
            values[section]["path"] = str(Path(base, path).resolve())
    return RunConfig.from_dict(values)


def as_python(config: RunConfig) -> str:
    """A script that repeats the run of a configuration whose paths are absolute."""
    values = config.to_dict()
    defaults = RunConfig(model={}, data={}).to_dict()
    arguments = [f"workers={values['workers'].pop('count')!r}"]
    for section, shown in (("training", ("global_batch", "epochs")), ("workers", ())):
        for option, value in values[section].items():
            if option in shown or value != defaults[section][option]:
                arguments.append(f"{option}={value!r}")
    arguments += [f"{option}={values[option]!r}" for option in ("seed", "name")]
    for option in ("pruning", "quantization_aware"):
        if values[option] is not None:
            arguments.append(f"{option}={values[option]!r}")
    lines = ["import lepton_kit as lk", "", f"model = {_model_code(values['model'])}"]
    lines += [f"data = {_data_code(values['data'])}", "run = lk.launch("]
    lines += ["    model,", "    data,", *(f"    {argument}," for argument in arguments), ")", "run.wait()"]
    return "\n".join(lines) + "\n"


def _model_code(spec: dict[str, Any]) -> str:
    if spec["kind"] != "lepton":
        return f"lk.models.build({spec!r}, base='.', seed=0)"
    settings = {name: value for name, value in spec.items() if name != "kind" and value is not None}
    return f"lk.LeptonModel({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def _data_code(spec: dict[str, Any]) -> str:
    if spec["kind"] == "arrays":
        return f"lk.data.Dataset.from_spec({spec!r})"
    options = {
        name: value for name, value in spec.items() if name not in ("kind", "path") and value is not None
    }
    settings = [repr(spec["path"]), *(f"{name}={value!r}" for name, value in options.items())]
    return f"lk.data.{spec['kind']}({', '.join(settings)})"

"""Requests from clients to a run's driver: one small file each, so that none is lost and none is read twice."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from dataclasses import dataclass
from typing import Any

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir.paths import RunPaths, write_atomically
from lepton_kit.rundir.reading import read_mapping

VERBS = ("scale", "pause", "resume", "stop", "interrupt", "set", "slow")
SETTABLE = ("learning_rate", "log_seconds")
SLOWED = {"factor": (1.0, 20.0), "data_seconds": (0.0, 5.0)}
"""By how much a worker may be made slow: computing so many times as long, reading so many seconds a step longer.

The bounds keep the blocks short: a pause is heard between two of them, and so waits for the slowest worker.
"""


@dataclass(frozen=True)
class Request:
    """What a client asks of a running run.

    >>> Request("scale", {"workers": 3}).arguments["workers"]
    3
    """

    verb: str
    arguments: dict[str, Any]
    id: str = ""

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise ConfigError("request", given=self.verb, rule=f"one of {', '.join(VERBS)}")
        if self.verb == "scale":
            workers = self.arguments.get("workers")
            whole = isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1
            if not whole and workers != "auto":
                raise ConfigError("workers", given=workers, rule="a whole number of at least 1, or 'auto'")
        if self.verb == "set":
            for name, value in self.arguments.items():
                if name not in SETTABLE:
                    raise ConfigError(name, given=value, rule=f"one of {', '.join(SETTABLE)}")
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
                    raise ConfigError(name, given=value, rule="a number above 0")
        if self.verb == "slow":
            _check_slow(dict(self.arguments))


def _check_slow(arguments: dict[str, Any]) -> None:
    rank = arguments.pop("rank", None)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise ConfigError("rank", given=rank, rule="a rank: a whole number of at least 0")
    if not arguments:
        raise ConfigError("slow", given={"rank": rank}, rule="factor or data_seconds")
    for name, value in arguments.items():
        if name not in SLOWED:
            raise ConfigError(name, given=value, rule=f"one of {', '.join(SLOWED)}")
        low, high = SLOWED[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ConfigError(name, given=value, rule=f"a number from {low:g} (as it is) to {high:g}")


def send_request(paths: RunPaths, verb: str, **arguments: Any) -> Request:
    """Leave a request for the driver. Raises `ConfigError` for a request that no driver could grant."""
    request = Request(verb, arguments, f"{time.time_ns():020d}-{secrets.token_hex(3)}")
    try:
        text = json.dumps({"verb": verb, "arguments": arguments})
        write_atomically(paths.control / f"{request.id}.json", text)
    except OSError as failure:
        raise RunError(f"{paths.control}: the request could not be written ({failure})") from None
    return request


def read_requests(paths: RunPaths) -> tuple[list[Request], list[str]]:
    """Take all waiting requests, oldest first, and the reasons why unreadable ones were thrown away."""
    requests: list[Request] = []
    refused: list[str] = []
    for path in sorted(paths.control.glob("[0-9]*.json")):
        try:
            values = read_mapping(path)
            requests.append(Request(values["verb"], dict(values["arguments"]), path.stem))
        except OSError as failure:
            refused.append(f"control/{path.name}: {failure.strerror}")
        except (ValueError, KeyError, TypeError) as failure:
            refused.append(f"control/{path.name}: {failure}")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return requests, refused

"""Requests from clients to a run's driver: one small file each, so that none is lost and none is read twice."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.errors import FULL, ConfigError, RunError
from lepton_kit.rundir.paths import RunPaths, write_atomically
from lepton_kit.rundir.reading import NOT_JSON, read_bounded

VERBS = ("scale", "pause", "resume", "stop", "interrupt", "set", "slow")
ENDED = "the run has ended"
"""Why a driver refuses what it hears last."""
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
    """Leave a request for the driver, on a full disk too. Raises `ConfigError` for one that no driver could grant."""
    request = Request(verb, arguments, f"{time.time_ns():020d}-{secrets.token_hex(3)}")
    text = json.dumps({"verb": verb, "arguments": arguments})
    place = paths.control / f"{request.id}.json"
    try:
        write_atomically(place, text)
    except OSError as failure:
        if failure.errno not in FULL or not _left_as_link(place, text):
            raise RunError(f"{paths.control}: the request could not be written ({failure})") from None
    return request


def _left_as_link(place: Path, text: str) -> bool:
    """Leave a request as what a link points to: a short one lies in the entry of the folder itself, and needs no block.

    So a run can be told to stop where the disk is full.
    """
    try:
        os.symlink(text, place)
    except OSError:
        return False
    return True


def request_text(path: Path) -> str:
    """What a request says, whether it was written or left as a link. Raises `OSError` or `ValueError`."""
    if path.is_symlink():
        return os.readlink(path)
    return read_bounded(path).decode("utf-8")


def read_requests(paths: RunPaths) -> tuple[list[Request], list[str]]:
    """Take all waiting requests, oldest first, and the reasons why unreadable ones were thrown away."""
    requests: list[Request] = []
    refused: list[str] = []
    for path in sorted(paths.control.glob("[0-9]*.json")):
        try:
            values = json.loads(request_text(path))
            requests.append(Request(values["verb"], dict(values["arguments"]), path.stem))
        except OSError as failure:
            refused.append(f"control/{path.name}: {failure.strerror}")
        except (*NOT_JSON, KeyError, TypeError) as failure:
            refused.append(f"control/{path.name}: {failure}")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return requests, refused

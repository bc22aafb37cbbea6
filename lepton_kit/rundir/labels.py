"""What a user writes on a run: a name, tags and a note, in a small file of their own beside the configuration."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir.paths import RunPaths, write_atomically
from lepton_kit.rundir.reading import read_mapping

LONGEST_NAME, LONGEST_TAG, LONGEST_NOTE, MOST_TAGS = 100, 40, 10_000, 20
LINES = "\n\t"
"""Control characters that a note may have."""
_TAG = re.compile(r"[^\s,\"'=<>!]+")
_STAMP = re.compile(r"-\d{8}-\d{6}-[0-9a-f]{4}$")


@dataclass(frozen=True)
class Labels:
    """What stands on a run; ``deleted`` is when it went into the trash, in unix seconds.

    >>> Labels(tags=("baseline",)).tags
    ('baseline',)
    """

    name: str | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    deleted: float | None = None


def _odd(text: str, allowed: str = "") -> str:
    """The first sign that would steer a terminal, or that no file can hold; empty if there is none."""
    return next((c for c in text if c not in allowed and unicodedata.category(c) in ("Cc", "Cs")), "")


def _plain(text: str, allowed: str = "") -> str:
    """A text without such signs: who else wrote it need not have asked `check_note`."""
    return "".join(c for c in text if not _odd(c, allowed))


def first_name(run_id: str) -> str:
    """The name that a run was launched with, from its id.

    >>> first_name("quickstart-20261123-164122-d51b"), first_name("demo")
    ('quickstart', 'demo')
    """
    return _STAMP.sub("", run_id) or run_id


def read_labels(paths: RunPaths) -> Labels:
    """The labels of a run; what is not there, or is not a label, reads as none."""
    try:
        said = read_mapping(paths.labels)
    except (OSError, ValueError):
        return Labels()
    name, tags, note, deleted = (said.get(key) for key in ("name", "tags", "note", "deleted"))
    return Labels(
        (_plain(name) or None) if isinstance(name, str) else None,
        tuple(_plain(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        _plain(note, LINES) if isinstance(note, str) else "",
        float(deleted) if isinstance(deleted, int | float) else None,
    )


def write_labels(paths: RunPaths, **changes: Any) -> Labels:
    """Change some labels and leave the others, whoever else writes at the same time. Raises `RunError`."""
    try:
        with _turn(paths):
            labels = replace(read_labels(paths), **changes)
            write_atomically(paths.labels, json.dumps(asdict(labels), ensure_ascii=False))
    except OSError as failure:
        raise RunError(f"{paths.labels}: cannot be written ({failure.strerror})") from None
    return labels


@contextlib.contextmanager
def _turn(paths: RunPaths) -> Iterator[None]:
    """One writer at a time, by a lock on the folder of requests: the run's own folder is its driver's to lock."""
    descriptor = os.open(paths.control, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the last writer wins
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_name(name: object) -> str:
    """A name as it may be given. Raises `ConfigError`."""
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise ConfigError(
            "name", given=name, rule=f"one line of 1 to {LONGEST_NAME} characters, or None for the first name"
        )
    return text


def check_tags(tags: object) -> tuple[str, ...]:
    """Tags as they may be given, each once. Raises `ConfigError`.

    >>> check_tags(["baseline", "8bit", "baseline"])
    ('baseline', '8bit')
    """
    rule = f"at most {MOST_TAGS} words of at most {LONGEST_TAG} characters, without spaces, commas, quotes, control characters or <>=!"
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise ConfigError("tags", given=tags, rule=f"a list of {rule}")
    found = tuple(dict.fromkeys(tags))
    for tag in found:
        if not isinstance(tag, str) or len(tag) > LONGEST_TAG or not _TAG.fullmatch(tag) or _odd(tag):
            raise ConfigError("tags", given=tag, rule=rule)
    if len(found) > MOST_TAGS:
        raise ConfigError("tags", given=len(found), rule=rule)
    return found


def check_note(note: object) -> str:
    """A note as it may be given. Raises `ConfigError`."""
    if not isinstance(note, str) or len(note) > LONGEST_NOTE:
        given = note if not isinstance(note, str) else f"{len(note):,} characters"
        raise ConfigError("note", given=given, rule=f"a text of at most {LONGEST_NOTE:,} characters")
    text = note.replace("\r\n", "\n").strip()
    if odd := _odd(text, LINES):
        raise ConfigError("note", given=odd, rule="a text without control characters and broken bytes")
    return text

"""One exception tree: every error that lepton_kit raises on purpose is a LeptonError."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

LONGEST = 300
"""Characters of a given value that an error repeats."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk, a full quota, and a file larger than is allowed."""


def why_not_written(failure: OSError, folder: Path) -> str:
    """Why a file in a folder could not be written, in words; of a full disk also how much of it is free.

    >>> why_not_written(OSError(errno.EACCES, "Permission denied"), Path("."))
    'Permission denied'
    """
    said = failure.strerror or str(failure)
    if failure.errno not in FULL:
        return said
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return f"{said}; {free / 1e6:,.1f} MB are free there"


class LeptonError(Exception):
    """Base of every deliberate error; its text says what was given, the rule, and what is allowed."""


class ConfigError(LeptonError, ValueError):
    """A setting is unknown, of the wrong type, or out of range; the text starts with the field's name.

    >>> raise ConfigError("training.epochs", given=0, rule="a whole number of at least 1")
    Traceback (most recent call last):
    ...
    lepton_kit.errors.ConfigError: training.epochs: got 0; expected a whole number of at least 1
    """

    def __init__(self, field: str, *, given: object = None, rule: str):
        self.field = field
        self.given = given
        self.rule = rule
        super().__init__(f"{field}: got {_told(given)}; expected {rule}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_config_error, (self.field, self.given, self.rule)


def _told(given: object) -> str:
    """A value as an error repeats it: the beginning of a long one, and how long it is.

    >>> _told("x" * 5000)[-40:]
    'xxxxxxxxxxxxxxxxxxxx… (5,002 characters)'
    """
    said = repr(given)
    if len(said) <= LONGEST:
        return said
    return f"{said[:LONGEST]}… ({len(said):,} characters)"


@contextlib.contextmanager
def writing(field: str, path: Path) -> Iterator[None]:
    """Around what writes to a path that somebody gave: where that can't be done, a `ConfigError` names it and says why.

    >>> with writing("path", Path("/dev/null/plan.svg")):
    ...     Path("/dev/null/plan.svg").write_text("")
    Traceback (most recent call last):
    ...
    lepton_kit.errors.ConfigError: path: got '/dev/null/plan.svg'; expected a place to write to (Not a directory)
    """
    try:
        yield
    except OSError as failure:
        why = why_not_written(failure, path.parent)
        raise ConfigError(field, given=str(path), rule=f"a place to write to ({why})") from None


def _rebuild_config_error(field: str, given: object, rule: str) -> ConfigError:
    return ConfigError(field, given=given, rule=rule)


class DataError(LeptonError, ValueError):
    """A data source is missing, broken or does not fit; the text names the file, row or field."""


class ModelError(LeptonError, ValueError):
    """A model cannot be stored, rebuilt, or does not fit its data; the text names the layer or shape."""


class DeviceError(LeptonError, RuntimeError):
    """The machine lacks something that a run needs (memory, a device, a library)."""


class RunError(LeptonError, RuntimeError):
    """A run cannot be found, started, controlled, or ended with a failure; the text says where its log is."""


class CompressionError(LeptonError, ValueError):
    """A compression request cannot be met; the text names the layer or option and what to do instead."""


class CollectiveError(LeptonError, RuntimeError):
    """A collective operation broke because a peer left; the worker re-forms, users never see this one."""

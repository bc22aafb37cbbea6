"""This environment as an archive that Spark brings to its executors: Python packages, Horovod and lepton_kit."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from lepton_kit.errors import RunError, why_not_written
from lepton_kit.runtime.spark.task import ARCHIVE

PACKAGE = Path(__file__).resolve().parents[2]
LEFT_OUT = ("__pycache__", "pyspark")
"""Folders that no worker needs: executors have pyspark of their own."""
LEFT_OUT_AT_TOP = ("share", "include", "etc")
EDITABLE = "__editable__"
LEVEL = 1
"""Of gzip: what takes the room is compiled code, which higher levels hardly make smaller."""


def pack(target: Path, prefix: Path | None = None) -> int:
    """Write the virtual environment at ``prefix`` (this one's) with this lepton_kit; returns the bytes of the file.

    Its Python is a link to the one that the environment was made from: executors need that under the same path. Raises
    `RunError` where there is no virtual environment, or no room.
    """
    prefix = Path(sys.prefix) if prefix is None else prefix
    if not (prefix / "pyvenv.cfg").is_file():
        raise RunError(
            f"{prefix}: is no virtual environment, which alone can be packed; `make setup` makes one, "
            "and conda-pack packs one of conda's"
        )
    if not target.name.endswith((".tar.gz", ".tgz")):
        raise RunError(
            f"{target}: expected a name that ends in .tar.gz, by which Spark knows how to unpack it"
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(temporary, "w:gz", compresslevel=LEVEL, format=tarfile.PAX_FORMAT) as archive:
            for path in _members(prefix):
                archive.add(path, str(path.relative_to(prefix)), recursive=False)
            packages = next(prefix.glob("lib/python*/site-packages")).relative_to(prefix)
            for path in sorted(PACKAGE.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    name = packages / PACKAGE.name / path.relative_to(PACKAGE)
                    archive.add(path, str(name), recursive=False)
        os.replace(temporary, target)
    except OSError as failure:
        raise RunError(f"{target}: can't be written ({why_not_written(failure, target.parent)})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


def _members(prefix: Path) -> Iterator[Path]:
    """Files and links of the environment, without what is left out and without another lepton_kit."""
    for base, folders, names in os.walk(prefix):
        here = Path(base)
        links = [one for one in folders if (here / one).is_symlink()]
        out = (PACKAGE.name, *LEFT_OUT, *(LEFT_OUT_AT_TOP if here == prefix else ()))
        folders[:] = sorted(one for one in folders if one not in out and one not in links)
        for name in sorted([*links, *names]):
            if not name.startswith(EDITABLE):
                yield here / name


def how_to(target: Path) -> str:
    """What to do with the archive, in words."""
    name = f"{target.absolute()}#{ARCHIVE}"
    return (
        f"{target}: bring it to the executors in one of these ways\n"
        f"  lk.launch(model, data, spark={{'session': session, 'archive': '{target}'}})\n"
        f"  SparkSession.builder.config('spark.archives', '{name}')\n"
        f"  spark-submit --archives {name}\n"
        f"Executors need the same kind of machine, and Python under {os.path.realpath(sys.executable)}."
    )

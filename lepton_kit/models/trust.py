"""Whose pickles are opened: what this user has written on this machine, and what he says he trusts.

A pickle is code that runs when it is read. Whatever this package writes it notes by its SHA-256 in a folder of the
user's own, outside of all runs and exports; another content is not opened before `trust` has noted it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickletools
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lepton_kit.errors import ModelError

HARMLESS = (
    "builtins",
    "keras",
    "tensorflow",
    "numpy",
    "lepton_kit",
    "cloudpickle",
    "collections",
    "types",
    "copyreg",
    "ml_dtypes",
)
"""Modules whose names are left out of what a pickle would run: nearly every model's pickle has them."""
CODE_MAKERS = ("_make_function", "_make_skeleton_class", "_builtin_type", "CodeType")
DANGEROUS = {("builtins", name) for name in ("eval", "exec", "open", "compile", "__import__", "getattr")}
SHOWN = 8


def note(content: bytes) -> None:
    """Note that this user has written this content here, so that it opens without a word."""
    name = hashlib.sha256(content).hexdigest()
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_own(folder):
                (folder / name).touch(mode=0o600)
                return


def trust(path: Path) -> None:
    """Note all pickles of a run or an export (or those beside a model's file) as trusted."""
    for file in code_files(path):
        note(file.read_bytes())


def check(path: Path) -> None:
    """Raise `ModelError` if a run or an export holds a pickle that would not be opened."""
    for file in code_files(path):
        read(file)


def code_files(path: Path) -> Iterator[Path]:
    """The pickles of models and callbacks in a folder and the folders of a run in it, or beside a file."""
    folder = path if path.is_dir() else path.parent
    for home in (folder, folder / "model", folder / "final"):
        for name in ("custom.pkl", "model.pkl", "callbacks.pkl"):
            if (home / name).is_file() and (home.name, name) != ("final", "callbacks.pkl"):
                yield home / name


def read(path: Path) -> bytes:
    """The bytes of a pickle that may be opened. Raises `ModelError` that names what it would run."""
    content = path.read_bytes()
    name = hashlib.sha256(content).hexdigest()
    if any(_is_own(folder) and (folder / name).is_file() for folder in _folders()):
        return content
    raise ModelError(
        f"{path}: code from elsewhere, or of an earlier version of lepton_kit; to load it would run {runs(content)}. If you "
        "trust whoever wrote it: trust=True (in a shell --trust), once"
    )


def runs(content: bytes) -> str:
    """What reading a pickle would import and call, in words; found without running any of it.

    >>> import pickle
    >>> runs(pickle.dumps(os.system))
    'posix.system'
    """
    found: dict[str, None] = {}
    makes_code = False
    try:
        for module, name, called in _names(content):
            if called:
                found[f"{called} (its code is in the file)"] = None
            makes_code = makes_code or name in CODE_MAKERS
            known = module.split(".")[0] in HARMLESS and (module, name) not in DANGEROUS
            if module and not known:
                found[f"{module}.{name}"] = None
    except Exception:  # a pickle may be spoilt in any way, on purpose too
        found["what can't be told: it is no whole pickle"] = None
    if not found:
        return "code of its own" if makes_code else "functions of Keras and TensorFlow alone"
    names = list(found)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _names(content: bytes) -> Iterator[tuple[str, str, str]]:
    """Of each import its module and name; of each class and function that is built from code in the file its name."""
    memo: list[str | None] = []
    strings: list[str] = []  # those on top of the stack, as far as it holds nothing else
    top: str | None = None
    building = False
    while content:  # a file may hold several pickles, one after the other
        file = io.BytesIO(content)
        for opcode, argument, _ in pickletools.genops(file):
            kind = opcode.name
            if kind in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                memo.append(top)
                continue
            if kind in ("FRAME", "PROTO"):
                continue
            top = None
            if kind in ("GET", "BINGET", "LONG_BINGET"):
                place = int(str(argument))
                top = memo[place] if place < len(memo) else None
            elif isinstance(argument, str) and kind != "GLOBAL":
                top = argument
            if top is not None:
                if strings and _is_source(strings[-1]) and top.isidentifier():
                    yield "", "", top  # a code object has its file's name, then its own
                strings.append(top)
                continue
            if kind in ("GLOBAL", "STACK_GLOBAL"):
                module, name = str(argument).split(" ", 1) if kind == "GLOBAL" else strings[-2:]
                yield module, name, ""
                strings = strings[:-2] if building and kind == "STACK_GLOBAL" else []
                building = building or name == "_make_skeleton_class"
            elif kind != "MARK":
                if building and strings:
                    yield "", "", strings[0]
                    building = False
                strings = []
        content = content[file.tell() :]


def _is_source(text: str) -> bool:
    return bool(re.search(r"\.py$|^<.*>$|/ipykernel_", text))


def _folders() -> tuple[Path, Path]:
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    spare = Path(tempfile.gettempdir()) / f"lepton_kit-{os.getuid()}"  # where the home can't be written to
    return home / "lepton_kit" / "trusted", spare / "trusted"


def _is_own(folder: Path) -> bool:
    """Whether only this user can have put anything into a folder."""
    try:
        about = folder.stat()
    except OSError:
        return False
    return about.st_uid == os.getuid() and not about.st_mode & 0o022

"""Has TensorFlow keep the Python that it generates in memory: workers end without goodbye and would leave its files."""

from __future__ import annotations

import importlib.util
import itertools
import linecache
import sys
from typing import Any

_numbers = itertools.count()


def keep_in_memory() -> None:
    """Replace the part of AutoGraph that writes each generated function into TMPDIR and imports it from there.

    A full disk there would otherwise have functions run that were not converted. Without this part of TensorFlow, which
    is not public, all stays as it is.
    """
    try:
        from tensorflow.python.autograph.pyct import loader
    except ImportError:
        return
    if hasattr(loader, "load_source"):
        loader.load_source = load_source


def load_source(source: str, delete_on_exit: bool = True) -> tuple[Any, str]:
    """A module made of its source; tracebacks show its lines. Returns it and the name that stands for its file."""
    name = f"__autograph_generated_file{next(_numbers)}"
    file = f"<{name}>"
    spec = importlib.util.spec_from_loader(name, None, origin=file)
    assert spec is not None  # it has no loader to look for
    module = importlib.util.module_from_spec(spec)
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    sys.modules[name] = module
    return module, file

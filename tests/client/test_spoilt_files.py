"""Every file of a run, spoilt in turn: whatever is asked then answers, or raises an error in words; nothing waits for ever."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.errors import LeptonError

EARLIER = Path(__file__).with_name("earlier") / "answers-20261125-230000-9a88"
GUARD_SECONDS = 120
"""Reading a pipe waits for ever, reading an endless file until memory is full; all else takes milliseconds."""

ADDED = {
    "labels.json": '{"version": 1, "name": "demo"}',
    "driver.lock": "",
    "logs/driver.log": "begun\n",
    "logs/worker-0.log": "begun\n",
}
FILES = [str(path.relative_to(EARLIER)) for path in sorted(EARLIER.rglob("*")) if path.is_file()] + list(
    ADDED
)

SPOIL: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to what never ends": lambda path: path.symlink_to("/dev/zero"),
    "deep JSON": lambda path: path.write_text("[" * 100_000),
    "null": lambda path: path.write_text("null"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 9),
    "empty": lambda path: path.touch(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a run, with the files that one of today has beside those of then; and one more that is not spoilt."""
    shutil.copytree(EARLIER, tmp_path / "runs" / "good")
    folder = Path(shutil.copytree(EARLIER, tmp_path / "runs" / "spoilt"))
    for name, text in ADDED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Fail where the body waits for ever."""

    def late(*_: Any) -> None:
        raise AssertionError("it waits for what never comes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(GUARD_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def asked(folder: Path) -> list[str]:
    """Ask a run for whatever can be read of it; the errors, in words."""
    errors = []

    def ask(read: Callable[[], object]) -> None:
        try:
            read()
        except LeptonError as failure:
            errors.append(str(failure))

    table = lk.runs(folder.parent).table().set_index("id")
    assert table.loc["good", "status"] == "finished"
    lk.runs(folder.parent).find("loss<9").sort_by("-loss").table()
    try:
        run = lk.open_run(folder.name, folder.parent)
    except LeptonError as failure:
        return [str(failure)]
    repr(run)
    reads: list[Callable[[], object]] = [
        lambda: run.status, lambda: run.cause, lambda: run.warnings, lambda: run.history, lambda: run.best,
        lambda: run.logs(), lambda: run.logs(0), lambda: run.predictions, lambda: run.inputs(), lambda: run.code,
        lambda: lk.audit(run), lambda: run.data, lambda: lk.compare(run).figures(), lambda: run.energy(),
        run.delete, run.restore,
    ]  # fmt: skip
    for read in reads:
        ask(read)
    return errors


@pytest.mark.parametrize("how", SPOIL)
def test_a_spoilt_file_is_told_in_words(folder: Path, how: str):
    before = asked(folder)
    for name in FILES:
        place, kept = folder / name, folder.parent / "kept"
        place.rename(kept)
        with guarded():
            SPOIL[how](place)
            errors = asked(folder)
        if name == "config.yaml":
            assert any(folder.name in text for text in errors), "it can't be read, and that is told"
        found = folder if folder.exists() else folder.parent / ".trash" / folder.name
        if found != folder:
            found.rename(folder)
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)
        kept.rename(place)
    assert asked(folder) == before

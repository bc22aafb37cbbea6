"""No flipped byte of a checkpoint gets into a model: every file is compared with the sums noted when it was written."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_kit.errors import RunError
from lepton_kit.training import state, sums

ARRAYS = [np.arange(40, dtype=np.float32), np.ones((3, 2)), np.zeros((), np.int64)]


def checkpoint(folder: Path, step: int = 7) -> Path:
    history = state.history_array([(step, 0.5, np.arange(6.0))])
    return state.save_checkpoint(
        folder, step, ARRAYS, history, extras={"callbacks.pkl": b"remembered"}, keep=9, logged_epochs=2, value=0.1
    )  # fmt: skip


def refusal(read: Callable[[], Any]) -> str:
    try:
        read()
    except RunError as failure:
        return str(failure)
    return ""


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["meta.json", "history.npy", "callbacks.pkl", "arrays.npz"])
def test_a_flipped_byte_is_found_wherever_it_is_or_changes_nothing(tmp_path: Path, name: str):
    path = checkpoint(tmp_path)
    whole = (path / name).read_bytes()
    harmless = []
    for place in range(len(whole)):
        flip(path / name, place)
        said = refusal(lambda: sums.verified(path))
        assert said.startswith(f"{path / name}: ") or not said
        if not said:
            harmless.append(place)
            step, arrays, _ = state.load_checkpoint(path)
            assert step == 7
            assert all(np.array_equal(one, other) for one, other in zip(arrays, ARRAYS, strict=True))
        (path / name).write_bytes(whole)
    assert not harmless or name == "arrays.npz", "dates and such in the zip archive may differ"
    assert sums.verified(path)["value"] == 0.1


def test_reading_the_arrays_finds_it_too(tmp_path: Path):
    path = checkpoint(tmp_path)
    place = (path / "arrays.npz").read_bytes().index(ARRAYS[0].tobytes())
    flip(path / "arrays.npz", place + 9)
    with pytest.raises(RunError, match=r"arrays\.npz: cannot be read .*CRC"):
        state.load_checkpoint(path)


def test_the_arrays_of_another_checkpoint_are_no_substitute(tmp_path: Path):
    path = checkpoint(tmp_path)
    np.savez(path / "arrays.npz", *(array + 1 for array in ARRAYS))
    for read in (sums.verified, state.load_checkpoint):
        with pytest.raises(RunError, match=r"arrays\.npz: .*another than when it was written"):
            read(path)


def test_a_missing_file_is_named(tmp_path: Path):
    path = checkpoint(tmp_path)
    (path / "callbacks.pkl").unlink()
    with pytest.raises(RunError, match=r"callbacks\.pkl"):
        sums.verified(path)


def test_a_checkpoint_of_an_older_version_is_read_and_its_arrays_compared_with_their_own_sums(tmp_path: Path):
    path = checkpoint(tmp_path)
    (path / "meta.json").write_text(json.dumps({"step": 7, "logged_epochs": 2}))
    assert sums.verified(path) == {"step": 7, "logged_epochs": 2}
    flip(path / "arrays.npz", (path / "arrays.npz").read_bytes().index(ARRAYS[0].tobytes()))
    with pytest.raises(RunError, match=r"arrays\.npz: damaged"):
        sums.verified(path)


def test_the_newest_that_is_whole_is_taken_with_a_warning(tmp_path: Path):
    older, newer = checkpoint(tmp_path, 7), checkpoint(tmp_path, 8)
    assert state.load_newest(tmp_path)[0] == newer
    flip(newer / "arrays.npz", 90)
    with pytest.warns(UserWarning, match=r"step-000000008.*step-000000007, the one before, is taken"):
        path, arrays = state.load_newest(tmp_path)
    assert path == older
    assert np.array_equal(arrays[0], ARRAYS[0])
    flip(older / "arrays.npz", 90)
    with pytest.raises(RunError, match=r"step-000000008.*step-000000007"):
        state.load_newest(tmp_path)


def test_a_damaged_final_state_is_named(tmp_path: Path):
    np.savez(tmp_path / state.FINAL, *ARRAYS)
    whole = (tmp_path / state.FINAL).read_bytes()
    for place in range(0, whole.index(ARRAYS[1].tobytes()), 3):
        flip(tmp_path / state.FINAL, place)
        said = refusal(lambda: state.load_final(tmp_path))
        assert str(tmp_path / state.FINAL) in said or np.array_equal(state.load_final(tmp_path)[0], ARRAYS[0])
        (tmp_path / state.FINAL).write_bytes(whole)


def test_a_large_checkpoint_is_compared_in_pieces(tmp_path: Path):
    large = np.zeros(8_000_000, np.float32)
    path = state.save_checkpoint(tmp_path, 1, [large], np.zeros((0, state.HISTORY_COLUMNS)))
    tracemalloc.start()
    sums.verified(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < large.nbytes / 4


def test_the_sums_are_those_of_every_reader_of_crc_32_whatever_the_order_of_what_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sums, "PIECE_BYTES", 100)
    path = checkpoint(tmp_path)
    noted = json.loads((path / "meta.json").read_text())
    for name in ("history.npy", "callbacks.pkl"):
        assert noted["files"][name] == zlib.crc32((path / name).read_bytes())
    turned = dict(reversed(noted.items()))
    assert list(turned) != list(noted)
    (path / "meta.json").write_text(json.dumps(turned))
    assert sums.verified(path)["step"] == 7


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """A folder with three files of which the sums were noted, and one without."""
    for name in ("a.json", "b.json", "other.txt"):
        (tmp_path / name).write_text(f'{{"name": "{name}"}}')
    np.savez(tmp_path / "c.npz", *ARRAYS)
    sums.note(tmp_path, ("a.json", "b.json", "c.npz"))
    return tmp_path


@pytest.mark.parametrize("name", ["a.json", "c.npz", sums.NOTED])
def test_a_flipped_byte_of_a_noted_file_is_told_with_its_name(noted: Path, name: str):
    whole = (noted / name).read_bytes()
    sums.check(noted, "a.json", "c.npz")
    for place in range(len(whole)):
        flip(noted / name, place)
        said = refusal(lambda: sums.check(noted, "a.json", "c.npz"))
        assert said.startswith(f"{noted / name}: ") or (name == "c.npz" and not said)
        (noted / name).write_bytes(whole)


def test_only_the_files_that_are_asked_about_are_compared_and_the_cure_is_told(noted: Path):
    flip(noted / "a.json", 3)
    flip(noted / "other.txt", 3)
    sums.check(noted, "b.json", "c.npz", "other.txt", "none.json")
    with pytest.raises(RunError, match=r"a\.json: damaged.*on purpose, delete checksums\.json beside it"):
        sums.check(noted, "b.json", "a.json")
    (noted / sums.NOTED).unlink()
    sums.check(noted, "a.json")


def test_noting_again_keeps_what_is_noted_of_others_and_forgets_files_that_are_gone(noted: Path):
    flip(noted / "a.json", 3)
    (noted / "b.json").write_text("{}")
    (noted / "c.npz").unlink()
    sums.note(noted, ("b.json",))
    sums.check(noted, "b.json")
    with pytest.raises(RunError, match=r"a\.json: damaged"):
        sums.check(noted, "a.json")
    assert sorted(json.loads((noted / sums.NOTED).read_text())["files"]) == ["a.json", "b.json"]
    (noted / sums.NOTED).write_text("{")  # spoilt: what is written now is noted all the same
    sums.note(noted, ("a.json",))
    sums.check(noted, "a.json")
    assert not [file.name for file in noted.iterdir() if file.name.startswith(".")]

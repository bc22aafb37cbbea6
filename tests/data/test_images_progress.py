"""How far the decoding of images is: known early, with the time that is left; and the script that measures it."""

import importlib.util
import io
import sys
from pathlib import Path

from lepton_kit import data
from lepton_kit.data.waiting import Waiting

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """A clock on which each look takes a second."""

    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_progress_comes_before_half_of_the_work_and_only_grows(two_classes):
    seen = []
    data.image_folder(two_classes, image_size=(4, 4)).prepare(
        progress=lambda done, total: seen.append((done, total))
    )
    done = [one for one, _ in seen]
    assert done == sorted(done)
    assert done[0] / seen[0][1] < 0.5
    assert seen[-1][0] == seen[-1][1]


def test_the_line_of_a_preparation_tells_the_time_that_is_left_before_half_of_the_work(
    two_classes, monkeypatch
):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)  # as in a file, a line each
    stream = io.StringIO()
    data.image_folder(two_classes, image_size=(4, 4)).prepare(progress=Waiting(stream=stream, clock=Clock()))
    first, *_, last = stream.getvalue().splitlines()
    done, total = (int(one) for one in first.partition(": ")[2].partition(",")[0].split(" of "))
    assert done < total / 2
    assert first.endswith(" left")
    assert f"{total} of {total}, in " in last


def test_the_script_measures_a_folder_that_it_makes(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("images_script", ROOT / "benchmarks" / "images.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert len(script.make(tmp_path / "photos", 12)) == 12
    line = script.prepared(tmp_path / "photos", tmp_path / "cache", 12)
    assert line.startswith("prepare ")
    assert "(12 images, " in line
    share = float(line.partition("first progress at ")[2].partition(" %")[0])
    assert 0 < share < 50

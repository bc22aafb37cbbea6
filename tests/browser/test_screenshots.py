"""The script that takes the pictures of the docs still finds its way, and its pictures are small."""

from __future__ import annotations

from PIL import Image, ImageStat


def test_pictures_are_taken_in_both_themes(open_notebook, script, tmp_path):
    screenshots = script("screenshots")
    written = screenshots.take(open_notebook("pictures.ipynb", screenshots.cells(epochs=4)), tmp_path)
    assert [path.name for path in written] == [
        "workbench-light.png", "workbench-dark.png", "report-card-light.png", "report-card-dark.png",
    ]  # fmt: skip
    for path in written:
        assert path.stat().st_size < 200_000
        assert Image.open(path).width > 800
    light, dark = (ImageStat.Stat(Image.open(path).convert("L")).mean[0] for path in written[:2])
    assert light > 200 > 80 > dark

"""A cache of its own for every test, and small folders of images."""

import numpy as np
import pytest
from PIL import Image

from tests.data.sheets import COUNT


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def draw(tmp_path):
    """draw("cats/1.png", size=(h, w), value=7) writes an image below tmp_path/images and returns that folder."""

    def write(name, size=(4, 5), value=7, mode="L"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        Image.fromarray(np.full((*size, *channels), value, np.uint8)).save(path)
        return tmp_path / "images"

    return write


@pytest.fixture
def two_classes(draw):
    for i in range(10):
        draw(f"cat/{i}.png", value=i)
        folder = draw(f"dog/{i}.png", value=100 + i)
    return folder


@pytest.fixture
def put(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def sheet(put):
    """sheet(b=lambda k: …) writes a file of 60 rows with a = 0 … 59, the given columns, and y = k % 2."""

    def write(separator=",", name="t.csv", **columns):
        made = {"a": lambda k: k, **columns}
        made.setdefault("y", lambda k: k % 2)
        lines = [
            separator.join(made),
            *(separator.join(str(of(k)) for of in made.values()) for k in range(COUNT)),
        ]
        return put("\n".join(lines) + "\n", name)

    return write

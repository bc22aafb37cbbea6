"""Own data of every kind, typed, browsed to and dropped into the page; each is described, previewed and picked from."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SLOW = 120_000
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  const zone = document.querySelector('.lk-drop');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    zone.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def files(lab) -> Path:
    """A file of every kind beside the notebook: a table, texts, images (folder and zip), arrays, recordings."""
    folder: Path = lab.root / "my data"
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = [
        f"C-{k:04d},{20 + k % 50},{'city' if k % 3 else 'village'},{'' if k % 9 == 0 else k % 5},"
        f"2024-{k % 12 + 1:02d}-03,EU,{'no' if k % 20 else 'yes'}"
        for k in range(400)
    ]
    (folder / "customers.csv").write_text(
        "customer,age,home,visits,since,region,churned\n" + "\n".join(rows) + "\n"
    )
    words = ["the film was a pleasure from the first scene on", "a dull story that never gets going at all"]
    lines = [f"{words[k % 2]} number {k},{'good' if k % 2 == 0 else 'bad'}" for k in range(120)]
    (folder / "reviews.csv").write_text("review,sentiment\n" + "\n".join(lines) + "\n")
    for k in range(24):
        path = folder / "shapes" / ("circle", "square")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = np.indices((24 + 4 * (k % 3), 24)) - 12
        shape = (grid**2).sum(0) < 80 if k % 2 == 0 else np.abs(grid).max(0) < 8
        Image.fromarray((shape[..., None] * random.integers(90, 255, 3)).astype(np.uint8)).save(path)
    with zipfile.ZipFile(folder / "digits.zip", "w") as archive:
        for k in range(40):
            pixels = np.zeros((16, 16), np.uint8)
            pixels[:, 4 * (k % 2) + 4] = 255
            Image.fromarray(pixels).save(folder / "one.png")
            archive.write(folder / "one.png", f"{k % 2}/{k}.png")
    (folder / "one.png").unlink()
    np.savez(folder / "arrays.npz", x=random.normal(size=(60, 12)).astype("f4"), y=np.arange(60) % 3)
    time = np.linspace(0, 30, 400)
    recordings = {
        f"{part}_{name}": np.stack([np.sin(rate * time), np.cos(rate * time)], 1).astype("f4")
        for part in ("train", "test")
        for name, rate in (("walk", 1.0), ("run", 4.0))
    }
    np.savez(folder / "motion.npz", **recordings)
    return folder


def of(panel: Any, name: str) -> Any:
    return panel.locator(f".lk-{name}")


def pick(panel: Any, name: str, label: str) -> None:
    of(panel, f"pick-{name}").locator("select").select_option(label=label)


def type_path(panel: Any, path: str) -> None:
    of(panel, "path").locator("input").fill(path)


def is_read(panel: Any, text: str) -> None:
    """Wait until the description says a text."""
    of(panel, "described").filter(has_text=text).wait_for(timeout=SLOW)


def test_own_data_of_every_kind(open_notebook, files):
    desk = open_notebook("own.ipynb", ["import lepton_kit as lk\npanel = lk.Workbench(warm=False)\npanel"])
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1500})
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    of(panel, "glance").locator(".lk-bar").wait_for(timeout=SLOW)
    start = panel.locator("button.lk-start")
    panel.get_by_label("Data").select_option(label="own file or folder")
    of(panel, "state").filter(has_text="type a path, browse, or drop").wait_for(timeout=SLOW)
    assert start.is_disabled()
    desk.photograph("own-empty")

    type_path(panel, "my data/cust")
    panel.locator("datalist option[value='my data/customers.csv']").wait_for(state="attached", timeout=SLOW)
    of(panel, "path-problem").get_by_role("alert").wait_for(timeout=SLOW)
    type_path(panel, "my data/customers.csv")
    panel.get_by_role("alert").filter(has_text="likely 'churned'").wait_for(timeout=SLOW)
    assert start.is_disabled()
    of(panel, "state").filter(has_text="Start waits: see Target").wait_for(timeout=SLOW)
    desk.photograph_themes("own-table-target")
    pick(panel, "target", "churned")
    is_read(panel, "accuracy will mislead")
    is_read(panel, "column 'region' is left out")
    start.and_(page.locator(":enabled")).wait_for(timeout=SLOW)
    desk.photograph_themes("own-table")

    type_path(panel, "my data/reviews.csv")
    is_read(panel, "the film was a pleasure")
    is_read(panel, "classification into 2 classes")
    of(panel, "pick-sequence-length").locator("option", has_text="of the texts whole").first.wait_for(
        state="attached", timeout=SLOW
    )
    pick(panel, "tokenizer", "characters")
    is_read(
        panel, "lk.data.text('my data/reviews.csv', text='review', label='sentiment', tokenizer='characters')"
    )
    desk.photograph_themes("own-texts")

    type_path(panel, "my data/shapes")
    pick(panel, "image-size", "32 x 32")
    is_read(panel, "32 x 32 x 3 uint8")
    assert of(panel, "described").locator("img.lk-thumb").count() >= 2
    desk.photograph_themes("own-images")

    type_path(panel, "my data/motion.npz")
    is_read(panel, "time series")
    of(panel, "described").locator("svg").first.wait_for(timeout=SLOW)
    pick(panel, "length", "50 rows")
    is_read(panel, "length=50")
    desk.photograph_themes("own-series")

    type_path(panel, "my data/arrays.npz")
    is_read(panel, "lk.data.npz('my data/arrays.npz')")


@pytest.mark.long
def test_files_are_browsed_to_with_the_keyboard_and_dropped_into_the_page(open_notebook, files):
    desk = open_notebook("drop.ipynb", ["import lepton_kit as lk\npanel = lk.Workbench(warm=False)\npanel"])
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1500})
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    of(panel, "glance").locator(".lk-bar").wait_for(timeout=SLOW)
    panel.get_by_label("Data").select_option(label="own file or folder")

    browse = panel.get_by_role("button", name="Browse")
    browse.focus()
    page.keyboard.press("Enter")
    names = of(panel, "browse").locator("select")
    names.locator("option", has_text="my data/").wait_for(timeout=SLOW)
    names.select_option(label="my data/")
    names.locator("option:checked", has_text="my data/").wait_for(timeout=SLOW)
    panel.locator("button.lk-open-folder:enabled").press("Enter", timeout=SLOW)
    names.locator("option", has_text="reviews.csv").wait_for(timeout=SLOW)
    names.select_option(label="reviews.csv")
    is_read(panel, "the film was a pleasure")
    desk.photograph_themes("own-browsed")
    browse.click()

    content = (files / "digits.zip").read_bytes()
    page.evaluate(DROP, ["digits.zip", base64.b64encode(content).decode()])
    of(panel, "drop").filter(has_text=re.compile(r"digits\.zip: .* KiB, copied to uploads/")).wait_for(
        timeout=SLOW
    )
    is_read(panel, "lk.data.image_folder('uploads/digits.zip')")
    assert (files.parent / "uploads" / "digits.zip").read_bytes() == content
    panel.locator("button.lk-start:enabled").wait_for(timeout=SLOW)
    desk.photograph_themes("own-dropped")
    page.locator("input[type=file]").set_input_files(
        {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 nothing"}
    )
    of(panel, "path-problem").filter(has_text="a PDF").wait_for(timeout=SLOW)
    assert panel.locator("button.lk-start").is_disabled()

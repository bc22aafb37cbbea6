"""A place in the page where files and folders are dropped or picked; what it gets goes to an `Upload`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lepton_kit.errors import DataError, LeptonError
from lepton_kit.panels.telling import size
from lepton_kit.panels.upload import FOLDER, LIMIT_BYTES, Upload

_ESM = """
const PIECE = 1 << 20;
async function walk(entry, path, found) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    if (!entry.name.startsWith(".")) found.push([path + entry.name, file]);
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const below of some) await walk(below, path + entry.name + "/", found);
    }
  }
}
export default {
  render({ model, el }) {
    const zone = document.createElement("button");
    const input = document.createElement("input");
    zone.type = "button";
    zone.className = "lk-drop";
    input.type = "file";
    input.multiple = true;
    input.hidden = true;
    const say = () => {
      zone.textContent = model.get("text");
      zone.disabled = model.get("locked");
    };
    say();
    model.on("change:text change:locked", say);
    let waiting = null;
    const hear = (message) => { if (waiting) { const go = waiting; waiting = null; go(message); } };
    model.on("msg:custom", hear);
    const tell = (message, buffers) => new Promise((done) => {
      waiting = done;
      model.send(message, undefined, buffers);
    });
    const send = async (files) => {
      if (!files.length || waiting) return;
      let answer = await tell({ kind: "begin", files: files.map(([name, f]) => ({ name, size: f.size })) });
      let places = [], buffers = [], held = 0;
      const flush = async () => {
        if (places.length) answer = await tell({ kind: "pieces", places }, buffers);
        places = []; buffers = []; held = 0;
      };
      for (let place = 0; place < files.length && answer.go; place++) {
        const file = files[place][1];
        for (let at = 0; at < file.size || (at === 0 && file.size === 0); at += PIECE) {
          const piece = await file.slice(at, at + PIECE).arrayBuffer();
          places.push(place); buffers.push(new DataView(piece)); held += piece.byteLength;
          if (held >= PIECE || places.length >= 200) await flush();
          if (!answer.go || file.size === 0) break;
        }
      }
      if (answer.go) await flush();
      if (answer.go) await tell({ kind: "end" });
    };
    const over = (event) => { event.preventDefault(); event.stopPropagation(); zone.classList.add("lk-over"); };
    zone.addEventListener("dragenter", over);
    zone.addEventListener("dragover", over);
    zone.addEventListener("dragleave", () => zone.classList.remove("lk-over"));
    zone.addEventListener("drop", async (event) => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.remove("lk-over");
      if (model.get("locked")) return;
      const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const plain = Array.from(event.dataTransfer.files, (file) => [file.name, file]);
      const found = [];
      for (const entry of entries) await walk(entry, "", found);
      await send(found.length ? found : plain);
    });
    zone.addEventListener("click", () => input.click());
    input.addEventListener("change", async () => {
      await send(Array.from(input.files, (file) => [file.name, file]));
      input.value = "";
    });
    el.append(zone, input);
    return () => model.off("msg:custom", hear);
  },
};
"""
INVITATION = (
    f"Drop a file or folder here, or press to choose a file: at most {LIMIT_BYTES >> 20} MiB, "
    f"copied to {FOLDER}/ next to the notebook"
)


class Drop:
    """The widget, its text, and what to call: ``on_done(path)`` when files are there, ``on_problem(error)`` else."""

    def __init__(self, on_done: Callable[[Path], None], on_problem: Callable[[BaseException | None], None]):
        import anywidget
        import traitlets

        class Zone(anywidget.AnyWidget):
            _esm = _ESM
            text = traitlets.Unicode(INVITATION).tag(sync=True)
            locked = traitlets.Bool(False).tag(sync=True)

        self.widget: Any = Zone()
        self.widget.layout.width = "98%"
        self.widget.layout.max_width = "460px"
        self._on_done, self._on_problem = on_done, on_problem
        self._upload: Upload | None = None
        self.widget.on_msg(lambda _widget, content, buffers: self.hear(content, buffers))

    def hear(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """A message of the page; every one is answered, with ``go`` false where it should stop."""
        try:
            done = self._act(content, buffers)
        except (LeptonError, KeyError, TypeError, ValueError) as failure:
            self._forget()
            self.widget.text = INVITATION
            problem = failure if isinstance(failure, LeptonError) else DataError(f"not understood: {failure}")
            self._on_problem(problem)
            self.widget.send({"go": False})
            return
        self.widget.send({"go": True})
        if done is not None:
            self._on_done(done)

    def _act(self, content: dict[str, Any], buffers: list[Any]) -> Path | None:
        if content["kind"] == "begin":
            self._forget()
            self._on_problem(None)
            self._upload = Upload(content["files"])
            self._tell()
            return None
        if self._upload is None:
            raise DataError("the files were not announced; drop them again")
        if content["kind"] == "pieces":
            for place, piece in zip(content["places"], buffers, strict=True):
                self._upload.take(int(place), bytes(piece))
            self._tell()
            return None
        if not self._upload.done:
            raise DataError("some of the dropped files did not arrive whole; drop them again")
        upload, self._upload = self._upload, None
        path = upload.finish()
        self.widget.text = (
            f"{path.name}: {_files(upload)}{size(upload.total)}, copied to {FOLDER}/. {INVITATION}"
        )
        return path

    def _tell(self) -> None:
        upload = self._upload
        assert upload is not None
        name = upload.names[0].split("/")[0]
        self.widget.text = f"{name}: {_files(upload)}{size(upload.total)}, {100 * upload.share:.0f} % copied"

    def _forget(self) -> None:
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None


def _files(upload: Upload) -> str:
    return f"{len(upload.names):,} files, " if len(upload.names) > 1 else ""

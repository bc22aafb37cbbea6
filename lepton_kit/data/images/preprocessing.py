"""How an image file becomes a sample, in training and for new images alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.data.images import decode
from lepton_kit.data.images.layout import hidden
from lepton_kit.data.preprocessing import Encoded, Preprocessing
from lepton_kit.data.zips import Files, open_files
from lepton_kit.errors import DataError
from lepton_kit.machine.devices import usable_cores

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
LUMA = np.array([299, 587, 114], np.float32) / np.float32(1000)
"""Grey of red, green and blue (ITU-R 601-2), as Pillow has it for bytes."""

Item = tuple[str, Callable[[], decode.Picture]]
"""A name, and what decodes the image or raises a `DataError`."""


class ImagePreprocessing(Preprocessing):
    """Turn upright, lay on the background, bring to the colours and to the size of training; values 0..255.

    Samples are ``(height, width, channels)``: uint8, or float32 where ``intensity_range`` is given. That is (low,
    high) of images with over 8 bits a channel: low becomes 0, high 255, what lies outside is cut to these. Images of
    8 bits stay as they are. ``trained_on``: the colours of the training images; ``native_size``: they all had
    ``image_size`` as they were.

    >>> plain = ImagePreprocessing(image_size=(2, 3), color_mode="grayscale")
    >>> plain.encode(np.zeros((5, 4, 6, 3), np.uint8)).x.shape
    (5, 2, 3, 1)
    """

    kind: Literal["images"] = "images"
    image_size: tuple[int, int]
    color_mode: Literal["grayscale", "rgb", "rgba"]
    background: tuple[int, int, int] = (255, 255, 255)
    intensity_range: tuple[float, float] | None = None
    volume_slice: int | Literal["middle"] | None = None
    resampling: Literal["bilinear"] = "bilinear"
    trained_on: tuple[Literal["grayscale", "rgb"], ...] = ("grayscale", "rgb")
    native_size: bool = False

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (*self.image_size, CHANNELS[self.color_mode])

    @property
    def dtype(self) -> Any:
        """Of a sample."""
        return np.uint8 if self.intensity_range is None else np.float32

    def sample(self, picture: decode.Picture) -> np.ndarray:
        """One decoded image as a sample."""
        if picture.image is None:
            found = self._deep(picture)
        else:
            found = self._bytes(picture.image).reshape(self.sample_shape)
        if self.intensity_range is None and found.dtype != np.uint8:
            result: np.ndarray = np.rint(found).astype(np.uint8)
            return result
        return found.astype(self.dtype)

    def count(self, raw: Any) -> int | None:
        """How many images there are: files are listed, not read."""
        with ExitStack() as stack:
            return len(self._items(raw, stack))

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """Images from a file, a folder (with all below it), a zip or tar archive, arrays or Pillow images; or a list of these.

        Names are those of files, from the folder on; of arrays their number. An image that can't be read is a problem.
        """
        with ExitStack() as stack:
            items = self._items(raw, stack)
            rows = max(1, min(rows, 2**27 // max(1, int(np.prod(self.sample_shape)))))
            pool = stack.enter_context(ThreadPoolExecutor(usable_cores()))
            for start in range(0, len(items), rows):
                yield self._piece(items[start : start + rows], pool)

    def _piece(self, items: Sequence[Item], pool: ThreadPoolExecutor) -> Encoded:
        samples: list[np.ndarray] = []
        places, problems, notes = [], {}, {}  # type: ignore[var-annotated]  # filled below
        with decode.quiet():
            results = list(pool.map(self._tried, items))
        for place, (sample, problem, said) in enumerate(results):
            if sample is None:
                problems[place] = problem
                continue
            places.append(place)
            samples.append(sample)
            for text in said:
                notes[text] = notes.get(text, 0) + 1
        x = np.stack(samples) if samples else None
        return Encoded(tuple(name for name, _ in items), x, np.array(places, np.int64), problems, notes)

    def _tried(self, item: Item) -> tuple[np.ndarray | None, str, list[str]]:
        try:
            picture = item[1]()
            said = self._unlike(picture)
            return self.sample(picture), "", said
        except DataError as failure:
            return None, str(failure), []

    def _unlike(self, picture: decode.Picture) -> list[str]:
        """What is done with an image that is unlike the training images. Raises `DataError` where nothing can be."""
        form, said = picture.form, []
        color = "grayscale" if form.grey else "rgb"
        if color not in self.trained_on:
            names = {"grayscale": "grey", "rgb": "in colour"}
            said.append(
                f"the image is {names[color]}, all training images were {names[self.trained_on[0]]}; turned"
            )
        if self.native_size and (form.height, form.width) != self.image_size:
            size = f"{self.image_size[0]} x {self.image_size[1]}"
            said.append(f"the image is not of {size} pixels as all training images; brought to that size")
        if (
            form.deep
            and self.intensity_range is None
            and picture.values is not None
            and _are_bytes(picture.values)
        ):
            said.append("whole numbers of 0 to 255, such as a DICOM or NIfTI holds; taken as 8 bits")
        elif form.deep and self.intensity_range is None:
            said.append("16 bits a channel, training images had 8; divided by 257")
        elif self.intensity_range is not None and not form.deep:
            said.append("8 bits a channel, training images had more; taken as 0 to 255")
        elif self.intensity_range is not None and picture.values is not None:
            low, high = self.intensity_range
            if picture.values.min() < low or picture.values.max() > high:
                said.append(f"values outside of the training images' {low:g} to {high:g}; cut to these")
        return said

    def _bytes(self, image: Any) -> np.ndarray:
        from PIL import Image

        mode = MODES[self.color_mode]
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            if mode != "RGBA":
                ground = Image.new("RGB", image.size, self.background)
                ground.paste(image, mask=image)  # in place: a large image has no third copy
                image = ground
        if image.mode != mode:
            image = image.convert(mode)
        if (image.height, image.width) != self.image_size:
            image = image.resize(self.image_size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image)

    def _deep(self, picture: decode.Picture) -> np.ndarray:
        values, alpha = picture.values, picture.alpha
        assert values is not None
        if self.intensity_range is not None:
            low, high = self.intensity_range
        elif values.dtype == np.uint16:
            low, high = 0.0, 65535.0
        elif _are_bytes(values):
            low, high = 0.0, 255.0
        else:
            raise DataError(
                f"values of {values.dtype}, from {values.min():g} to {values.max():g}; training images had 8 bits a channel"
            )
        factor = 255.0 / (high - low)
        found = ((values.astype(np.float64) - low) * factor).clip(0.0, 255.0).astype(np.float32)
        if self.color_mode != "grayscale" and found.shape[2] == 1:
            found = np.repeat(found, 3, axis=2)
        if alpha is not None and self.color_mode != "rgba":
            ground = np.array(self.background, np.float32)
            if found.shape[2] == 1:
                ground = np.array([ground @ LUMA], np.float32)
            found = found * alpha[..., None] + ground * (1 - alpha[..., None])
        if self.color_mode == "grayscale" and found.shape[2] == 3:
            found = (found @ LUMA)[..., None]
        if self.color_mode == "rgba":
            opaque = np.ones(found.shape[:2], np.float32) if alpha is None else alpha
            found = np.concatenate([found, opaque[..., None] * np.float32(255)], axis=2)
        return found if found.shape[:2] == self.image_size else self._resized(found)

    def _resized(self, found: np.ndarray) -> np.ndarray:
        """Numbers of 0 to 255 at the size of training. As Pillow does with bytes, a colour counts by how opaque it is."""
        from PIL import Image

        if found.shape[2] == 4:
            found = np.concatenate([found[..., :3] * (found[..., 3:] / 255), found[..., 3:]], axis=2)
        planes = [
            Image.fromarray(np.ascontiguousarray(found[..., channel])).resize(
                self.image_size[::-1], Image.Resampling.BILINEAR
            )
            for channel in range(found.shape[2])
        ]
        resized = np.stack([np.asarray(plane) for plane in planes], axis=2)
        if found.shape[2] == 4:
            opaque = resized[..., 3:] / 255
            resized[..., :3] = np.divide(
                resized[..., :3], opaque, out=np.zeros_like(resized[..., :3]), where=opaque > 0
            )
        return resized.clip(0.0, 255.0)

    def _items(self, raw: Any, stack: ExitStack) -> list[Item]:
        from PIL import Image

        if isinstance(raw, str | Path):
            return self._of_path(Path(raw).expanduser(), stack)
        if isinstance(raw, Image.Image):
            return [(getattr(raw, "filename", "") or "image 0", partial(_of_image, raw, "image 0"))]
        if isinstance(raw, np.ndarray):
            return self._of_array(raw)
        if isinstance(raw, Sequence) and not isinstance(raw, bytes):
            found: list[Item] = []
            for place, one in enumerate(raw):
                items = self._items(one, stack)
                if len(items) == 1 and not isinstance(one, str | Path):
                    items = [(f"image {place}", items[0][1])]
                found += items
            return found
        raise DataError(
            f"input: got {type(raw).__name__}; expected image files, a folder, an archive, arrays or Pillow images"
        )

    def _of_path(self, path: Path, stack: ExitStack) -> list[Item]:
        if path.is_file() and not _is_archive(path):
            files, name = Files(path.parent), path.name
            return [(str(path), partial(self._read, files, name))]
        if not path.exists():
            return [(str(path), partial(_missing, path))]
        files = stack.enter_context(open_files(path))
        names = image_names(files)[0]
        if not names:
            raise DataError(f"{path}: no image in it; read are {decode.READ}")
        return [(name, partial(self._read, files, name)) for name in names]

    def _read(self, files: Files, name: str) -> decode.Picture:
        with files.open(name) as stream:
            return decode.decode(stream, files.where(name), self.volume_slice)

    def _of_array(self, array: np.ndarray) -> list[Item]:
        """One image (h, w), (h, w, channels), or many: (n, h, w), (n, h, w, channels)."""
        one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
        if array.ndim not in (2, 3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)):
            raise DataError(
                f"input: an array of shape {array.shape}; expected (h, w), (h, w, channels), (n, h, w) or (n, h, w, "
                "channels) with 1, 3 or 4 channels"
            )
        if array.dtype.kind not in "biuf":
            raise DataError(f"input: an array of {array.dtype}; expected numbers")
        images = array[None] if one else array
        return [(f"image {place}", partial(self._of_values, images, place)) for place in range(len(images))]

    def _of_values(self, images: np.ndarray, place: int) -> decode.Picture:
        image = images[place]
        image = image[..., None] if image.ndim == 2 else image
        if image.dtype == bool:
            image = image.astype(np.uint8) * np.uint8(255)
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise DataError(f"image {place}: holds values that are no finite numbers")
        if image.dtype != np.uint8 and self.intensity_range is None and image.dtype != np.uint16:
            low, high = float(image.min()), float(image.max())
            if low < 0 or high > 255:
                raise DataError(f"image {place}: values from {low:g} to {high:g}; expected 0 to 255")
            if image.dtype.kind == "f" and 0 < high <= 1:
                raise DataError(
                    f"image {place}: values from {low:g} to {high:g}; expected 0 to 255: multiply by 255"
                )
            image = np.rint(image).astype(np.uint8)
        return decode.picture_of(image)


def image_names(files: Files) -> tuple[list[str], list[str]]:
    """(images, other files), sorted, without what systems leave behind: by extension, any other by its first bytes."""
    images, others = [], []
    for name in files.names():
        if hidden(name):
            continue
        lower = name.lower()
        if lower.endswith(decode.EXTENSIONS):
            images.append(name)
        elif lower.endswith(NO_IMAGES) or decode.format_of(files.head(name)) in (None, "NIFTI.GZ"):
            others.append(name)
        else:
            images.append(name)
    return images, others


NO_IMAGES = (
    *(
        ".txt",
        ".csv",
        ".tsv",
        ".json",
        ".xml",
        ".md",
        ".html",
        ".pdf",
        ".py",
        ".ipynb",
        ".npy",
        ".npz",
        ".mat",
    ),
    *(".xlsx", ".yaml", ".yml", ".zip", ".gz", ".db", ".ini", ".log", ".pkl", ".h5", ".parquet"),
    *decode.OTHER_IMAGES,
)
"""Extensions of files that are not looked into."""


def _are_bytes(values: np.ndarray) -> bool:
    """Whether numbers of a file that is no picture of bytes are whole and between 0 and 255 all the same."""
    if values.dtype == np.uint16 or values.min() < 0 or values.max() > 255:
        return False
    return bool((values == np.floor(values)).all())


def _is_archive(path: Path) -> bool:
    from lepton_kit.data.zips import is_tar

    return is_tar(path) or path.suffix.lower() == ".zip"


def _missing(path: Path) -> decode.Picture:
    raise DataError(f"{path}: no such file")


def _of_image(image: Any, where: str) -> decode.Picture:
    """A Pillow image as if it were a file, turned as its EXIF says."""
    return decode.picture_of_image(image, where)

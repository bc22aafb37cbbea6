"""Which reader a file needs, and which of its arrays are samples, targets and held-out rows where nothing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lepton_kit.data.archives.readers import Archive, Folder, Reader
from lepton_kit.errors import DataError

HDF5 = (".h5", ".hdf5", ".hdf")
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MATLAB_HDF5 = b"MATLAB 7.3"

USUAL = (
    ("x", "y"),
    ("x_train", "y_train"),
    ("train_x", "train_y"),
    ("train_images", "train_labels"),
    ("train_data", "train_labels"),
    ("train_set_x", "train_set_y"),
    ("x_train", "train_labels"),
    ("images", "labels"),
    ("image", "label"),
    ("images", "masks"),
    ("image", "mask"),
    ("data", "labels"),
    ("data", "label"),
    ("data", "target"),
    ("features", "labels"),
    ("features", "targets"),
    ("inputs", "targets"),
    ("inputs", "outputs"),
)
"""Names of (samples, targets) that people give, tried in this order, whatever their case."""
FLAGS = ("is_validation", "is_val", "is_test")
"""Names of arrays that say which rows are held out, one bool a row."""
HELD_OUT = ("val", "valid", "validation", "dev", "test")


def open_arrays(path: Path, scratch: Path | None = None) -> Reader:
    """The reader of a file or folder. Raises `DataError` where there is none."""
    if path.is_dir():
        return Folder(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        raise DataError(
            f"{path.name}: one array alone; give the folder {path.parent} with x= and y=, names of its .npy files"
        )
    if suffix in HDF5 or suffix == ".mat":
        from lepton_kit.data.archives.scientific import Hdf5, Matlab

        with path.open("rb") as file:
            head = file.read(520)
        matlab = head.startswith(MATLAB_HDF5)
        return Hdf5(path, matlab) if suffix in HDF5 or matlab or HDF5_MAGIC in head else Matlab(path)
    return Archive(path, scratch)


def found_names(reader: Reader, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the options, sentences) with usual names in place of the default ones where an archive lacks those."""
    if options["x"] != "x" or options["y"] != "y" or {"x", "y"} <= set(reader.names):
        return options, []
    by_name = {name.lower(): name for name in reversed(reader.names)}
    for x, y in USUAL:
        if x in by_name and y in by_name:
            break
    else:
        if sorted(reader.names) != ["arr_0", "arr_1"]:  # as np.savez(file, x, y) calls them
            return options, []
        x, y = "arr_0", "arr_1"
    changed = {"x": by_name[x], "y": by_name[y]}
    said = f"samples are {by_name[x]!r}, targets {by_name[y]!r}"
    left = []
    if options["validation_x"] is None and options["is_validation"] is None and options["group"] is None:
        for word in HELD_OUT:
            held = (x.replace("train", word), y.replace("train", word))
            if "train" not in x or not all(name in by_name for name in held):
                continue
            if "validation_x" in changed:
                left.append(f"{by_name[held[0]]!r} and {by_name[held[1]]!r} are left alone")
                continue
            changed |= {"validation_x": by_name[held[0]], "validation_y": by_name[held[1]]}
            said += f"; held out are {by_name[held[0]]!r}, {by_name[held[1]]!r}"
        flags = [by_name[name] for name in FLAGS if name in by_name]
        if "validation_x" not in changed and flags and reader.header(flags[0])[1].kind == "b":
            changed["is_validation"] = flags[0]
            said += f"; held out are the rows that {flags[0]!r} marks"
    return {**options, **changed}, [said, *left]

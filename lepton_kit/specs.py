"""The typed descriptions of a run's model and data, as they stand in its configuration file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field, PositiveInt

Names = str | tuple[str, ...] | dict[str, str]
"""One array of a file, several, or several by the name of the model's input or output."""


Byte = Annotated[int, Field(ge=0, le=255)]
Thousands = Literal["", ",", ".", " ", "'"]
Header = bool | PositiveInt
HEADER = "whether there is a line that names the columns, or the number of that line, from 1; true: as found"


def _leaves(annotation: Any) -> set[Any]:
    """The types that an annotation is made of; literals as they stand."""
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*(_leaves(one) for one in inner))


class Section(pydantic.BaseModel):
    """A part of the configuration: immutable, and every key of it is known."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class Settings(Section):
    """A section in which true and false are no numbers: ``epochs: yes`` of a YAML file would be one epoch."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, told: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool):
            allowed = _leaves(cls.model_fields[str(told.field_name)].annotation)
            if bool not in allowed and allowed & {int, float}:
                raise ValueError("a number" if type(None) not in allowed else "a number, or null")
        return value


class Spec(Section, Mapping[str, Any]):
    """A section that reads as a mapping, of plain types.

    Iterating gives what its model or data is made from, so without ``notes``, ``remarks`` and ``schedule``: what a launch found
    out about it.
    """

    kind: str

    def __getitem__(self, name: str) -> Any:
        return self.model_dump(mode="json")[name]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pydantic's own yields pairs
        return (name for name in type(self).model_fields if name not in FOUND)

    def __len__(self) -> int:
        return len(list(iter(self)))


FOUND = ("notes", "remarks", "schedule")
NOTES = "sentences: what in the model or the data is not exact on several workers"
REMARKS = "sentences: what else to know of the results"


class LeptonSpec(Spec):
    """A LeptonModel, which every worker builds for itself.

    >>> LeptonSpec(kind="lepton", input_shape=(4,), num_classes=2).get("hidden_size")
    64
    """

    kind: Literal["lepton"]
    input_shape: tuple[PositiveInt, ...] = Field(
        min_length=1, max_length=3, description="(n,), (time, channels) or (height, width, channels)"
    )
    num_classes: int = Field(ge=1, description="classes; of a regression the number of targets")
    hidden_size: int = Field(64, ge=1, description="units of a layer")
    num_layers: int = Field(3, ge=1, description="hidden layers")
    input_range: tuple[float, float] | None = Field(
        None, description="lowest and highest input; null: as the data's"
    )
    vocabulary_size: int | None = Field(
        None, ge=2, description="different token ids; null: the input is no text"
    )
    cell: Literal["conv", "gru", "lstm"] = Field("conv", description="layers of a time series")
    task: Literal["classification", "regression"] = Field("classification", description="what it learns")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of units left out while training")
    seed: int | None = Field(None, ge=0, description="of the first weights; null: the run's")
    notes: tuple[str, ...] = Field((), description=NOTES)
    remarks: tuple[str, ...] = Field((), description=REMARKS)


class BlockOrder(Settings):
    """An order of an epoch that reads whole blocks of neighbouring rows: see `lepton_kit.data.order`."""

    version: Literal[1] = 1
    blocks: PositiveInt | tuple[tuple[PositiveInt, PositiveInt], ...] = Field(
        description="neighbouring rows that are read together; or pairs (rows, how many such blocks), in order"
    )
    window: int = Field(16, ge=1, description="blocks whose rows are mixed with each other")


class Arithmetic(Settings):
    """How a whole process computes, where that was set and changes results; null: as Keras and TensorFlow begin."""

    epsilon: float | None = Field(None, gt=0, lt=1, description="Keras' small number beside zero (1e-07)")
    tensor_float_32: bool | None = Field(
        None, description="whether GPUs may round what they multiply to 10 binary digits (true)"
    )
    deterministic: Literal[True] | None = Field(
        None, description="true: TensorFlow's operations give the same each time, more slowly"
    )
    flash_attention: bool | None = Field(None, description="whether layers use it where they can (they may)")


class _Stored(Spec):
    path: str = Field(min_length=1, description="the stored model; counts from the folder of this file")
    schedule: str | None = Field(None, description="learning rate schedule of its own optimizer, in words")
    notes: tuple[str, ...] = Field((), description=NOTES)
    remarks: tuple[str, ...] = Field((), description=REMARKS)


class KerasSpec(_Stored):
    """A Keras model in a ``.keras`` file; code that others can't import lies beside it in ``custom.pkl``."""

    kind: Literal["keras"]


class ObjectSpec(_Stored):
    """A Keras model stored as the Python object that was compiled, with every attribute it has."""

    kind: Literal["object"]


CACHE = "whether samples are decoded to disk once; false: read by index where they lie"


class _Data(Spec):
    path: str = Field(min_length=1, description="file or folder; counts from the folder of this file")


class _Split(_Data):
    validation_split: float = Field(0.2, ge=0, lt=1, description="share of the samples that is held out")
    seed: int = Field(0, ge=0, description="of the choice of what is held out")


class ImageFolderSpec(_Split):
    """Images in class folders, with labels or with masks, as `lepton_kit.data.image_folder` reads them."""

    kind: Literal["image_folder"]
    image_size: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="(height, width); null: as they are, all alike"
    )
    color_mode: Literal["auto", "grayscale", "rgb", "rgba"] = Field("auto", description="channels of a pixel")
    background: Byte | tuple[Byte, Byte, Byte] = Field(
        255, description="grey or (red, green, blue) that transparent pixels lie on"
    )
    intensity_range: tuple[float, float] | None = Field(
        None, description="values of over 8 bits that become 0 and 255; null: the training images' range"
    )
    volume_slice: Annotated[int, Field(ge=0)] | Literal["middle"] | None = Field(
        None, description="slice of a volume: its number or middle; null: every file is one image"
    )
    splits: dict[str, Literal["train", "validation", "test", "ignore"]] | Literal["none"] | None = Field(
        None, description="what a folder is; none: all are classes; null: by the usual spellings"
    )
    labels: str | None = Field(None, description="CSV file of image names and labels; null: class folders")
    image_column: str | None = Field(None, description="column of image names; null: found by its values")
    label_column: str | tuple[str, ...] | None = Field(
        None, description="column of labels, or columns of 0 and 1; null: found by its name"
    )
    split_column: str | None = Field(None, description="column that says train, validation or test")
    label_separator: str | None = Field(None, description="between several labels of an image")
    label_pattern: str | None = Field(
        None, description="regular expression whose group is the label in a file's name"
    )
    task: Literal["auto", "classification", "multilabel", "regression"] = Field(
        "auto", description="what the labels are; auto: by their values"
    )
    masks: str | None = Field(None, description="folder of masks, or what their names end with")
    mask_classes: tuple[str, ...] | dict[str, int | tuple[Byte, Byte, Byte]] | None = Field(
        None, description="names of the masks' classes, or name -> value or [red, green, blue]"
    )
    on_error: Literal["raise", "skip"] = Field("raise", description="what a damaged image leads to")
    cache: bool = Field(True, description=CACHE)


Scale = Literal["standardize"] | tuple[float, float]
"""Of an array: each column by the training rows' mean and deviation, or (factor, offset)."""


class NpzSpec(_Split):
    """Named arrays of a file or folder, as `lepton_kit.data.npz` reads them."""

    kind: Literal["npz"]
    x: Names = Field("x", description="arrays of samples")
    y: Names = Field("y", description="arrays of targets")
    validation_x: Names | None = Field(None, description="arrays of held-out samples")
    validation_y: Names | None = Field(None, description="arrays of held-out targets")
    is_validation: str | None = Field(None, description="array that is true for held-out rows")
    group: str | None = Field(None, description="array of groups that are held out as a whole")
    scale: Scale | dict[str, Scale] | None = Field(
        None, description="standardize, (factor, offset), or one of them by name"
    )
    task: Literal["classification", "multilabel", "regression"] | None = Field(
        None, description="what the targets are; null: what they look like"
    )
    class_names: tuple[str, ...] | None = Field(None, description="names of the classes, in their order")


class TableSpec(_Split):
    """A table in files, as `lepton_kit.data.table` reads it."""

    kind: Literal["table"]
    target: str | tuple[str, ...] = Field(min_length=1, description="column to predict, or several")
    task: Literal["classification", "regression", "multilabel"] | None = Field(
        None, description="what the target is; null: as it looks"
    )
    unit: str | None = Field(None, description="of the target of a regression")
    features: tuple[str, ...] | None = Field(None, description="columns to predict from; null: all others")
    drop: tuple[str, ...] = Field((), description="columns to leave out")
    split: str | None = Field(None, description="column that says train, validation or test")
    group: str | None = Field(None, description="column of groups that are held out as a whole")
    time: str | None = Field(None, description="column of times; the latest rows are held out")
    validation: str | None = Field(None, description="file of the held-out rows")
    sample_weight: str | None = Field(None, description="column of weights")
    class_weight: Literal["balanced"] | dict[str, float] | None = Field(
        None, description="balanced, or class -> weight"
    )
    categorical: tuple[str, ...] = Field((), description="columns of numbers that are codes")
    max_categories: int = Field(
        64, ge=1, description="different texts of a column up to which each is a feature"
    )
    hash_buckets: int = Field(32, ge=1, description="features of a column of more different texts")
    separator: str | None = Field(None, min_length=1, max_length=3, description="of columns; null: as found")
    decimal: Literal[".", ","] | dict[str, Literal[".", ","]] | None = Field(
        None, description="decimal mark, or column -> mark; null: as found"
    )
    thousands: Thousands | dict[str, Thousands] | None = Field(
        None, description="mark between thousands, or column -> mark; null: as found"
    )
    encoding: str | None = Field(None, description="of the text; null: as found")
    quote: str | None = Field(
        None, max_length=1, description="quotation mark; empty: none; null: the double one"
    )
    comment: str | None = Field(None, description="what a line to skip begins with")
    header: Header = Field(True, description=HEADER)
    units: bool | None = Field(
        None, description="whether the row below the header holds units; null: as found"
    )
    missing: tuple[str, ...] = Field((), description="more words for a missing value")
    day_first: bool | None = Field(None, description="whether dates begin with the day; null: as found")
    sheet: str | int | None = Field(
        None, description="of an Excel file, by name or place; null: the first that holds a table"
    )
    query: str | None = Field(None, description="what a SQLite file is asked for")
    pattern: str | tuple[str, ...] | None = Field(None, description="which files of a folder are read")


class TextSpec(_Split):
    """Texts and labels in tables, JSON lines or text files, as `lepton_kit.data.text` reads them."""

    kind: Literal["text"]
    text: str | None = Field(None, min_length=1, description="column of texts; null: by its name")
    label: str | tuple[str, ...] | None = Field(
        None, description="column of labels, or several of 0 and 1; null: by its name"
    )
    label_separator: str | None = Field(
        None, min_length=1, description="stands between the labels of a text; null: it has one"
    )
    split: str | None = Field(None, description="column that says train, validation or test")
    header: Header = Field(True, description=HEADER)
    separator: str | None = Field(None, description="character between two fields; null: found out")
    encoding: str | None = Field(None, description="of a table; null: found out")
    tokenizer: Literal["auto", "words", "characters", "subword"] = Field(
        "auto", description="what a token is; auto: words, or characters where there are no spaces"
    )
    lowercase: bool = Field(True, description="whether A and a are one")
    vocabulary_size: int = Field(4000, ge=3, description="different tokens that are told apart")
    sequence_length: Literal["auto"] | PositiveInt = Field(
        "auto", description="tokens of a text that count; auto: 95 of 100 texts fit"
    )


class ParquetSpec(_Split):
    """Parquet or Arrow files read by row group, as `lepton_kit.data.parquet` reads them."""

    kind: Literal["parquet"]
    target: str = Field(min_length=1, description="column to predict")
    features: tuple[str, ...] | None = Field(None, description="columns to predict from; null: all others")
    task: Literal["classification", "regression"] | None = Field(
        None, description="null: as the target looks"
    )
    image_size: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="(height, width) of a column of images; null: as they are, all alike"
    )
    cache: bool = Field(False, description=CACHE)


class TfrecordSpec(_Split):
    """TFRecord files read by record, as `lepton_kit.data.tfrecord` reads them."""

    kind: Literal["tfrecord"]
    target: str = Field(min_length=1, description="feature to predict")
    features: dict[str, tuple[PositiveInt, ...]] | None = Field(
        None, description="name -> shape of a sample; null: all others, as long as in the first record"
    )
    cache: bool = Field(False, description=CACHE)


class WebdatasetSpec(_Split):
    """WebDataset shards read by member, as `lepton_kit.data.webdataset` reads them."""

    kind: Literal["webdataset"]
    input: Literal["jpg", "jpeg", "png", "webp", "bmp", "npy"] | None = Field(
        None, description="ending of the member to predict from; null: the first that is an image or array"
    )
    target: str = Field("cls", min_length=1, description="ending of the member to predict, or json.NAME")
    image_size: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="(height, width); null: as they are, all alike"
    )
    cache: bool = Field(False, description=CACHE)


class ZarrSpec(_Split):
    """Arrays of a Zarr group read by chunks, as `lepton_kit.data.zarr` reads them."""

    kind: Literal["zarr"]
    x: str = Field("x", min_length=1, description="array of samples")
    y: str = Field("y", min_length=1, description="array of targets")
    cache: bool = Field(False, description=CACHE)


class WindowsSpec(_Split):
    """Windows of time series, as `lepton_kit.data.windows` cuts them."""

    kind: Literal["windows"]
    length: int = Field(20, ge=1, description="rows of a window")
    stride: int = Field(5, ge=1, description="rows between two windows of a training recording")
    validation_stride: int | None = Field(
        None, ge=1, description="rows between two windows of a held-out recording; null: as in training"
    )
    validation_start: int = Field(0, ge=0, description="first row of a held-out recording that counts")
    normal: str | None = Field(None, min_length=1, description="class of which all rows count")
    held_out: tuple[str, ...] | None = Field(None, description="recordings to hold out; null: a share")
    numbered: bool | None = Field(
        None,
        description="whether a number at the end of a name counts recordings; null: where classes are left",
    )
    label: str | None = Field(None, description="column of labels in a long table; null: by its name")
    recording: str | None = Field(None, description="column that tells recordings apart; null: by its name")
    time: str | None = Field(None, description="column of times; null: by its name")
    header: Header = Field(True, description=HEADER)
    gaps: Literal["refuse", "split", "interpolate"] = Field(
        "refuse", description="what happens where rows or values are missing"
    )
    short: Literal["refuse", "skip", "pad"] = Field(
        "refuse", description="what happens to a recording that is shorter than a window"
    )


class ArraysSpec(_Data):
    """Arrays from a notebook's memory, in the folder that they were written to."""

    kind: Literal["arrays"]


class SampleSpec(Spec):
    """One of the bundled samples."""

    kind: Literal["sample"]
    name: str = Field(min_length=1, description="as lepton_kit.data.samples() lists it")


ModelSpec = Annotated[LeptonSpec | KerasSpec | ObjectSpec, Field(discriminator="kind")]
DataSpec = Annotated[
    ImageFolderSpec
    | NpzSpec
    | TableSpec
    | TextSpec
    | ParquetSpec
    | TfrecordSpec
    | WebdatasetSpec
    | ZarrSpec
    | WindowsSpec
    | ArraysSpec
    | SampleSpec,
    Field(discriminator="kind"),
]

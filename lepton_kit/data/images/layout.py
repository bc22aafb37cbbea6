"""Which image belongs to which split and class, by the names of folders alone."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lepton_kit.data.split_names import TEST, TRAIN, VALIDATION, split_of
from lepton_kit.errors import DataError

IGNORE = "ignore"


@dataclass(frozen=True)
class Layout:
    """``splits``: split -> [(image, class)]; a class is None where it isn't told by a folder. ``notes``: sentences."""

    splits: Mapping[str, Sequence[tuple[str, str | None]]]
    notes: Sequence[str] = field(default=())


def hidden(name: str) -> bool:
    """Whether a file is one that a system leaves behind, such as ``.DS_Store``, ``Thumbs.db`` and ``__MACOSX/…``."""
    parts = name.split("/")
    return any(part.startswith((".", "__MACOSX", "@eaDir", "$RECYCLE")) for part in parts) or (
        parts[-1].lower() in ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")
    )


def by_folder(
    names: Sequence[str],
    splits: Mapping[str, str] | str | None = None,
    where: str = "the folder",
    skip: bool = False,
    tables: Sequence[str] = (),
) -> Layout:
    """The layout of images in ``CLASS/image``, ``SPLIT/CLASS/image`` or ``CLASS/SPLIT/image``, any folders around.

    ``splits`` says what folders are: name -> train, validation, test or ignore; "none": all of them are classes. With ``skip`` images in no class folder are left out.
    ``tables`` are files that may hold the labels, for errors.
    Raises `DataError` that names what can't be told.

    >>> by_folder(["s/train/a/1.png", "s/dev/a/2.png"]).splits["validation"]
    [('s/dev/a/2.png', 'a')]
    """
    images = [(name, name.split("/")) for name in names]
    depth = _depth(images, splits)
    tops = list(dict.fromkeys(parts[depth] for _, parts in images if len(parts) > depth + 1))
    if isinstance(splits, Mapping):
        ignored = _ignored(splits, tops, where)
        if ignored:
            left = [name for name, parts in images if parts[depth] not in ignored]
            rest = {name: split for name, split in splits.items() if name not in ignored}
            if not left:
                raise DataError(f"{where}: splits ignores every folder; expected one to train on")
            layout = by_folder(left, rest or None, where, skip, tables)
            return Layout(layout.splits, [*layout.notes, f"left out as asked: {', '.join(ignored)}"])
    loose = _loose(images, depth, where, skip)
    if loose:
        layout = by_folder([name for name in names if name not in loose], splits, where, skip, tables)
        note = f"{len(loose)} images lie in no class folder, such as {min(loose)}; left out"
        return Layout(layout.splits, [*layout.notes, note])
    if splits == "none":
        return _classes(images, depth, where, second=False)
    if isinstance(splits, Mapping):
        found = {top: splits.get(top, split_of(top)) for top in tops}
    else:
        found = {top: split_of(top) for top in tops}
        # A split holds class folders; a folder of images named "valid" or "test" beside "invalid" is a class.
        deep = {parts[depth] for _, parts in images if len(parts) - depth > 2}
        if TRAIN not in [found[top] for top in tops if top in deep]:
            _no_splits_as_classes({top: found[top] for top in tops if top not in deep}, where, tables)
            found = {top: split if top in deep else None for top, split in found.items()}
    if any(found.values()):
        return _in_splits(images, depth, _asked(found, where), where)
    return _classes(images, depth, where, second=True)


def _ignored(splits: Mapping[str, str], tops: Sequence[str], where: str) -> list[str]:
    for name in splits:
        if name not in tops:
            raise DataError(f"{where}: splits names the folder {name!r}; there are {', '.join(sorted(tops))}")
    return sorted(name for name, split in splits.items() if split == IGNORE)


def _depth(images: list[tuple[str, list[str]]], splits: Mapping[str, str] | str | None) -> int:
    """How many folders lie around everything."""
    named = set(splits) if isinstance(splits, Mapping) else set()
    depth = 0
    while len({parts[depth] for _, parts in images}) == 1 and all(len(p) - depth > 2 for _, p in images):
        top = images[0][1][depth]
        if top in named or (split_of(top) == TRAIN and splits != "none"):
            break
        depth += 1
    return depth


def _loose(images: list[tuple[str, list[str]]], depth: int, where: str, skip: bool) -> set[str]:
    """Images in no folder below ``depth``, where these may be left out. Raises `DataError`."""
    loose = [name for name, parts in images if len(parts) - depth < 2]
    if len(loose) == len(images):
        raise DataError(
            f"{where}: {loose[0]!r} and all others lie in no class folder; expected CLASS/image or train/CLASS/image, "
            "or labels='FILE.csv', a table of file names and labels, label_pattern=r'^([a-z]+)' for labels in the names, or "
            "masks='FOLDER'"
        )
    if loose and not skip:
        raise DataError(
            f"{where}/{loose[0]}: lies in no class folder; expected CLASS/image or train/CLASS/image, or "
            "on_error='skip', which leaves it out"
        )
    return set(loose)


def _no_splits_as_classes(flat: Mapping[str, str | None], where: str, tables: Sequence[str]) -> None:
    """Raise `DataError` where folders of images are splits by their names, so that the classes stand elsewhere."""
    spelled = {top: split for top, split in flat.items() if split is not None}
    if len(set(spelled.values())) < 2 or (TRAIN not in spelled.values() and len(spelled) < len(flat)):
        return
    first = f"labels={tables[0]!r}" if tables else "labels='FILE.csv'"
    there = f" (there is {', '.join(tables[:5])})" if tables else ""
    raise DataError(
        f"{where}: the folders {', '.join(sorted(spelled))} are splits by their names, and hold no class folders; "
        f"say where the labels are: {first}, a table of file names and labels{there}, or label_pattern=r'^([a-z]+)' for "
        "labels in the names; splits='none' if these folders are the classes"
    )


def _asked(found: Mapping[str, str | None], where: str) -> dict[str, str]:
    """What each folder is, where some spell a split. Raises `DataError` that asks about the others."""
    unknown = [top for top, split in found.items() if split is None]
    known = {top: split for top, split in found.items() if split is not None}
    if unknown:
        raise DataError(_question(unknown, list(known), where))
    if TRAIN not in known.values():
        raise DataError(
            f"{where}: found the folders {', '.join(sorted(found))} but no train folder; say what each is: "
            f"splits={{{sorted(found)[0]!r}: 'train', …}}"
        )
    return known


def _question(unknown: Sequence[str], known: Sequence[str], where: str) -> str:
    example = ", ".join(f"{name!r}: 'ignore'" for name in unknown[:3])
    return (
        f"{where}: beside {', '.join(sorted(known))} there is {', '.join(map(repr, unknown[:5]))}, which may be a split "
        f"or a class; say what it is: splits={{{example}}} (or 'train', 'validation', 'test'), "
        "or splits='none' if all these folders are classes"
    )


def _classes(images: list[tuple[str, list[str]]], depth: int, where: str, second: bool) -> Layout:
    """Every folder is a class; inside all of them there may be splits."""
    tops = sorted({parts[depth] for _, parts in images})
    inner: dict[str, set[str]] = {top: set() for top in tops}
    for _, parts in images:
        inner[parts[depth]].add(parts[depth + 1] if len(parts) - depth > 2 else "")
    spelled = {name: split_of(name) for names in inner.values() for name in names}
    if second and all(spelled.values()) and all(TRAIN in map(spelled.get, names) for names in inner.values()):
        rows: dict[str, list[tuple[str, str | None]]] = {}
        for name, parts in images:
            rows.setdefault(str(spelled[parts[depth + 1]]), []).append((name, parts[depth]))
        return _kept(rows, [])
    for top in tops:
        again = sorted(inner[top] & set(tops) - {top})
        if second and len(again) > 1:
            raise DataError(
                f"{where}: the folder {top!r} holds {', '.join(again[:3])}, which also lie beside it, perhaps as a copy; "
                f"splits={{{top!r}: 'ignore'}} leaves it out, splits='none' makes it a class"
            )
    nested = Counter(parts[depth] for _, parts in images if len(parts) - depth > 2)
    notes = []
    if nested:
        notes.append(f"images in deeper folders count as their class: {', '.join(list(nested)[:5])}")
    return Layout({TRAIN: [(name, _plain(parts[depth])) for name, parts in images]}, notes)


def _in_splits(
    images: list[tuple[str, list[str]]], depth: int, told: Mapping[str, str], where: str
) -> Layout:
    rows: dict[str, list[tuple[str, str | None]]] = {}
    flat: Counter[str] = Counter()
    inner = _inner(images, depth)
    for name, parts in images:
        split = told[parts[depth]]
        if len(parts) - depth > 2:
            rows.setdefault(split, []).append((name, _plain(parts[depth + inner])))
        elif split == TEST:
            flat[parts[depth]] += 1
        else:
            raise DataError(f"{where}/{name}: lies in no class folder; expected {parts[depth]}/CLASS/image")
    return _kept(rows, [f"{top}: {count} images without a class are left out" for top, count in flat.items()])


def _inner(images: list[tuple[str, list[str]]], depth: int) -> int:
    """How far below the split folders the class folders lie: more than 1 where each holds a single folder of them."""
    inner = 1
    while all(len(parts) - depth > inner + 2 for _, parts in images):
        below: dict[str, set[str]] = {}
        for _, parts in images:
            below.setdefault(parts[depth], set()).add(parts[depth + inner])
        if any(len(folders) > 1 for folders in below.values()):
            break
        inner += 1
    return inner


def _kept(rows: dict[str, list[tuple[str, str | None]]], notes: list[str]) -> Layout:
    """Train and validation; a test split is left alone where there is a validation split, and is that one otherwise."""
    if TEST in rows:
        if VALIDATION in rows:
            notes.append(f"{len(rows.pop(TEST))} test images are left alone")
        else:
            rows[VALIDATION] = rows.pop(TEST)
            notes.append("the test images are used for validation, as there is no validation folder")
    return Layout(rows, notes)


def _plain(name: str) -> str:
    """One spelling of accented names, which macOS writes as letter and mark."""
    return unicodedata.normalize("NFC", name)

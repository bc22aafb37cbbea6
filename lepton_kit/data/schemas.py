"""What the metadata of an Arrow schema says beyond its types, as the libraries of Hugging Face write it."""

from __future__ import annotations

import json
from typing import Any

KEY = b"huggingface"


def features_of(schema: Any) -> dict[str, dict[str, Any]]:
    """Column -> what Hugging Face's ``datasets`` says of it; nothing where the metadata say nothing or are damaged."""
    try:
        found = json.loads((schema.metadata or {}).get(KEY, b"{}"))["info"]["features"]
        return {str(name): about for name, about in found.items() if isinstance(about, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Column of class numbers -> the names of the classes, in the order of their numbers.

    >>> import pyarrow as pa
    >>> about = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    >>> meta = {KEY: json.dumps({"info": {"features": about}})}
    >>> class_names(pa.schema([("label", pa.int64())], metadata=meta))
    {'label': ('cat', 'dog')}
    """
    import pyarrow as pa

    found = {}
    for name, about in features_of(schema).items():
        names: Any = about.get("names")
        plain = isinstance(names, list) and names and all(isinstance(one, str) for one in names)
        whole = name in schema.names and pa.types.is_integer(schema.field(name).type)
        if about.get("_type") == "ClassLabel" and plain and whole and len(set(names)) == len(names):
            found[name] = tuple(names)
    return found


def image_columns(schema: Any) -> list[str]:
    """Columns of encoded images: a structure with ``bytes``, or bytes that the metadata call an image.

    >>> import pyarrow as pa
    >>> picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    >>> image_columns(pa.schema([("image", picture), ("raw", pa.binary())]))
    ['image']
    """
    import pyarrow as pa

    said = {name for name, about in features_of(schema).items() if about.get("_type") == "Image"}
    return [
        field.name
        for field in schema
        if (pa.types.is_struct(field.type) and _holds_bytes(field.type))
        or (field.name in said and _is_binary(field.type))
    ]


def _holds_bytes(kind: Any) -> bool:
    place = kind.get_field_index("bytes")
    return place >= 0 and _is_binary(kind.field(place).type)


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

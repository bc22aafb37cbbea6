"""A loss in plain types: its name, and the settings that say what targets it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SHORT = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "ce": "crossentropy",
    "kld": "kl_divergence",
    "k_l_divergence": "kl_divergence",
}


def fact(loss: Any) -> dict[str, Any] | None:
    """{name, from_logits, ignore, stock} of one loss: an object, a function, a name, or Keras' config of these.

    >>> fact("mse")["name"]
    'mean_squared_error'
    """
    if loss is None:
        return None
    settings: dict[str, Any] = {}
    stock = True
    if isinstance(loss, Mapping):
        settings = loss["config"] if isinstance(loss.get("config"), dict) else {}
        name = loss["class_name"] if loss["class_name"] != "function" else str(loss["config"])
        stock = str(loss.get("module") or "").split(".")[0] in ("keras", "builtins")
    elif isinstance(loss, str):
        name = loss
    else:
        kind = loss if hasattr(loss, "__name__") else type(loss)
        name, stock = kind.__name__, (kind.__module__ or "").split(".")[0] == "keras"
        settings = {one: getattr(loss, one, None) for one in ("from_logits", "ignore_class")}
        settings.update(getattr(loss, "_fn_kwargs", None) or {})
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return {
        "name": SHORT.get(name, name.replace("kldivergence", "kl_divergence")),
        "from_logits": settings.get("from_logits"),
        "ignore": settings.get("ignore_class"),
        "stock": stock,
    }

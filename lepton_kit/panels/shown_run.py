"""What the data and model panel says of a run that is shown, and what repeats it."""

from __future__ import annotations

import html
from typing import Any

from lepton_kit.errors import ModelError
from lepton_kit.panels.parts import Markup


def of_run(run: Any) -> str:
    """The choice that stands for what a run trains on."""
    return f"of {run.id}"


def told_origin(run: Any) -> Markup:
    """Where a run's data came from, as the Python that reads them."""
    from lepton_kit.client.script import data_code

    given = run.config.data.kind == "arrays"
    began = "arrays that Python gave" if given else f"<code>{html.escape(data_code(run.config.data))}</code>"
    return Markup(f"<div>began as {began}</div>")


def repeated(run: Any, hidden_size: int, num_layers: int) -> Any:
    """The model of a run in this size, untrained. Raises `ModelError` for a stored Keras model, which only its run has."""
    from lepton_kit.models import LeptonModel

    spec = run.config.model
    if spec.kind != "lepton":
        raise ModelError(
            f"the Keras model of {run.id} is stored in its folder: Resume goes on with it, the code repeats it; "
            "pick other data to set up another run"
        )
    return LeptonModel.from_spec({**spec, "hidden_size": hidden_size, "num_layers": num_layers})

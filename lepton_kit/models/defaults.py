"""What training uses for a model that is not compiled."""

from __future__ import annotations

from typing import Any

from lepton_kit.models.balance import is_unbalanced
from lepton_kit.models.networks import NAME, OUTPUT
from lepton_kit.models.shapes import describe_for
from lepton_kit.models.targets import Target, default_objects, mean_squared, pair


def compile_defaults(model: Any, prepared: Any) -> tuple[Any, Any, Any]:
    """(loss, metrics, from_logits) that suit the targets, per output name where the targets are a dictionary.

    Labels: cross-entropy and accuracy; 0/1 answers: binary cross-entropy and the accuracy of each; values: mean
    squared and mean absolute error; see `targets.default_loss`. Where classes differ much in size, balanced accuracy
    stands beside accuracy (`balance.is_unbalanced`). ``from_logits`` is None where it does not apply. No
    targets: no loss, for a model that adds its own. Raises `ModelError` where nothing fits.
    """
    targets = prepared.train.y
    if targets is None:
        return None, [], None
    described = describe_for(model, prepared)
    if described["outputs"] is None:
        plain = targets if not isinstance(targets, dict | tuple) else next(iter(_values(targets)))
        return default_objects(Target(None, None, None, None, plain))
    paired = pair({**described, "compiled": False}, targets)
    if model.name == NAME and any(layer.name == OUTPUT["regression"] for layer in model.layers):
        return mean_squared()
    if not isinstance(targets, dict | tuple):
        loss, own, from_logits = default_objects(paired[0])
        return loss, [*own, *_balanced(paired[0], prepared, from_logits)], from_logits
    found = [default_objects(target) for target in paired]
    if isinstance(targets, tuple):
        losses, metrics, logits = ([value[i] for value in found] for i in range(3))
        return losses, metrics, logits
    names = list(targets) if len(paired) == 1 else [target.name for target in paired]
    by_name = [{name: value[i] for name, value in zip(names, found, strict=True)} for i in range(3)]
    return by_name[0], by_name[1], by_name[2]


def _balanced(target: Target, prepared: Any, logits: bool | None) -> list[Any]:
    """Balanced accuracy for an output that answers one class a sample, where accuracy says too little."""
    if logits is None or target.shape is None or len(target.shape) != 1 or not is_unbalanced(prepared):
        return []
    from lepton_kit.models.metrics import BalancedAccuracy

    return [BalancedAccuracy(max(2, target.shape[0] or 0), threshold=0.0 if logits else 0.5)]


def _values(targets: Any) -> Any:
    return targets.values() if isinstance(targets, dict) else targets

"""What a compiled model computes on a few rows: the same in the process that made it and where its pickle is loaded.

Run as a script with a folder: reads each ``NAME.pkl`` with its ``NAME.rows`` and writes ``NAME.facts``.
"""

import pickle
import sys
from pathlib import Path

import numpy as np


def facts(model, x, y=None, w=None):
    """Predictions, the loss and its gradient, and the state after one step, as lists of arrays."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(5)
    found = {"prediction": _arrays(model(x, training=False))}
    if getattr(model, "optimizer", None) is None:
        return found
    own = type(model).train_step is not keras.Model.train_step
    if not own:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(
                x=x, y=y, y_pred=model(x, training=True), sample_weight=w, training=True
            )
        gradients = tape.gradient(loss, model.trainable_weights)
        found["loss"] = [np.asarray(loss)]
        found["gradient"] = [np.asarray(tf.convert_to_tensor(g)) for g in gradients if g is not None]
    model.run_eagerly = True
    results = model.train_on_batch(x, y, w, return_dict=True)
    found["metrics"] = [np.asarray(results[name]) for name in sorted(results)]
    found["names"] = sorted(results)
    found["weights"] = [np.asarray(v) for v in model.variables]
    found["optimizer"] = [np.asarray(v) for v in model.optimizer.variables]
    found["rate"] = [np.asarray(model.optimizer.learning_rate)]
    found["trainable"] = [v.trainable for v in model.variables]
    return found


def _arrays(outputs):
    import tensorflow as tf

    return [np.asarray(one) for one in tf.nest.flatten(outputs)]


def main(folder):
    from lepton_kit.models import objects

    for path in sorted(folder.glob("*.pkl")):
        try:
            model = objects.loads(objects.dumps(objects.loads(path.read_bytes())))  # and on from here
            found = facts(model, *pickle.loads(path.with_suffix(".rows").read_bytes()))
        except Exception as failure:
            found = {"error": f"{type(failure).__name__}: {failure}"}
        path.with_suffix(".facts").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

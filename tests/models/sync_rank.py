"""One rank of the two that test_layers.py starts: prints what SyncBatchNormalization computed, as JSON."""

import json
import sys


def network(keras, layer):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 3),
            layer(momentum=0.9, name="first"),
            keras.layers.Activation("tanh"),
            keras.layers.Flatten(),
            layer(momentum=0.9, name="second"),
            keras.layers.Dense(3),
        ]
    )


def batch():
    import numpy as np

    generator = np.random.default_rng(2)
    return generator.normal(5, 3, (12, 4, 4, 2)).astype("float32"), generator.integers(0, 3, 12)


def results(model, x, y, reduce, counted=1.0):
    import keras
    import tensorflow as tf

    from lepton_kit.models.layers import counting

    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape, counting(counted):
            outputs = model(x, training=True)
            loss = loss_function(y, outputs)
        return outputs, reduce(tape.gradient(loss, model.trainable_variables))

    outputs, gradients = step(x, y)
    moving = [v.numpy().tolist() for v in model.non_trainable_variables]
    return {
        "outputs": outputs.numpy().tolist(),
        "gradients": [g.numpy().tolist() for g in gradients],
        "moving": moving,
    }


def main(cuts):
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    from lepton_kit.models.layers import SyncBatchNormalization

    hvd.init()
    x, y = batch()
    found = []
    for cut in cuts:
        mine = cut[hvd.rank()]
        start = sum(cut[: hvd.rank()])
        rows = slice(start, start + mine) if mine else slice(0, 1)  # a rank with none brings any sample along
        share = mine / sum(cut)

        def reduce(gradients, share=share):
            return hvd.grouped_allreduce([tf.math.multiply_no_nan(g, share) for g in gradients], op=hvd.Sum)

        made = results(network(keras, SyncBatchNormalization), x[rows], y[rows], reduce, float(mine > 0))
        found.append({**made, "outputs": made["outputs"][:mine]})
    print("RESULT" + json.dumps(found), flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""Names of Keras' losses: which give a value for each sample, and which are known by name; the one list of them."""

from __future__ import annotations

MEANS = frozenset(
    [
        "BinaryCrossentropy",
        "BinaryFocalCrossentropy",
        "CTC",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
        "CategoricalGeneralizedCrossEntropy",
        "CategoricalHinge",
        "CosineSimilarity",
        "Hinge",
        "Huber",
        "KLDivergence",
        "LogCosh",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredError",
        "MeanSquaredLogarithmicError",
        "Poisson",
        "SparseCategoricalCrossentropy",
        "SquaredHinge",
    ]
)
"""Classes of Keras 3.15's losses that give one value a sample, so that ranks' means add up."""
MEAN_FUNCTIONS = frozenset(
    [
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "cosine_similarity",
        "ctc",
        "hinge",
        "huber",
        "kl_divergence",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "sparse_categorical_crossentropy",
        "squared_hinge",
    ]
)
"""The same as functions."""
OF_A_BATCH = frozenset(["Circle", "Dice", "Tversky", "circle", "dice", "tversky"])
"""Losses that look at the whole batch."""
SHORT = frozenset(["BCE", "KLD", "MAE", "MAPE", "MSE", "MSLE", "bce", "kld", "mae", "mape", "mse", "msle"])
UNNAMED = frozenset(["CategoricalGeneralizedCrossEntropy"])
"""Classes that `keras.losses.get` does not know by name."""
LOSSES = (MEANS - UNNAMED) | MEAN_FUNCTIONS | OF_A_BATCH | SHORT
"""What `keras.losses.get` of Keras 3.15 makes a loss of, given the name alone; a test compares with the installed Keras."""

"""Data sets inside scikit-learn."""

import numpy as np

from trilemma.data.extras import optional
from trilemma.data.readers.decoded import Decoded


def digits() -> Decoded:
    """1,797 images of 8x8 grey levels 0..16."""
    bunch = optional("sklearn.datasets", "scikit-learn", "the data set digits").load_digits()
    return Decoded(
        stored=bunch.images.astype(np.uint8)[:, None],
        y=bunch.target.astype(np.int64),
        class_names=tuple(str(name) for name in bunch.target_names),
        divisor=16.0,
        notes=("grey levels 0..16 divided by 16",),
    )


def breast_cancer() -> Decoded:
    """569 rows of 30 measurements; 0 = malignant, 1 = benign."""
    datasets = optional("sklearn.datasets", "scikit-learn", "the data set breast_cancer")
    bunch = datasets.load_breast_cancer()
    return Decoded(
        stored=bunch.data.astype(np.float32),
        y=bunch.target.astype(np.int64),
        class_names=tuple(str(name) for name in bunch.target_names),
        divisor=1.0,
        feature_names=tuple(str(name) for name in bunch.feature_names),
    )

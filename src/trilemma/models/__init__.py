"""Models: architectures, and weights on disk without pickle."""

from trilemma.models.networks import block_cnn, fashion_cnn, mlp, small_cnn, yale_cnn
from trilemma.models.weights import load_weights, read_weights, refuse_foreign, save_weights

__all__ = [
    "block_cnn",
    "fashion_cnn",
    "load_weights",
    "mlp",
    "read_weights",
    "refuse_foreign",
    "save_weights",
    "small_cnn",
    "yale_cnn",
]

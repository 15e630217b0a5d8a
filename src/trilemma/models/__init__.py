"""Models: architectures, and weights on disk without pickle."""

from trilemma.models.networks import block_cnn, fashion_cnn, mlp, small_cnn, yale_cnn
from trilemma.models.residual import plain_resnet, wide_resnet
from trilemma.models.weights import load_weights, read_weights, refuse_foreign, save_weights

__all__ = [
    "block_cnn",
    "fashion_cnn",
    "load_weights",
    "mlp",
    "plain_resnet",
    "read_weights",
    "refuse_foreign",
    "save_weights",
    "small_cnn",
    "wide_resnet",
    "yale_cnn",
]

"""Dropout put into a network that is built."""

from torch import nn


def with_dropout(network: nn.Sequential, share: float) -> nn.Sequential:
    """The same layers and weights, with dropout after each hidden fully connected layer.

    Convolutions get none: their outputs are few and go together.

    Args:
        network: fully connected layers at its end.
        share: of the values that are set to 0 in train mode, in [0, 1); at 0 the network is
            handed back as it is.

    Example:
        >>> from trilemma.models import mlp
        >>> [type(layer).__name__ for layer in with_dropout(mlp((3,), 2, hidden=(4,)), 0.5)]
        ['Flatten', 'Linear', 'ReLU', 'Dropout', 'Linear']

    Source:
        Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
        JMLR 2014.
    """
    if share == 0:
        return network
    layers: list[nn.Module] = []
    connected = False
    for layer in network:
        if isinstance(layer, nn.Linear):
            if connected:
                layers.append(nn.Dropout(share))
            connected = True
        layers.append(layer)
    return nn.Sequential(*layers)

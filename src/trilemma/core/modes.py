"""A model is queried in eval mode, trained in train mode, and handed back as it came."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Every module of `model` in eval mode; each module's own mode is restored on the way out.

    What is not an `nn.Module` (a plain function) is left alone.
    """
    with _switched(model, training=False):
        yield


@contextmanager
def training(model: object) -> Iterator[None]:
    """Every module of `model` in train mode; each module's own mode is restored on the way out."""
    with _switched(model, training=True):
        yield


@contextmanager
def _switched(model: object, *, training: bool) -> Iterator[None]:
    if not isinstance(model, nn.Module) or not _some_in_other_mode(model, training):
        yield
        return
    # All of them: a `train()` of the model's own may switch modules the other way, too.
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _some_in_other_mode(model: nn.Module, training: bool) -> bool:
    """Without `modules()`, whose bookkeeping costs as much as a small model's answer."""
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if module.training is not training:
            return True
        waiting.extend(each for each in module._modules.values() if each is not None)
    return False

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
    others = list(_in_other_mode(model, training)) if isinstance(model, nn.Module) else []
    if others and isinstance(model, nn.Module):
        model.train(training)
    try:
        yield
    finally:
        for module in others:
            module.training = not training


def _in_other_mode(model: nn.Module, training: bool) -> Iterator[nn.Module]:
    """Without `modules()`, whose bookkeeping costs as much as a small model's answer."""
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if module.training is not training:
            yield module
        waiting.extend(each for each in module._modules.values() if each is not None)

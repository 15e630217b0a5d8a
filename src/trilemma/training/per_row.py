"""Gradients row by row, clipped and with noise: Opacus around one training step.

This module imports Opacus; private trainings import it when they begin.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from, seeded
from trilemma.core.modes import training
from trilemma.training.objectives import Batch, Term
from trilemma.training.privacy import Account

NUMBERS = 2**26  # of all gradients by row that are held at once: 256 MiB
TOLERANCE = 1e-3  # relative: by which the mean of the rows' gradients may miss the gradient
LEFT = ("activations", "max_batch_len")  # what Opacus leaves behind on layers, and on weights:
BEHIND = ("summed_grad", "grad_sample", "_forward_counter", "_current_grad_sample")


class Hooks(GradSampleHooks):  # type: ignore[misc]  # Opacus has no types
    """Gradients by row of what is computed in train mode: the loss, and no attack on the model.

    An objective attacks its model in eval mode, between the forwards that make up its loss. What
    flows back through the layers then is no part of a row's gradient.
    """

    def capture_backprops_hook(self, module: nn.Module, *args: Any, **settings: Any) -> None:
        """Of a layer in train mode, as Opacus does it."""
        if module.training:
            super().capture_backprops_hook(module, *args, **settings)

    def rearrange_grad_samples(self, **given: Any) -> tuple[list[Tensor], Tensor]:
        """In rows and channels, as Opacus reads convolutions whatever their memory's order."""
        activations, backprops = super().rearrange_grad_samples(**given)
        return [each.contiguous() for each in activations], backprops.contiguous()


@contextmanager
def private_steps(
    model: nn.Module,
    optimiser: Optimizer,
    account: Account,
    free: Sequence[Term],
    noise: Generator,
) -> Iterator[DPOptimizer]:
    """An optimiser over `optimiser` that steps privately; the model is handed back as it came.

    Args:
        model: whose loss is a mean over rows.
        optimiser: over its parameters; its state is that of the private one.
        account: how much is clipped, and how much noise there is.
        free: terms of the loss that depend on the weights alone. Their gradient is added behind the
            noise: it tells nothing of any row.
        noise: on the device of the weights.
    """
    hooks = Hooks(model)
    try:
        private = DPOptimizer(
            optimiser,
            noise_multiplier=account.noise_multiplier,
            max_grad_norm=account.clip_norm,
            expected_batch_size=account.batch,
            generator=noise,
        )
        private.attach_step_hook(lambda stepped: _add(free, model, stepped))
        with _no_inputs_need_gradients():
            yield private
    finally:
        _clean(model, hooks)


def sampled(
    account: Account, private: DPOptimizer, model: nn.Module, rng: Generator
) -> Iterator[Tensor]:
    """The places of the rows of each step of an epoch, each row by its own draw; in parts.

    Where a batch has more rows than there is memory for their gradients, it comes in parts, of
    which all but the last only add up (Opacus's virtual steps).

    Args:
        account: how likely a row is.
        private: told which parts are not the last.
        model: whose gradients are held.
        rng: one draw a row and step.

    Yields:
        (m,) places, m from 0.
    """
    weights = sum(each.numel() for each in model.parameters() if each.requires_grad)
    most = max(1, NUMBERS // max(weights, 1))
    for _ in range(account.steps):
        chance = torch.rand(account.rows, generator=rng, dtype=torch.float64)
        parts = (chance < account.sampling_rate).nonzero().flatten().split(most)
        for number, part in enumerate(parts, start=1):
            private.signal_skip_step(do_skip=number < len(parts))
            yield part


def check_layers(model: nn.Module, x: Tensor) -> None:
    """Refuse a model whose rows have no gradients of their own.

    Args:
        model: as it is trained.
        x: some rows; the mean of their gradients must be the gradient of their mean.

    Raises:
        BadInput: a layer mixes the rows of a batch, or uses weights behind its back.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise _unable(f"{type(layer).__name__} ({name})", "normalises over the rows of a batch")
    hooks = Hooks(model, strict=False)
    try:
        with training(model), global_from(seeded(0)), _no_inputs_need_gradients():
            model(x).square().sum(1).mean().backward()
        for name, weight in model.named_parameters():
            if not _adds_up(weight):
                raise _unable(f"{name}", "has no gradient for each row that Opacus could find")
    finally:
        _clean(model, hooks)
        model.zero_grad(set_to_none=True)


def _adds_up(weight: nn.Parameter) -> bool:
    rows, whole = weight.grad_sample, weight.grad  # type: ignore[attr-defined]
    if not isinstance(rows, Tensor) or whole is None:
        return rows is None and whole is None
    return bool((rows.mean(0) - whole).norm() <= TOLERANCE * (rows.norm(dim=0).norm() + 1e-12))


def _add(free: Sequence[Term], model: nn.Module, private: DPOptimizer) -> None:
    """The gradients of terms without rows, to those that will step."""
    if not free:
        return
    weights = [each for each in private.params if each.requires_grad]
    like = weights[0]
    nothing = Batch(
        like.new_zeros(0, 1), torch.zeros(0, dtype=torch.int64, device=like.device), seeded(0)
    )
    loss = torch.stack([term(model, nothing) for term in free]).sum()
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    for weight, gradient in zip(weights, found, strict=True):
        if gradient is not None and weight.grad is not None:
            weight.grad += gradient


def _clean(model: nn.Module, hooks: Hooks) -> None:
    hooks.cleanup()
    for layer in model.modules():
        for name in LEFT:
            vars(layer).pop(name, None)
    for weight in model.parameters():
        for name in BEHIND:
            vars(weight).pop(name, None)


def _unable(what: str, why: str) -> BadInput:
    return BadInput(
        "privacy",
        f"{what} {why}",
        "Take a recipe without batch norm and without a noise layer behind a convolution:"
        " SmallCNN, PlainResNet, MLP",
    )


@contextmanager
def _no_inputs_need_gradients() -> Iterator[None]:
    """Without torch's warning that a first layer's hooks see no gradient of its inputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield

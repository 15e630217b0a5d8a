"""Steps of the dual with their gradients written out, so that of each vector one copy is held.

Autograd holds what each elementary step took: a vector, its product with the slopes, its absolute
values. Here the vector alone is held; the rest is computed again in the backward pass, which takes
less than to write it down and to fetch it. Norms hand their vectors on, so that the two gradients
of a vector meet where they are computed.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from trilemma.bounds.convolution import laid
from trilemma.bounds.operations import Convolution, Numbers
from trilemma.bounds.selection import kth_smallest_size

Moves: TypeAlias = Float[Tensor, "_ ..."]  # by how much, of n rows or of all
Vectors: TypeAlias = Float[Tensor, "_ _ ..."]  # m, for each of n rows or for all
Map: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Gradients: TypeAlias = tuple[Tensor | None, ...]


def convolved(w: Convolution, v: Vectors, d: Moves) -> Vectors:
    """W (d v)."""
    image: Tensor = _Sloped.apply(v, d, w.layer.weight, w.matrix, w.adjoint, w.gradient)
    return image


def transposed(w: Convolution, v: Vectors, d: Moves) -> Vectors:
    """W^T (d v)."""

    def gradient(v: Tensor, g: Tensor) -> Tensor:
        return w.gradient(g, v)

    image: Tensor = _Sloped.apply(v, d, w.layer.weight, w.adjoint, w.matrix, gradient)
    return image


def weighed(v: Vectors, size: Moves) -> tuple[Numbers, Vectors]:
    """<|v|, s>, the 1-norm of each vector, its numbers times their sizes; and the vectors."""
    norm, same = _Weighed.apply(v, size)
    return norm, same


def median_size(v: Vectors) -> tuple[Moves, Vectors]:
    """The median of |v| over the vectors, of an even number the lower one; and the vectors."""
    median, same = _MedianSize.apply(v)
    return median, same


class _Sloped(Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        v, d, weight, there, *ctx.back_and_gradient = given
        ctx.save_for_backward(v, d, weight)
        image: Tensor = there(laid(v * d.unsqueeze(1)), weight)
        return image

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Gradients:
        (g,), (v, d, weight) = given, ctx.saved_tensors
        back, gradient = ctx.back_and_gradient
        of_v = of_d = of_weight = None
        if ctx.needs_input_grad[2]:
            of_weight = gradient(v * d.unsqueeze(1), g)
        if any(ctx.needs_input_grad[:2]):
            g = back(g, weight)
        if ctx.needs_input_grad[1]:
            of_d = _summed(g, v).sum_to_size(d.shape)
        if ctx.needs_input_grad[0]:
            of_v = (g * d.unsqueeze(1)).sum_to_size(v.shape)
        return of_v, of_d, of_weight, None, None, None


class _Weighed(Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        v, size = given
        ctx.save_for_backward(v, size)
        ctx.set_materialize_grads(False)
        # a quarter of the time that torch's 1-norm takes
        return _flat(v * size.unsqueeze(1), 2).abs_().sum(2), v

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Gradients:
        (of_norm, of_v), (v, size), of_size = given, ctx.saved_tensors, None
        if of_norm is None:
            return of_v, None
        signs = v.sign() * of_norm.view(*of_norm.shape, *[1] * (v.dim() - 2))
        if ctx.needs_input_grad[1]:
            of_size = _summed(signs, v).sum_to_size(size.shape)
        if ctx.needs_input_grad[0]:
            of_v = _added(of_v, signs, size.unsqueeze(1)).sum_to_size(v.shape)
        return of_v, of_size


class _MedianSize(Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        (v,) = given
        found = kth_smallest_size(_flat(v, 2), (v.shape[1] - 1) // 2)
        median = _as_flat(found, v)
        ctx.save_for_backward(v, median)
        ctx.set_materialize_grads(False)
        return median, v

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Gradients:
        (of_median, of_v), (v, median) = given, ctx.saved_tensors
        if of_median is None:
            return (of_v,)
        it = v.abs().eq_(median.unsqueeze(1))
        return (_added(of_v, it.mul_(v.sign()), of_median.unsqueeze(1)),)


def _added(first: Tensor | None, second: Tensor, third: Tensor) -> Tensor:
    """The first and the product of the others."""
    return second * third if first is None else torch.addcmul(first, second, third)


def _summed(first: Tensor, second: Tensor) -> Tensor:
    """The products of two, added up over the vectors."""
    pairs = zip(first.unbind(1), second.unbind(1), strict=True)
    whole = first.new_zeros(())
    for one, other in pairs:
        whole = torch.addcmul(whole, one, other)
    return whole.expand(first.shape[:1] + first.shape[2:])


def _flat(x: Tensor, lead: int) -> Tensor:
    """The axes after the first ones as one, in the order in which they lie."""
    return (x if x.is_contiguous() else x.movedim(lead, -1)).flatten(lead)


def _as_flat(x: Tensor, like: Vectors) -> Tensor:
    """Rows from where `_flat` had put their numbers in vectors like these."""
    shape = like.shape[2:]
    if like.is_contiguous():
        return x.unflatten(1, shape)
    return x.unflatten(1, (*shape[1:], shape[0])).movedim(-1, 1)

"""Steps of the dual with their gradients written out, so that of each vector one copy is held.

Autograd holds what each elementary step took: a vector, its product with the slopes, its absolute
values. Here the vector alone is held, and the rest is computed again in the backward pass. Norms
hand their vectors on, so that a vector's two gradients meet where they are computed. There are no
second derivatives.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from trilemma.bounds.convolution import laid
from trilemma.bounds.operations import Convolution, Numbers
from trilemma.bounds.selection import kth_smallest_size

Moves: TypeAlias = Float[Tensor, "_ ..."]  # by how much, of n rows or of all
Vectors: TypeAlias = Float[Tensor, "_ _ ..."]  # m, for each of n rows or for all
Gradients: TypeAlias = tuple[Tensor | None, ...]


def convolved(w: Convolution, v: Vectors, d: Moves) -> Vectors:
    """W (d v)."""
    image: Tensor = _applied(_Sloped, v, d, w.layer.weight, w.matrix, w.adjoint, w.gradient)
    return image


def transposed(w: Convolution, v: Vectors, d: Moves) -> Vectors:
    """W^T (d v)."""

    def gradient(v: Vectors, g: Vectors) -> Tensor:
        return w.gradient(g, v)

    image: Tensor = _applied(_Sloped, v, d, w.layer.weight, w.adjoint, w.matrix, gradient)
    return image


def weighed(v: Vectors, size: Moves) -> tuple[Numbers, Vectors]:
    """<|v|, s>, the 1-norm of each vector, its numbers times their sizes; and the vectors."""
    norm, same = _applied(_Weighed, v, size)
    return norm, same


def median_size(v: Vectors) -> tuple[Moves, Vectors]:
    """The median of |v| over the vectors, of an even number the lower one; and the vectors."""
    median, same = _applied(_MedianSize, v)
    return median, same


def _applied(function: type[Function], *given: object) -> Any:
    apply: Callable[..., Any] = function.apply
    return apply(*given)


class _Sloped(Function):
    """A linear map of products: v, d, the map's weights, the map, its adjoint, its gradient."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        v, d, weight, there, *ctx.back_and_gradient = given
        ctx.save_for_backward(v, d, weight)
        image: Tensor = there(laid(v * d.unsqueeze(1)), weight)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> Gradients:
        (g,), (v, d, weight) = given, ctx.saved_tensors
        back, gradient = ctx.back_and_gradient
        to_v, to_d, to_weight, *_ = ctx.needs_input_grad
        of_v = of_d = of_weight = None
        if to_weight:
            of_weight = gradient(v * d.unsqueeze(1), g)
        if to_v or to_d:
            of_v = back(laid(g), weight)
            of_d = _summed(of_v, v).sum_to_size(d.shape) if to_d else None
            of_v = of_v.mul_(d.unsqueeze(1)).sum_to_size(v.shape) if to_v else None
        return of_v, of_d, of_weight, None, None, None


class _Weighed(Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        v, size = given
        ctx.save_for_backward(v, size)
        ctx.set_materialize_grads(False)
        return (v * size.unsqueeze(1)).abs_().sum(tuple(range(2, v.dim()))), v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> Gradients:
        (of_norm, further), (v, size) = given, ctx.saved_tensors
        if of_norm is None:
            return further, None
        signs = v.sign() * of_norm.view(*of_norm.shape, *[1] * (v.dim() - 2))
        to_size = ctx.needs_input_grad[1]
        of_size = _summed(signs, v).sum_to_size(size.shape) if to_size else None
        of_v = signs.mul_(size.unsqueeze(1)).sum_to_size(v.shape)
        return of_v if further is None else of_v.add_(further), of_size


class _MedianSize(Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        (v,) = given
        found = kth_smallest_size(_flat(v), (v.shape[1] - 1) // 2)
        median = _as_flat(found, v)
        ctx.save_for_backward(v, median)
        ctx.set_materialize_grads(False)
        return median, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> Gradients:
        (of_median, further), (v, median) = given, ctx.saved_tensors
        if of_median is None:
            return (further,)
        # 1 where |v| is the median: truth values would take CPUs several times as long
        it = v.abs().eq_(median.unsqueeze(1))
        of_v = it.mul_(v.sign()).mul_(of_median.unsqueeze(1))
        return (of_v if further is None else of_v.add_(further),)


def _summed(first: Vectors, second: Vectors) -> Moves:
    """The products of two, added up over the vectors."""
    whole = first.new_zeros(())
    for one, other in zip(first.unbind(1), second.unbind(1), strict=True):
        whole = torch.addcmul(whole, one, other)
    return whole.expand(first.shape[:1] + first.shape[2:])


def _flat(v: Vectors) -> Float[Tensor, "n m u"]:
    """A vector's numbers along one axis, in the order in which they lie."""
    return (v if v.is_contiguous() else v.movedim(2, -1)).flatten(2)


def _as_flat(x: Float[Tensor, "n u"], like: Vectors) -> Moves:
    """Rows from where `_flat` put their numbers in vectors like these."""
    shape = like.shape[2:]
    moved = not like.is_contiguous()
    rows: Tensor = x.unflatten(1, (*shape[1:], shape[0]) if moved else shape)
    return rows.movedim(-1, 1) if moved else rows

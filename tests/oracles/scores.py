"""What the tests of defences stand on: an oracle whose answers are given, and rows of scores."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import nn

# few values, so that ties are frequent; some that differ in a last bit
WEIGHTS = st.one_of(
    st.sampled_from([0.0, 1e-15, 1e-3, 1.0, 1.0 + 2**-52, 1.0 - 2**-53, 2.0, 3.0, 1e6]),
    st.floats(0, 1),
)


@dataclass(frozen=True)
class Given:
    """It answers with the first columns of what it is asked; the others make inputs different."""

    classes: int

    def __call__(self, x):
        return x[:, : self.classes].clone()


def simplex(*rows):
    p = torch.tensor(rows, dtype=torch.float64)
    return p / p.sum(1, keepdim=True)


def rows_of_scores(most=6):
    """(1, k) rows on the simplex."""
    weights = st.lists(WEIGHTS, min_size=2, max_size=most).filter(lambda each: sum(each) > 1e-6)
    return weights.map(lambda each: simplex(each))


def suspects(k, threshold, slope=20.0):
    """A classifier that takes for members what is answered with more than a confidence."""
    layer = nn.Linear(k, 2).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 0] = slope
        layer.bias.copy_(torch.tensor([0.0, -slope * threshold]))
    return layer

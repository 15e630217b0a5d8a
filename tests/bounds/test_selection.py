"""The network of comparators finds what sorting finds."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma.bounds import selection
from trilemma.bounds.selection import kth_smallest_size, runs


@pytest.mark.parametrize("n", range(1, 11))
def test_by_the_zero_one_principle_every_order_is_found(n):
    # a network that is right for all zeros and ones is right for all numbers (Knuth, theorem Z)
    x = torch.tensor(list(product([0.0, 1.0], repeat=n))).unsqueeze(2)
    ordered = x.sort(1).values
    for k in range(n):
        assert torch.equal(kth_smallest_size(x, k), ordered[:, k])


@given(
    n=st.integers(1, 3),
    p=st.integers(1, 70),
    u=st.integers(1, 20),
    alive=st.sampled_from([1, 40, 10**6]),
    data=st.data(),
)
def test_sizes_are_found_whatever_part_is_at_once(n, p, u, alive, data):
    k = data.draw(st.integers(0, p - 1))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    x = torch.randint(-9, 10, (n, p, u), generator=rng).double()  # of which many are equal
    given_ = x.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "ALIVE", {"cpu": alive})
        found = kth_smallest_size(x, k)
    assert torch.equal(found, x.abs().sort(1).values[:, k])
    assert torch.equal(x, given_)


def test_comparators_that_the_number_does_not_hang_on_are_left_out():
    def compared(n, k):
        return sum(len(range(n)[first]) for first, *_ in runs(n, k))

    assert compared(2, 0) == 1
    assert compared(16, 0) == 15  # the smallest of n takes n - 1
    assert compared(10, 4) <= 31  # of the 31 that sort ten

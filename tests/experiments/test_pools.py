"""What a thief asks about: so many rows of which part, and of which other data."""

import numpy as np
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data import Digits
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.pools import held
from trilemma.experiments.theft import Pool

FIRST = {"auxiliary": 1000, "victim_training_rows": 2000, "members": 3000}


def split_of(classes=3, shape=(2,), **rows):
    """A split whose rows say where they come from: 1000 and on are auxiliary, and so on."""
    arrays = {}
    for name, count in {"members": 9, **rows}.items():
        start = FIRST[name]
        x = np.arange(start, start + count, dtype=np.float32)
        arrays[f"{name}_x"] = np.broadcast_to(x.reshape(-1, *[1] * len(shape)), (count, *shape))
        arrays[f"{name}_y"] = np.arange(count, dtype=np.int64) % classes
    return Artifact(arrays=arrays, facts={"classes": classes})


SPLIT = split_of(auxiliary=20, victim_training_rows=6)


def origin(rows):
    return rows.x.flatten(1)[:, 0].int().tolist()


@pytest.mark.parametrize(
    ("pool", "counts"),
    [
        (Pool(), (20, 0)),
        (Pool(auxiliary=7), (7, 0)),
        (Pool(auxiliary=0, victim_training_rows=6), (0, 6)),
        (Pool(auxiliary=20, victim_training_rows=1), (20, 1)),
    ],
)
def test_so_many_rows_of_each_part_in_their_order(pool, counts):
    found = origin(held(pool, SPLIT, [], seed=0))
    auxiliary, known = found[: counts[0]], found[counts[0] :]
    assert (len(auxiliary), len(known)) == counts
    assert set(auxiliary) <= set(range(1000, 1020))
    assert set(known) <= set(range(2000, 2006))
    assert auxiliary == sorted(set(auxiliary))
    assert known == sorted(set(known))


def test_the_labels_of_the_split_are_not_the_thiefs():
    found = held(Pool(auxiliary=9, victim_training_rows=2), SPLIT, [], seed=4)
    assert found.y.tolist() == [0] * 11


def test_the_seed_draws_which_and_nothing_else_does():
    few = Pool(auxiliary=10, victim_training_rows=3)
    draws = [origin(held(few, SPLIT, [], seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    torch.manual_seed(5)
    assert origin(held(few, SPLIT, [], seed=0)) == draws[0]
    fewer = origin(held(Pool(auxiliary=4, victim_training_rows=3), SPLIT, [], seed=0))
    assert fewer[4:] == draws[0][10:]  # a part is drawn without regard to the others
    assert set(fewer[:4]) < set(draws[0][:10])  # who asks for fewer gets some of the same
    whole = [origin(held(Pool(), SPLIT, [], seed=seed)) for seed in (0, 1)]
    assert whole[0] == whole[1]


def test_each_row_is_drawn_about_as_often():
    few, often = Pool(auxiliary=5), np.zeros(20)
    for seed in range(400):
        often[[place - 1000 for place in origin(held(few, SPLIT, [], seed=seed))]] += 1
    assert often.sum() == 2000
    assert abs(often - 100).max() < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_groups_of_each_other_data_set_are_its_own():
    others = [split_of(classes=4, members=8), split_of(classes=2, members=5)]
    found = held(Pool(auxiliary=6), SPLIT, others, seed=0)
    groups = [set(part.tolist()) for part in found.y.split([6, 8, 5])]
    assert groups == [{0}, {1, 2, 3, 4}, {5, 6}]  # the thief does not know the labels of the first
    assert origin(found)[6:] == [*range(3000, 3008), *range(3000, 3005)]


def test_other_data_may_be_all_there_is():
    pool = Pool(auxiliary=0, others=(Digits(),))
    found = held(pool, split_of(), [split_of(members=4)], seed=0)
    assert origin(found) == [3000, 3001, 3002, 3003]


@pytest.mark.parametrize("shape", [(3,), (1, 2), ()])
def test_other_data_of_another_shape_are_refused(shape):
    others = [split_of(), split_of(shape=shape)]
    with pytest.raises(BadInput) as error:
        held(Pool(), SPLIT, others, seed=0)
    assert error.value.what == "extraction.pool.others[1]"
    assert f"shape {shape}, where the victim's are (2,)" in str(error.value)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (Pool(auxiliary=21), "data.auxiliary: has 20 rows, and 21 are wanted"),
        (Pool(victim_training_rows=7), "data.victim_training_rows: has 6 rows, and 7"),
    ],
)
def test_more_rows_than_there_are_are_refused(pool, said):
    with pytest.raises(BadInput, match=said):
        held(pool, SPLIT, [], seed=0)


def test_no_rows_at_all_are_refused():
    with pytest.raises(BadInput, match=r"data\.auxiliary: has no rows"):
        held(Pool(), split_of(), [], seed=0)
    with pytest.raises(BadInput, match="pool: has no rows"):
        Pool(auxiliary=0)

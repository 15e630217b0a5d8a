"""A batch that is shared: what several compute together is what one computes."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingDiverged
from trilemma.core.generators import seeded
from trilemma.training import (
    Adversarial,
    AdversarialRegularisation,
    DomainAdaptation,
    MixedAdversarial,
    Natural,
    Objective,
    Standing,
    Term,
    Validation,
    fit,
    robust_accuracy,
)
from trilemma.training.engine import Together, check_apart
from trilemma.training.objectives import Batch
from trilemma.training.validation import withstood

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from shares import ATTACK, OBJECTIVES, Member, Threads, digits, network, steps  # noqa: E402


def together(many, objective, kind=Together, **more):
    models = [network() for _ in range(many)]

    def work(fabric):
        return steps(objective, models[fabric.global_rank], engine=kind(fabric), **more)

    return Threads(many).run(work)


def agree(objective, many=2, kind=Together, **more):
    alone, losses, state = steps(objective, network(), **more)
    for weights, said, stands in together(many, objective, kind, **more):
        torch.testing.assert_close(weights, alone, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(said, losses, rtol=1e-9, atol=1e-11)
        assert torch.equal(stands, state)


@dataclass(frozen=True, eq=False)
class Unweighted(Together):
    """A wrong engine: a mean over processes, however many rows each has."""

    def share(self, given):
        return super().share(given)[0], 1 / self.fabric.world_size


@dataclass(frozen=True, eq=False)
class Estranged(Together):
    """A wrong engine: each process goes on with the draws it made."""

    def align(self, rng):
        pass


def broken(kind, objective, id_, **more):
    marks = pytest.mark.xfail(strict=True, raises=AssertionError)
    return pytest.param(objective, kind, more, marks=marks, id=f"negative control, {id_}")


@pytest.mark.parametrize(
    ("objective", "kind", "more"),
    [
        *(pytest.param(each, Together, {}, id=name) for name, each in OBJECTIVES.items()),
        pytest.param(Adversarial(attack=ATTACK), Together, {"clip_norm": 0.1}, id="clipped"),
        broken(Unweighted, Natural(), "unweighted", size=15),
        broken(Estranged, OBJECTIVES["hardly mixed"], "estranged"),
        broken(Together, Natural() + DomainAdaptation(attack=ATTACK), "a term of whole batches"),
    ],
)
def test_law_two_that_share_each_batch_take_the_steps_of_one(objective, kind, more):
    agree(objective, kind=kind, **more)


@pytest.mark.parametrize(("rows", "size"), [(9, 3), (13, 12)])
def test_more_processes_than_rows_are_no_matter(rows, size):
    """Three rows among four processes; one among four."""
    for name in ("adversarial", "hardly mixed"):
        agree(OBJECTIVES[name], 4, size=size, data=digits(rows))


def test_all_hold_the_same_weights_to_the_bit():
    found = together(3, OBJECTIVES["interval"])
    for weights, _, _ in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(weights, found[0][0], strict=True))


def test_a_batch_is_dealt_out_whole_and_evenly_by_where_rows_stand():
    n, size = 23, 4
    x, y = torch.arange(n).double().view(n, 1), torch.arange(n)
    standing = Standing(torch.randperm(n, generator=seeded(0)), n)
    shares = [Together(Member(Threads(size), r)).share((x, y, standing)) for r in range(size)]
    rows = torch.cat([share[0][1] for share in shares])
    assert sorted(rows.tolist()) == list(range(n))
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    for (inputs, labels, places), weight in shares:
        assert torch.equal(inputs.squeeze(1).long(), labels)
        assert torch.equal(places.rank, standing.rank[labels])
        assert weight == len(labels) / n
    for ratio in (0.1, 0.3, 0.8):
        counts = [int(share[0][2].first(ratio).sum()) for share in shares]
        assert max(counts) - min(counts) <= 1
        assert counts[0] == max(counts)  # who leads has some, if any has


def test_a_divergence_is_everybodys():
    x = torch.rand(6, 64, dtype=torch.float64)
    x[5, 0] = torch.inf
    models = [network() for _ in range(2)]
    seen = []

    def work(fabric):
        model = models[fabric.global_rank]
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        given = [(x, torch.arange(6))]
        with pytest.raises(TrainingDiverged):
            list(fit(model, given, Natural(), sgd, rng=seeded(0), engine=Together(fabric)))
        seen.append(fabric.global_rank)

    Threads(2).run(work)
    assert sorted(seen) == [0, 1]


@pytest.mark.parametrize("n", [40, 3])
def test_robust_accuracy_is_counted_by_all(n):
    x = torch.rand(n, 1, 8, 8, dtype=torch.float64, generator=seeded(1))
    held_out = Validation(data=Dataset(x, torch.arange(n) % 10), attack=ATTACK)
    models = [network() for _ in range(4)]
    expected = robust_accuracy(models[0], held_out.data, ATTACK, rng=seeded(2))

    def work(fabric):
        engine, model = Together(fabric), models[fabric.global_rank]
        return engine.total(withstood(model, engine.rows(held_out.data), ATTACK, rng=seeded(2)))

    assert Threads(4).run(work) == [round(n * expected)] * 4


# what cannot be shared


class Odd(Term):
    """A user's own term, of whole batches."""

    APART = False

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        return batch.logits(model).std()


@pytest.mark.parametrize(
    ("layer", "objective", "said"),
    [
        (nn.BatchNorm1d(3), Natural(), r"BatchNorm1d \(1\) normalises over the rows"),
        (nn.Dropout(0.1), Natural(), r"Dropout \(1\) draws by a row's place"),
        (nn.Identity(), DomainAdaptation(attack=ATTACK), "DomainAdaptation is no mean over"),
        (
            nn.Identity(),
            Natural() + 0.1 * (Adversarial(attack=ATTACK) + 2.0 * DomainAdaptation()),
            "DomainAdaptation is no mean over the rows of a batch. Train it on one device",
        ),
        (nn.Identity(), Odd(), "Odd is no mean over"),
    ],
)
def test_what_makes_rows_depend_on_each_other_is_refused(layer, objective, said):
    with pytest.raises(BadInput, match=f"devices: cannot share the rows of a batch: {said}"):
        check_apart(nn.Sequential(nn.Linear(3, 3), layer), objective)


def test_what_treats_each_row_by_itself_is_not():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.LayerNorm(3), nn.GroupNorm(3, 3))
    for objective in (*OBJECTIVES.values(), MixedAdversarial(attack=ATTACK, ratio=0.5)):
        check_apart(model, objective)


def test_every_objective_says_whether_it_is_a_mean_over_rows():
    """Those that are not are named here; the law above holds for the others."""
    from typing import get_args

    coupled = {kind for kind in get_args(Objective) if not kind.APART}
    assert coupled == {DomainAdaptation, AdversarialRegularisation}


def test_noise_inside_a_network_is_refused():
    from trilemma.models import PixelDP
    from trilemma.training import SmallCNN, build

    model = build(SmallCNN(noise=PixelDP(draws=2)), (1, 8, 8), 3, seeded(0))
    with pytest.raises(BadInput, match=r"NoisyNetwork \(the model\) draws by a row's place"):
        check_apart(model, Adversarial(attack=PGD(ball=Linf(0.1))))

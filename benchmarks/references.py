"""Reference models trained together, and one after the other.

    python -m benchmarks.references [--turns 3] [--models 16]

Perceptrons by `train_together` beside `train`; convolutional networks, for which it is not made,
by stacked weights and `vmap` beside the bare steps of each model.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from benchmarks.clock import cpu_seconds
from benchmarks.records import Row, save, verdict
from trilemma.core.dataset import Dataset
from trilemma.core.generators import seeded
from trilemma.models import parameters
from trilemma.training import MLP, Natural, Recipe, SmallCNN, build, train
from trilemma.training.together import WORTH, train_together

ALONE, TOGETHER = "one after the other", "together"
CLASSES, STEPS, FASTER = 10, 15, 1.3
PERCEPTRONS: Sequence[tuple[MLP, tuple[int, ...]]] = (
    (MLP(), (1, 8, 8)),
    (MLP(hidden=(256, 128)), (1, 8, 8)),
    (MLP(), (561,)),
    (MLP(hidden=(200, 50)), (561,)),
    (MLP(hidden=(256, 128), batch=64), (1, 28, 28)),
    (MLP(hidden=(1000, 100)), (561,)),
)
CONVOLUTIONAL = ((SmallCNN(), (1, 8, 8), 6), (SmallCNN(), (3, 32, 32), 2))


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--models", type=int, default=16)
    args = parser.parse_args()
    for recipe, shape in PERCEPTRONS:
        save("references", perceptrons(recipe, shape, args.models, args.turns))
    for recipe, shape, steps in CONVOLUTIONAL:
        save("references", convolutional(recipe, shape, steps, args.models, args.turns))


def perceptrons(recipe: MLP, shape: tuple[int, ...], models: int, turns: int) -> list[Row]:
    """Whole trainings of two epochs."""
    short = MLP(hidden=recipe.hidden, batch=recipe.batch, epochs=2)
    data, seeds = rows(shape, STEPS * short.batch, models), range(models)

    def alone() -> None:
        for each, seed in zip(data, seeds, strict=True):
            train(short, Natural(), each, seed, classes=CLASSES)

    def together() -> None:
        train_together(short, Natural(), data, seeds, classes=CLASSES)

    return measured(short, shape, {ALONE: alone, TOGETHER: together}, models, turns)


def convolutional(
    recipe: Recipe, shape: tuple[int, ...], steps: int, models: int, turns: int
) -> list[Row]:
    """Bare steps of Adam."""
    data = rows(shape, steps * recipe.batch, models)
    networks = [build(recipe, shape, CLASSES, seeded(seed)) for seed in range(models)]
    x, y = torch.stack([each.x for each in data]), torch.stack([each.y for each in data])

    def alone() -> None:
        for network, each in zip(networks, data, strict=True):
            model = copy.deepcopy(network)
            adam = torch.optim.Adam(model.parameters())
            for index in torch.arange(len(each)).split(recipe.batch):
                stepped(adam, F.cross_entropy(model(each.x[index]), each.y[index]))

    def together() -> None:
        stacked, _ = stack_module_state(networks)
        weights = {name: nn.Parameter(w.detach().clone()) for name, w in stacked.items()}
        adam = torch.optim.Adam(weights.values(), fused=True)
        answers = vmap(lambda w, x: functional_call(networks[0], w, (x,)))
        for index in torch.arange(x.shape[1]).split(recipe.batch):
            logits = answers(weights, x[:, index]).flatten(0, 1)
            loss = F.cross_entropy(logits, y[:, index].flatten(), reduction="sum")
            stepped(adam, loss / len(index))

    return measured(recipe, shape, {ALONE: alone, TOGETHER: together}, models, turns)


def stepped(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def rows(shape: tuple[int, ...], count: int, models: int) -> list[Dataset]:
    """Noise, another one for each model: what is in the rows does not change the time."""
    rng = seeded(0)
    return [
        Dataset(
            torch.rand(count, *shape, generator=rng),
            torch.randint(CLASSES, (count,), generator=rng),
        )
        for _ in range(models)
    ]


def measured(
    recipe: Recipe,
    shape: tuple[int, ...],
    jobs: dict[str, Callable[[], None]],
    models: int,
    turns: int,
) -> list[Row]:
    """CPU seconds in turns, and how many times faster they are together."""
    jobs[TOGETHER]()  # compiles what vmap needs
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(turns):
        for name, job in jobs.items():
            found[name].append(cpu_seconds(job)[0])
    weights = parameters(build(recipe, shape, CLASSES, seeded(0)))
    hidden = getattr(recipe, "hidden", "")
    case = f"{models} x {type(recipe).__name__}{hidden} on {'x'.join(map(str, shape))}"
    faster = median(a / b for a, b in zip(found[ALONE], found[TOGETHER], strict=True))
    worth = isinstance(recipe, MLP) and weights <= WORTH
    bar = {"bar": verdict(faster, FASTER, most=False)} if worth else {"bar": "not done"}
    common = {"case": case, "weights of one": weights}
    return [
        {**common, "who": ALONE, "cpu s": median(found[ALONE])},
        {**common, "who": TOGETHER, "cpu s": median(found[TOGETHER]), "faster": faster, **bar},
    ]


if __name__ == "__main__":
    main()

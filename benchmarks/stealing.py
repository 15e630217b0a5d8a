"""One pass of BEST beside the passes of the model that it asks for.

    python -m benchmarks.stealing [--turns 9] [--rows 1000] [--only cnn resnet18]

The bare passes are for each batch B_S times forward and backward to the input, the victim's answer
and one step of training: as many rows a call, lying channels last (the small CNN's fastest).
"""

import argparse
import copy
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import setting
from benchmarks.bounds import timed
from benchmarks.clock import Job
from benchmarks.records import Row, save, verdict
from trilemma.attacks.evasion import uncertain_examples
from trilemma.attacks.extraction import BEST, extract
from trilemma.core.generators import seeded
from trilemma.core.pace import Pace
from trilemma.experiments.allocation import keep_freed_memory
from trilemma.oracles import Ledger, Local, Oracle, TopLabel
from trilemma.training import MLP, ResNet18, Student, build
from trilemma.training.schedule import SGD

CLASSES, WIDTH = 10, 0.25
STEP = SGD(learning_rate=0.01)  # with momentum
OURS, ON_DISK, PASSES = "trilemma", "trilemma, ledger on disk", "bare passes"
BATCH, BARE_BATCH = "trilemma, a query batch", "bare passes of a query batch"
OF_THE_PASSES = 1.1  # the bar
lay = Pace(1, channels_last=True).lay


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line does
    for name in args.only:
        title, victim, own, x = CASES[name](args.rows)
        save("stealing", measured(title, victim, own, x, BEST(epochs=1), args.turns))


def small_case(rows: int) -> tuple[str, nn.Module, nn.Module, Tensor]:
    """The network of the other benchmarks, and a thief with one of its make."""
    x, _ = setting.images(rows, correct_for=None)
    return f"{rows:,} rows of Fashion-MNIST, small CNN", setting.natural(), setting.cnn(), x


def resnet_case(_: int) -> tuple[str, nn.Module, nn.Module, Tensor]:
    """Two batches of noise: what is in the rows does not change the time."""
    x, recipe = torch.rand(256, 3, 32, 32, generator=seeded(0)), ResNet18(width=WIDTH)
    victim, own = (build(recipe, x.shape[1:], CLASSES, seeded(seed)).eval() for seed in (0, 1))
    return f"{len(x)} rows of 3x32x32, ResNet18 x {WIDTH:g}", victim, own, x


CASES = {"cnn": small_case, "resnet18": resnet_case}


def measured(
    case: str, victim: nn.Module, own: nn.Module, x: Tensor, config: BEST, turns: int
) -> list[Row]:
    """Each contestant has a student of its own, which goes on learning from turn to turn."""
    oracle, limit = TopLabel(Local(victim, classes=CLASSES)), (turns + 1) * len(x)
    with TemporaryDirectory() as folder:
        on_disk = Ledger(oracle, limit, Path(folder) / "ledger")
        jobs: dict[str, Job] = {
            OURS: a_pass(Ledger(oracle, limit), taught(own), x, config),
            ON_DISK: a_pass(on_disk, taught(own), x, config),
            PASSES: bare_pass(victim, taught(own), x, config),
            BATCH: a_query_batch(taught(own), x[: config.batch], config),
            BARE_BATCH: bare_query_batch(taught(own), x[: config.batch], config),
        }
        seconds = timed(jobs, turns)
        on_disk.close()
    bare = {OURS: PASSES, ON_DISK: PASSES, BATCH: BARE_BATCH}
    rows = []
    for name, taken in seconds.items():
        row: Row = {"case": case, "who": name, "turns": turns, "cpu s": median(taken)}
        rows.append(row | (compared(taken, seconds[bare[name]]) if name in bare else {}))
        if bare.get(name) == PASSES:
            rows[-1]["bar"] = verdict(rows[-1]["of the bare passes"], OF_THE_PASSES, most=True)
    return rows


def compared(taken: list[float], bare: list[float]) -> Row:
    """The time in that of the bare passes: the median over the turns, and least to least."""
    ratio = median(ours / its for ours, its in zip(taken, bare, strict=True))
    return {"of the bare passes": ratio, "least to least": min(taken) / min(bare)}


def taught(network: nn.Module) -> Student:
    """A student that begins as `network`, which need not be a recipe's."""
    return Student.of(copy.deepcopy(network), MLP(optimiser=STEP))


def a_pass(oracle: Oracle, student: Student, x: Tensor, config: BEST) -> Job:
    """What is measured."""
    rng = seeded(0)
    return lambda: extract(oracle, x, student, config, rng=rng)


def a_query_batch(student: Student, x: Tensor, config: BEST) -> Job:
    """Synthesis alone."""
    rng = seeded(0)
    return lambda: uncertain_examples(student.model, x, config.examples, rng=rng, batch=len(x))


def bare_pass(victim: nn.Module, student: Student, x: Tensor, config: BEST) -> Job:
    """The passes of the model in one pass over the rows, and nothing else."""
    model, sgd, y = student.model, student.optimiser, some_labels(x)

    def job() -> None:
        for rows, labels in zip(x.split(config.batch), y.split(config.batch), strict=True):
            synthesise(model, rows, labels, config.examples.steps)
            with torch.no_grad():
                victim(lay(rows))
            model.train()
            sgd.zero_grad(set_to_none=True)
            F.cross_entropy(model(lay(rows)), labels).backward()
            sgd.step()
            model.eval()

    return job


def bare_query_batch(student: Student, x: Tensor, config: BEST) -> Job:
    """The passes of synthesis."""
    y = some_labels(x)
    return lambda: synthesise(student.model, x, y, config.examples.steps)


def synthesise(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """So many gradients in the input; the model's parameters get none."""
    for _ in range(steps):
        leaf = lay(x).detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)


def some_labels(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % CLASSES


if __name__ == "__main__":
    main()

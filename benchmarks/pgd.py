"""PGD-20 against the bare model and four libraries: `python -m benchmarks.pgd`."""

import argparse
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks import peers, setting
from benchmarks.clock import Bare, Job, race, wall_seconds
from benchmarks.counting import Counted, Tally
from benchmarks.records import Row, save, verdict
from trilemma.attacks.evasion import PGD, pgd
from trilemma.core.balls import Linf
from trilemma.core.generators import seeded

OURS = "trilemma"
EPS, STEPS = 0.1, 20
CONFIG = PGD(ball=Linf(EPS), steps=STEPS)
PEERS = {
    "torchattacks": ("torchattacks", peers.torchattacks_pgd),
    "adv-lib": ("adv_lib", peers.adv_lib_pgd),
    "Foolbox": ("foolbox", peers.foolbox_pgd),
    "ART": ("art", peers.art_pgd),
}
OF_THE_MODEL, OF_THE_OTHERS = 1.10, 1.7  # the bars


def main() -> None:
    """Measure all contestants in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-wall", action="store_true", help="no wall time of two threads")
    args = parser.parse_args()
    model = setting.natural()
    x, y = setting.images(args.samples, correct_for=None)
    bare = Bare(model, x, y, gradients=True)
    jobs = _jobs(model, x, y)
    for job in jobs.values():
        job()  # what is done once in a process is done now
    laps = race(jobs, bare, questions=STEPS * len(x), turns=lambda _: args.turns)
    asked = _asked(model, x, y)
    rows: list[Row] = []
    for name, lap in laps.items():
        row: Row = {
            "case": f"{len(x)} samples, {STEPS} steps",
            "who": name,
            "cpu s, least": min(lap.seconds),
            "cpu s, median": lap.median,
            "of the bare model, least": lap.least_worth / (STEPS * len(x)),
            "of the bare model, median": lap.worth / (STEPS * len(x)),
            "forward and backward": asked[name].both / len(x),
            "forward alone": asked[name].forward / len(x),
            "robust accuracy": _accuracy(model, lap.result, y),
        }
        if name == OURS:
            row["bar"] = verdict(row["of the bare model, least"], OF_THE_MODEL, most=True)
        else:
            row["trilemma is faster"] = lap.least_worth / laps[OURS].least_worth
            row["bar"] = verdict(row["trilemma is faster"], OF_THE_OTHERS, most=False)
        if not args.no_wall:
            row["wall s, 2 threads"] = wall_seconds(jobs[name], best_of=2)
        rows.append(row)
    if not args.no_wall:
        rows[0]["the model's"] = bare.wall(STEPS * len(x))
    rows[0]["bare model"] = bare.title
    save("pgd", rows)


def _jobs(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Job]:
    """Each library with the same ball, steps and step size, and its own batches."""
    there = peers.installed(*(module for module, _ in PEERS.values()))
    jobs: dict[str, Job] = {OURS: lambda: pgd(model, x, y, CONFIG, rng=seeded(0))}
    for name, (module, make) in PEERS.items():
        if module in there:
            jobs[name] = make(model, x, y, EPS, CONFIG.rate, STEPS)
    return jobs


def _asked(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tally]:
    """How much each asks the model, in a run that is not timed."""
    counted = Counted(model)
    asked = {}
    for name, job in _jobs(counted, x, y).items():
        counted.tally.clear()
        job()
        asked[name] = replace(counted.tally)
    return asked


def _accuracy(model: nn.Module, x_adv: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x_adv).argmax(1) == y).double().mean())


if __name__ == "__main__":
    main()

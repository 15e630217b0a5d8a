"""AutoAttack standard against its own passes and pyautoattack: `python -m benchmarks.autoattack`.

`--verdicts` compares which of 1,000 samples resist, without timing.
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks import peers, setting
from benchmarks.clock import Bare, Job, Laps, race, wall_seconds
from benchmarks.counting import Counted, Tally
from benchmarks.records import Row, save, verdict
from trilemma.attacks.evasion import AutoAttack, autoattack
from trilemma.core.generators import seeded

OURS, PEER = "trilemma", "pyautoattack"
OF_ITS_PASSES, FASTER, POINTS = 1.15, 1.0, 0.5  # the bars


def main() -> None:
    """Measure both in turns, or compare verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=None, help="128, or 1,000 for verdicts")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer-turns", type=int, default=None, help="as --turns, unless given")
    parser.add_argument("--verdicts", action="store_true")
    parser.add_argument("--no-wall", action="store_true", help="no wall time of two threads")
    args = parser.parse_args()
    model = setting.robust()
    x, y = setting.images(args.samples or (1000 if args.verdicts else 128), correct_for=None)
    if args.verdicts:
        save("autoattack_verdicts", _verdicts(model, x, y))
    else:
        many = {OURS: args.turns, PEER: args.peer_turns or args.turns}
        save("autoattack", _seconds(model, x, y, many, wall=not args.no_wall))


def _seconds(
    model: nn.Module, x: Tensor, y: Tensor, turns: dict[str, int], *, wall: bool
) -> list[Row]:
    forward, both = (Bare(model, x, y, gradients=gradients) for gradients in (False, True))
    jobs = _jobs(model, x, y)
    asked = {name: _asked(name, model, x, y) for name in jobs}  # and what is done once
    worth = forward.per_row(8192) / both.per_row(8192)  # of a forward pass, in passes both ways
    questions = round(asked[OURS].both + worth * asked[OURS].forward)
    laps = race(jobs, both, questions=questions, turns=turns.__getitem__)
    rows = [_row(name, model, x, y, laps, asked[name], worth) for name in jobs]
    for row in rows if wall else ():
        row["wall s, 2 threads"] = wall_seconds(jobs[row["who"]], best_of=1)
    rows[0]["bare model"] = both.title
    return rows


def _row(
    name: str,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    laps: dict[str, Laps],
    asked: Tally,
    worth: float,
) -> Row:
    row: Row = {
        "case": f"{len(x)} samples",
        "who": name,
        "forward and backward": asked.both,
        "forward alone": asked.forward,
        "cpu s": laps[name].median,
        "of its passes": laps[name].worth / (asked.both + worth * asked.forward),
        "clean accuracy": float(_resists(model, x, y).double().mean()),
        "robust accuracy": float(_resists(model, laps[name].result, y).double().mean()),
    }
    if name == OURS:
        row["bar"] = verdict(row["of its passes"], OF_ITS_PASSES, most=True)
    else:
        row["trilemma is faster"] = laps[name].worth / laps[OURS].worth
        row["bar"] = verdict(row["trilemma is faster"], FASTER, most=False)
    return row


def _verdicts(model: nn.Module, x: Tensor, y: Tensor) -> list[Row]:
    found = {name: _resists(model, job(), y) for name, job in _jobs(model, x, y).items()}
    rows: list[Row] = [
        {
            "case": f"{len(x)} samples",
            "who": name,
            "clean accuracy": float(_resists(model, x, y).double().mean()),
            "robust accuracy": float(resists.double().mean()),
        }
        for name, resists in found.items()
    ]
    if PEER in found:
        ours, theirs = found[OURS], found[PEER]
        rows[0]["resist here alone"] = int((ours & ~theirs).sum())
        rows[1]["resist here alone"] = int((theirs & ~ours).sum())
        apart = 100 * abs(rows[0]["robust accuracy"] - rows[1]["robust accuracy"])
        rows[0] |= {"points apart": apart, "bar": verdict(apart, POINTS, most=True)}
    return rows


def _jobs(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Job]:
    config = AutoAttack(ball=setting.BALL)
    jobs: dict[str, Job] = {OURS: lambda: autoattack(model, x, y, config, rng=seeded(0))}
    if peers.installed("pyautoattack"):
        jobs[PEER] = peers.pyautoattack_standard(model, x, y, setting.BALL.radius, seed=0)
    return jobs


def _asked(name: str, model: nn.Module, x: Tensor, y: Tensor) -> Tally:
    counted = Counted(model)
    _jobs(counted, x, y)[name]()
    return replace(counted.tally)


def _resists(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(rows).argmax(1) for rows in x_adv.split(128)]) == y


if __name__ == "__main__":
    main()

"""Where the time goes: `python -m benchmarks.profile`."""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import setting
from benchmarks.clock import cpu_seconds
from benchmarks.records import Row, save
from trilemma.attacks.evasion import PGD, HopSkipJump, hop_skip_jump, pgd
from trilemma.core.generators import seeded
from trilemma.oracles import Local

MODEL, BACKWARD = "benchmarked model", "autograd::engine::evaluate_function"
NOISE = ("normal", "uniform", "rand", "bernoulli")
LISTED = 8  # operations outside the model


class Marked(nn.Module):
    """The same model; its work goes under one name in the profile."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        with record_function(MODEL):
            return self.model(x)


def main() -> None:
    """Profile HopSkipJump and PGD."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--queries", type=int, default=1000)
    args = parser.parse_args()
    model = Marked(setting.natural())
    x, y = setting.images(args.samples, correct_for=model)
    oracle = Local(model, classes=setting.CLASSES)
    limited = HopSkipJump(norm=2, max_queries=args.queries)
    steps = PGD(ball=setting.BALL, steps=20)
    rows = [
        *_shares("HopSkipJump", lambda: hop_skip_jump(oracle, x, y, limited, rng=seeded(0))),
        *_shares("PGD-20", lambda: pgd(model, x, y, steps, rng=seeded(0))),
    ]
    save("profile", rows)


def _shares(title: str, job: Callable[[], Any]) -> list[Row]:
    """Of the time under the profiler, which takes some itself, above all outside the model."""
    job()
    plain, _ = cpu_seconds(job)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        started = time.perf_counter()
        job()
        taken = time.perf_counter() - started
    within: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for event in seen.events():
        seconds = event.self_cpu_time_total / 1e6
        place = _place(event)
        within[place] += seconds
        if place in ("noise", "other operations"):
            outside[event.name] += seconds
    within["Python and the profiler"] = taken - sum(within.values())
    parts = [*within.most_common(), *((f"- {name}", s) for name, s in outside.most_common(LISTED))]
    return [{"case": title, "who": "all", "share": 1.0, "cpu s": plain}] + [
        {"case": title, "who": name, "share": seconds / taken} for name, seconds in parts
    ]


def _place(event: Any) -> str:
    """What an operation belongs to: the model's passes, drawing noise, or neither."""
    above = event
    while above is not None:
        if above.name == MODEL:
            return "model, forward"
        if above.name.startswith(BACKWARD):
            return "model, backward"
        above = above.cpu_parent
    return "noise" if any(word in event.name for word in NOISE) else "other operations"


if __name__ == "__main__":
    main()

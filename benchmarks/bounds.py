"""Bounds and verified training against code written out for one network.

    python -m benchmarks.bounds [--turns 5] [--only interval step dual]

The references below are what one would write for a plain `nn.Sequential`, layer by layer; all
contestants of a case run in one process and in turns.
"""

import argparse
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import setting
from benchmarks.clock import Job, cpu_seconds
from benchmarks.records import Row, save, verdict
from trilemma.bounds import Dual, Interval, margins, output_bounds
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import global_from, seeded
from trilemma.training import IntervalBoundPropagation, Natural, fit

EPS = 0.1
OURS, WRITTEN_OUT, FORWARD, NATURAL = "trilemma", "written out", "forward alone", "natural step"
BATCH, STEPS = 128, 8
ROWS, FEW = 512, 16
REPEATED = 4  # times in one turn, where one takes little


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    for name in args.only:
        save("bounds", CASES[name](args.turns))


def small_cnn() -> nn.Sequential:
    """For 28x28 images: two convolutions of 4x4 with stride 2, then 100 and 10 units."""
    with global_from(seeded(0)):
        return nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
        ).eval()  # fmt: skip


def interval_case(turns: int) -> list[Row]:
    """Bounds of all logits."""
    model, (x, _) = small_cnn(), setting.images(ROWS, correct_for=None)

    def written_out() -> None:
        with torch.no_grad():
            interval(model, (x - EPS).clamp(0, 1), (x + EPS).clamp(0, 1))

    def ours() -> None:
        with torch.no_grad():
            output_bounds(model, x, Linf(EPS), Interval(), UNIT)

    def forward() -> None:
        with torch.no_grad():
            model(x)

    jobs = {OURS: ours, WRITTEN_OUT: written_out, FORWARD: forward}
    seconds = timed({name: repeated(job) for name, job in jobs.items()}, turns)
    bars = {WRITTEN_OUT: 1.1, FORWARD: 4.5}
    return compared(f"interval bounds of {ROWS} rows", seconds, bars)


def mlp() -> nn.Sequential:
    """Fully connected layers of 256 and 128 units."""
    with global_from(seeded(0)):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, 10),
        ).eval()  # fmt: skip


def step_case(turns: int) -> list[Row]:
    """Training steps of interval bound propagation, half natural loss, half that of the bounds."""
    return [
        *steps_of("small CNN", small_cnn, turns),
        *steps_of("perceptron", mlp, turns),
    ]


def steps_of(title: str, network: Callable[[], nn.Sequential], turns: int) -> list[Row]:
    """On one network."""
    x, y = setting.images(BATCH * STEPS, correct_for=None)
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    objective = IntervalBoundPropagation(ball=Linf(EPS), kappa=0.5)

    def trained(loss: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Job:
        model = network().train()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)

        def job() -> None:
            for rows, labels in batches:
                sgd.zero_grad(set_to_none=True)
                loss(model, rows, labels).backward()
                sgd.step()

        return job

    def fitted(objective: IntervalBoundPropagation | Natural) -> Job:
        model = network().train()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        return lambda: list(fit(model, batches, objective, sgd, rng=seeded(0), box=UNIT))

    jobs = {
        OURS: fitted(objective),
        WRITTEN_OUT: trained(ibp_loss),
        NATURAL: trained(lambda model, rows, labels: F.cross_entropy(model(rows), labels)),
    }
    bars = {WRITTEN_OUT: 1.1, NATURAL: 4.0}
    return compared(f"{STEPS} training steps of {BATCH} rows, {title}", timed(jobs, turns), bars)


def dual_case(turns: int) -> list[Row]:
    """Margins by Wong and Kolter's dual with exact norms."""
    model, (x, y) = small_cnn(), setting.images(FEW, correct_for=None)
    radius = 0.02

    def written_out() -> Tensor:
        with torch.no_grad():
            return dual(model, x, y, radius)

    def ours() -> Tensor:
        with torch.no_grad():
            return margins(model, x, y, Linf(radius), Dual())

    torch.testing.assert_close(ours(), written_out(), rtol=1e-3, atol=1e-3)
    seconds = timed({OURS: ours, WRITTEN_OUT: written_out}, turns)
    return compared(f"dual margins of {FEW} rows", seconds, {WRITTEN_OUT: 1.0})


def interval(model: nn.Sequential, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and radius through every layer."""
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            centre, radius = (low + high) / 2, (high - low) / 2
            centre = layer(centre)
            if isinstance(layer, nn.Linear):
                radius = F.linear(radius, layer.weight.abs())
            else:
                radius = F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
            low, high = centre - radius, centre + radius
        else:
            low, high = layer(low), layer(high)
    return low, high


def ibp_loss(model: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Half the natural loss, half that of the worst-case logits, the last layer merged."""
    low, high = interval(model[:-1], (x - EPS).clamp(0, 1), (x + EPS).clamp(0, 1))
    last = model[-1]
    weight = last.weight[y].unsqueeze(1) - last.weight
    bias = last.bias[y].unsqueeze(1) - last.bias
    centre, radius = (low + high) / 2, (high - low) / 2
    least = (weight @ centre.unsqueeze(2) - weight.abs() @ radius.unsqueeze(2)).squeeze(2) + bias
    return 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(-least, y)


def dual(model: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Wong and Kolter's bounds, layer by layer: identity columns pushed through every layer.

    `inputs` holds what each input feature does to the layer's value, `crossing` what each
    crossing unit before it does, `centre` the value of the dual's linear part.
    """
    n, shape = len(x), x.shape[1:]
    inputs = torch.eye(shape.numel()).view(1, -1, *shape).expand(n, -1, *shape)
    centre, crossing = x, []  # of (columns, their units' lower bounds)
    for layer in model:
        if isinstance(layer, nn.ReLU):
            low, high = extremes(centre, eps, inputs, crossing)
            slope = torch.where(low >= 0, 1.0, 0.0)
            crosses = (low < 0) & (high > 0)
            slope = torch.where(crosses, high / (high - low), slope)
            new = torch.diag_embed((slope * crosses).flatten(1)).view(n, -1, *slope.shape[1:])
            inputs = inputs * slope.unsqueeze(1)
            crossing = [(columns * slope.unsqueeze(1), least) for columns, least in crossing]
            crossing.append((new, (low * crosses).flatten(1)))
            centre = centre * slope
        else:
            bare = bias_free(layer)
            inputs = each(bare, inputs)
            crossing = [(each(bare, columns), least) for columns, least in crossing]
            centre = layer(centre)
    k = centre.shape[1]
    contrast = torch.eye(k)[y].unsqueeze(1) - torch.eye(k)
    return extremes(
        (contrast @ centre.unsqueeze(2)).squeeze(2), eps, inputs @ contrast.mT,
        [(columns @ contrast.mT, least) for columns, least in crossing],
    )[0]  # fmt: skip


def extremes(
    centre: Tensor, eps: float, inputs: Tensor, crossing: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """The dual's value for each unit and for its negative."""
    reach = eps * inputs.abs().sum(1)
    low, high = centre - reach, centre + reach
    for columns, least in crossing:
        least = least.view(*least.shape, *[1] * (columns.dim() - 2))
        low = low + (columns.clamp(max=0) * -least).sum(1)
        high = high + (columns.clamp(min=0) * -least).sum(1)
    return low, high


def bias_free(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The layer's linear part."""
    if isinstance(layer, nn.Conv2d):
        return lambda z: F.conv2d(z, layer.weight, None, layer.stride, layer.padding)
    if isinstance(layer, nn.Linear):
        return lambda z: F.linear(z, layer.weight)
    return layer


def each(layer: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
    """A layer on each of a row's columns."""
    done = layer(columns.flatten(0, 1))
    return done.view(*columns.shape[:2], *done.shape[1:])


def repeated(job: Job) -> Job:
    """Often enough to be measured."""
    return lambda: [job() for _ in range(REPEATED)]


def timed(jobs: Mapping[str, Job], turns: int) -> dict[str, list[float]]:
    """CPU seconds of one thread, in turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 1):
        for name, job in jobs.items():
            taken, _ = cpu_seconds(job)
            if turn:
                seconds[name].append(taken)
    return seconds


def compared(case: str, seconds: Mapping[str, list[float]], bars: Mapping[str, float]) -> list[Row]:
    """Ours, and the others with our time over theirs: the median over the turns."""
    rows: list[Row] = []
    for name, taken in seconds.items():
        row: Row = {"case": case, "who": name, "cpu s": median(taken)}
        if name in bars:
            ratio = median(ours / its for ours, its in zip(seconds[OURS], taken, strict=True))
            row["trilemma takes, of its time"] = ratio
            row["bar"] = verdict(ratio, bars[name], most=True)
        rows.append(row)
    return rows


CASES = {"interval": interval_case, "step": step_case, "dual": dual_case}

if __name__ == "__main__":
    main()

"""HopSkipJump against the bare model, ART and Foolbox: `python -m benchmarks.hop_skip_jump`."""

import argparse
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers, setting
from benchmarks.clock import Bare, Laps, race, wall_seconds
from benchmarks.counting import Counted
from benchmarks.records import Row, save, verdict
from trilemma.attacks.evasion import HopSkipJump, hop_skip_jump
from trilemma.core.generators import seeded
from trilemma.core.pace import WORTH
from trilemma.oracles import Local

OURS, ART, FOOLBOX = "trilemma", "ART", "Foolbox"
GIVEN = ", starts given"
ITERATIONS = {1000: 5, 2500: 10}  # of the others, to come near so many queries a row
OF_THE_MODEL, OF_ART, OF_FOOLBOX, TO_ARTS_DISTANCE = 1.2, 2.3, 1.4, 5.0  # the bars
HALVINGS = 30


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--queries", type=int, nargs="+", default=[1000, 2500])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer-turns", type=int, default=None, help="as --turns, unless given")
    parser.add_argument("--no-wall", action="store_true", help="no wall time of two threads")
    args = parser.parse_args()
    model = setting.natural()
    for n, queries in product(args.samples, args.queries):
        peer_turns = args.peer_turns or args.turns
        save(
            "hop_skip_jump", Case(model, n, queries, args.turns, peer_turns).rows(not args.no_wall)
        )


class Case:
    """So many samples, with about so many queries each."""

    def __init__(self, model: nn.Module, n: int, queries: int, turns: int, peer_turns: int) -> None:
        self.model, self.n, self.queries = model, n, queries
        self.x, self.y = setting.images(n, correct_for=model)
        self.turns = lambda name: turns if name.startswith(OURS) else peer_turns
        self.title = f"{n} samples, {queries:,} queries"

    def rows(self, wall: bool) -> list[Row]:
        """One for each contestant."""
        self.bare = Bare(self.model, self.x, self.y, gradients=False)
        self.counted = {name: Counted(self.model) for name in self._contestants()}
        for model in (self.model, self.counted[OURS]):  # their pace is measured now
            self._ours(max(WORTH // self.n + 1, 2), model)()
        self.counted[OURS].tally.clear()
        jobs = {name: make(self.counted[name]) for name, make in self._contestants().items()}
        questions = self.n * self.queries
        laps = race(jobs, self.bare, questions=questions, turns=self.turns)
        rows = [self._row(name, laps) for name in jobs]
        if ART in laps:
            rows += self._to_the_same_distance(laps)
        if wall:
            for row in rows[: len(jobs)]:
                best_of = 2 if row["who"] == OURS else 1
                row["wall s, 2 threads"] = wall_seconds(jobs[row["who"]], best_of)
            rows[0]["the model's"] = self.bare.wall(questions)
        return rows

    def _ours(
        self,
        queries: int,
        model: nn.Module | None = None,
        budgets: tuple[int, ...] | None = None,
    ) -> Callable[[], Any]:
        oracle = Local(model or self.model, classes=setting.CLASSES)
        config = HopSkipJump(norm=2, max_queries=queries, budgets=budgets)
        return lambda: hop_skip_jump(oracle, self.x, self.y, config, rng=seeded(0))

    def _contestants(self) -> Mapping[str, Callable[[nn.Module], Callable[[], Any]]]:
        """Foolbox is given starts: a start that it does not find fails the batch, as here."""
        there = peers.installed("art", "foolbox")
        starts = setting.starts_for(self.model, self.x, self.y)
        steps = ITERATIONS.get(self.queries, 5)
        art, foolbox = peers.art_hop_skip_jump, peers.foolbox_hop_skip_jump
        jobs = {OURS: lambda model: self._ours(self.queries, model)}
        if "art" in there:
            jobs[ART] = lambda model: art(model, self.x, self.y, steps, None)
            jobs[ART + GIVEN] = lambda model: art(model, self.x, self.y, steps, starts)
        if "foolbox" in there:
            jobs[FOOLBOX + GIVEN] = lambda model: foolbox(model, self.x, self.y, steps, starts)
        return jobs

    def _row(self, name: str, laps: Mapping[str, Laps]) -> Row:
        lap, tally = laps[name], self.counted[name].tally
        asked = tally.rows / len(lap.seconds)
        row: Row = {
            "case": self.title,
            "who": name,
            "queries a sample": asked / self.n,
            "rows a call": tally.rows / tally.calls,
            "cpu s": lap.median,
            "of the bare model": lap.worth / asked,
        }
        if name == OURS:
            boundary = lap.result
            if int(boundary.queries.sum()) != round(asked):
                raise SystemExit(f"{boundary.queries.sum()} queries were reported, {asked} asked")
            row |= self._reached(boundary.x_adv)
            row["bar"] = verdict(row["of the bare model"], OF_THE_MODEL, most=True)
            row["bare model"] = self.bare.title
            return row
        row |= self._reached(lap.result)
        row["median L2 of trilemma by then"] = _median(_by(laps[OURS].result, asked / self.n))
        faster = (lap.worth / asked) / (laps[OURS].worth / self._asked(OURS, laps))
        row["trilemma is faster, a query"] = faster
        row["bar"] = verdict(faster, OF_ART if name.startswith(ART) else OF_FOOLBOX, most=False)
        return row

    def _asked(self, name: str, laps: Mapping[str, Laps]) -> float:
        return self.counted[name].tally.rows / len(laps[name].seconds)

    def _reached(self, x_adv: Tensor) -> Row:
        """How many samples were turned, and how far those lie: as returned, and at the boundary."""
        turned = self._turned(x_adv)
        return {
            "success": f"{int(turned.sum())}/{self.n}",
            "median L2": _median(_far(x_adv, self.x)[turned]),
            "re-projected": _median(_far(self._projected(x_adv), self.x)[turned]),
        }

    def _turned(self, x_adv: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(x_adv).argmax(1) != self.y

    def _projected(self, x_adv: Tensor) -> Tensor:
        """Bisection between the sample and what was returned for it."""
        near, far = torch.zeros(self.n, 1, 1, 1), torch.ones(self.n, 1, 1, 1)
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            turned = self._turned(self.x + middle * (x_adv - self.x)).view_as(near)
            near, far = torch.where(turned, near, middle), torch.where(turned, middle, far)
        return self.x + far * (x_adv - self.x)

    def _to_the_same_distance(self, laps: Mapping[str, Laps]) -> list[Row]:
        """How long trilemma takes to the median distance at which ART ends, with its own starts.

        Over the samples that ART turned, since the others have no distance; to what it returns,
        and to that brought to the boundary, which takes more.
        """
        turned = self._turned(laps[ART].result)
        ends = {"": laps[ART].result, " re-projected": self._projected(laps[ART].result)}
        rows = []
        for name, x_adv in ends.items():
            wanted = _median(_far(x_adv, self.x)[turned])
            queries = self._enough(laps[OURS].result, wanted, turned)
            if queries is None:
                continue
            who, jobs = f"{OURS}, to ART's distance{name}", {OURS: self._ours(queries)}
            lap = race(jobs, self.bare, questions=self.n * queries, turns=self.turns)[OURS]
            faster = laps[ART].worth / lap.worth
            rows.append(
                {
                    "case": self.title,
                    "who": who,
                    "queries a sample": float(queries),
                    "cpu s": lap.median,
                    "success": f"{int(self._turned(lap.result.x_adv).sum())}/{self.n}",
                    "median L2": _median(_far(lap.result.x_adv, self.x)[turned]),
                    "wanted": wanted,
                    "trilemma is faster": faster,
                    "bar": verdict(faster, TO_ARTS_DISTANCE, most=False),
                }
            )
        return rows

    def _enough(self, boundary: Any, wanted: float, among: Tensor) -> int | None:
        """The least `max_queries` with which the median comes so near; read off finer traces."""
        before, after = 1, self.queries
        for _ in range(2):
            reached = boundary.trace[among].median(0).values <= wanted
            if not bool(reached.any()):
                return None
            after = int(boundary.budgets[reached][0])
            before = max([1, *boundary.budgets[~reached].tolist()])
            fine = tuple(sorted({*range(before, after, max(1, (after - before) // 50)), after}))
            boundary = self._ours(after, budgets=fine)()
        return after


def _far(x_adv: Tensor, x: Tensor) -> Tensor:
    return (x_adv - x).double().flatten(1).norm(dim=1)


def _by(boundary: Any, queries: float) -> Tensor:
    """The distances after so many queries, or fewer."""
    return boundary.trace[:, int((boundary.budgets <= queries).sum()) - 1]


def _median(distances: Tensor) -> float:
    return float(distances.median()) if len(distances) else float("nan")


if __name__ == "__main__":
    main()

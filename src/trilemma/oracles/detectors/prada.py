"""PRADA: are the distances between queries distributed normally? (Juuti et al. 2019)"""

import math
import warnings
from dataclasses import dataclass as plain
from dataclasses import field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.stats import shapiro
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.types import Labels, PerRow, Probs, Rows
from trilemma.oracles.contents import coins
from trilemma.oracles.defences.labels import led_by
from trilemma.oracles.detectors.account import Served
from trilemma.oracles.detectors.memory import BLOCK, TOLERANCE, Memory, flat, squares
from trilemma.oracles.protocol import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PRADA:
    r"""PRADA.

    For each predicted class c it keeps a growing set G_c of queries, the distances D_c at which
    they joined it, and a threshold T_c. The first query of a class joins with distance 0. Of each
    later one x

    .. math:: d(x) = \min_{z \in G_c} \|x - z\|_2

    is noted in D, which is common to all classes; where d(x) > T_c, it joins G_c and d(x) joins
    D_c, and

    .. math:: T_c \leftarrow \max(T_c, \mathrm{mean}(D_c) - \mathrm{std}(D_c))

    With more than `least` distances in D, those within `deviations` standard deviations of their
    mean are tested for normality: it is an attack when W(D) < delta, W that of Shapiro and Wilk.

    Standard deviations divide by n, not n - 1. Distances that are all equal come from no normal
    distribution: their W, which is 0 / 0, counts as 0. As published, each query has its verdict,
    so that an alarm ends where W recovers.

    Args:
        delta: of W; the paper chooses it by the queries of normal users.
        least: distances, more than which are tested.
        deviations: beyond which a distance is left out of the test.
        every: a test at each such number of distances; the verdict holds until the next. 1 as
            published; a test takes time in proportion to the queries before it.
        lasting: an alarm never ends.

    Source:
        Juuti et al., "PRADA: protecting against DNN model stealing attacks", IEEE EuroS&P 2019,
        section V and its algorithm.
    """

    REVISION: ClassVar[int] = 1

    delta: Annotated[float, Field(gt=0, le=1)] = 0.9
    least: Annotated[int, Field(ge=3)] = 100
    deviations: Annotated[float, Field(gt=0)] = 3.0
    every: Annotated[int, Field(ge=1)] = 1
    lasting: bool = False


def normality(distances: PerRow, config: PRADA) -> float:
    """W of the distances without outliers, in [0, 1]; small means no normal distribution.

    Args:
        distances: (n,) at least 3.
        config: which of them are outliers.
    """
    centre, spread = distances.mean(), distances.std(correction=0)
    kept = distances[(distances - centre).abs() <= config.deviations * spread]
    if len(kept) < 3 or bool(kept.amax() == kept.amin()):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the p-value, which nobody looks at
        return float(shapiro(kept.cpu().numpy()).statistic)


class GrowingSet:
    """One class: its growing set and its threshold."""

    def __init__(self) -> None:
        self.members = Memory()
        self.threshold = 0.0
        self._count, self._mean, self._squares = 0, 0.0, 0.0  # of the distances of its members

    def distances(self, rows: Float[Tensor, "n d"]) -> PerRow:
        """Each row's distance to the set as it was when its turn came; NaN for the very first.

        Rows join in their order. Between two that join, the set and the threshold stay as they
        are, so that all rows up to the next that joins are looked at together.
        """
        return torch.cat([rows.new_zeros(0), *map(self._block, rows.split(BLOCK))])

    def _block(self, rows: Float[Tensor, "n d"]) -> PerRow:
        squared, index = self.members.closest(rows)
        among = squares(rows, rows)
        slack = TOLERANCE * (1 + rows.square().sum(1).amax().item())
        place, first = 0, not len(self.members)
        while (place := self._next(squared, place, slack)) < len(rows):
            row = rows[place : place + 1]
            apart = self.members.exactly(row, index[place : place + 1]).item()
            place += 1
            if apart <= self.threshold:
                continue  # the matrix product could not tell
            closer = among[place - 1, place:] < squared[place:]
            squared[place:] = torch.where(closer, among[place - 1, place:], squared[place:])
            index[place:] = index[place:].masked_fill(closer, len(self.members))
            self._join(row, apart)
        found = self.members.exactly(rows, index)
        if first:
            found[0] = torch.nan
        return found

    def _next(self, squared: PerRow, place: int, slack: float) -> int:
        """The first row from `place` on that may be further away than the threshold."""
        far = (squared[place:] >= self.threshold**2 * (1 - TOLERANCE) - slack).nonzero()
        return place + int(far[0]) if len(far) else len(squared)

    def _join(self, row: Float[Tensor, "1 d"], apart: float) -> None:
        apart = 0.0 if math.isinf(apart) else apart
        self.members.add(row)
        self._count += 1
        change = apart - self._mean
        self._mean += change / self._count
        self._squares += change * (apart - self._mean)
        spread = math.sqrt(self._squares / self._count)
        self.threshold = max(self.threshold, self._mean - spread)


class PradaMonitor:
    """What PRADA knows of one account. It looks at queries and labels, and answers nothing.

    Args:
        config: the test.

    Attributes:
        queries: seen so far.
        alarm_at: after how many queries it first raised the alarm; None where it never did.
        alarms: at how many of the queries it was raised.
        alarm: its present verdict.
        statistic: W at the last test; None before it.
    """

    def __init__(self, config: PRADA) -> None:
        self.config = config
        self.queries = self.alarms = 0
        self.alarm_at: int | None = None
        self.alarm = False
        self.statistic: float | None = None
        self._sets: dict[int, GrowingSet] = {}
        self._distances = Memory()

    @property
    def distances(self) -> PerRow:
        """(m,) all that were noted, in the order of the queries."""
        return self._distances.rows.flatten()

    def observe(self, x: Rows, labels: Labels) -> Bool[Tensor, " n"]:
        """The verdict at each query: whether its account is attacking.

        Args:
            x: (n, *x) queries, in their order.
            labels: (n,) what the victim says of them.
        """
        rows = flat(x)
        apart = rows.new_full((len(rows),), torch.nan)
        for label in labels.unique().tolist():
            own = labels == label
            apart[own] = self._sets.setdefault(label, GrowingSet()).distances(rows[own])
        noted = ~apart.isnan()
        self._distances.add(apart[noted].cpu().unsqueeze(1))
        verdicts, known = [], len(self._distances) - int(noted.sum())
        for new in noted.tolist():
            self.queries += 1
            known += new
            if new:
                self._judge(known)
            verdicts.append(self.alarm)
        self.alarms += sum(verdicts)
        return torch.tensor(verdicts, dtype=torch.bool, device=labels.device)

    def _judge(self, known: int) -> None:
        config = self.config
        due = known > config.least and (known - config.least - 1) % config.every == 0
        if not due or (config.lasting and self.alarm):
            return
        self.statistic = normality(self.distances[:known], config)
        self.alarm = self.statistic < config.delta
        if self.alarm and self.alarm_at is None:
            self.alarm_at = self.queries


@plain
class PradaAccount:
    """An account that is told a wrong label while PRADA takes it for an attacker's.

    The top class's probability then changes places with that of another class, which comes from a
    secret and the input's values: who asks twice during an alarm is told the same.

    Args:
        inner: the victim, which other accounts share.
        secret: 1 ... 64 bytes, by `secrets.token_bytes`, say; not shown.
        config: the test.

    Attributes:
        monitor: what is known of the account.

    Raises:
        BadInput: the secret has no byte or too many; fewer than 2 classes.

    Example:
        >>> from trilemma.oracles import Local
        >>> account = PradaAccount(Local(torch.nn.Identity(), classes=2), b"a secret")
        >>> grid = torch.cartesian_prod(*[torch.arange(20) / 20.0] * 2)
        >>> wrong = account(grid).argmax(1) != grid.argmax(1)
        >>> account.monitor.alarm_at == 1 + wrong.nonzero()[0].item()
        True

    Source:
        Juuti et al. 2019; the wrong label: Li et al., "Extracting robust models with uncertain
        examples", ICLR 2023, section 5.4. Which one it is, is ours.
    """

    inner: Oracle
    secret: bytes = field(repr=False)
    config: PRADA = field(default_factory=PRADA)
    monitor: PradaMonitor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.secret) <= 64:
            raise BadInput("secret", f"has {len(self.secret)} bytes", "Give 1 to 64")
        if self.classes < 2:
            raise BadInput("classes", f"is {self.classes}", "A wrong label needs 2 or more")
        self.monitor = PradaMonitor(self.config)

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def serve(self, x: Rows) -> Served:
        """(n, classes) probabilities: it closes no account."""
        return self(x)

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities."""
        answer = self.inner(x).double()
        alarms = self.monitor.observe(x, answer.argmax(1))
        if not bool(alarms.any()):
            return answer
        wrong = mislabelled(answer[alarms], coins(x[alarms], self.secret)[:, 0])
        return answer.index_put((alarms,), wrong)


def mislabelled(answer: Probs, coin: PerRow) -> Probs:
    """The top class's probability and another one's change places.

    Args:
        answer: (n, k) rows on the simplex, k >= 2.
        coin: (n,) in [0, 1): which other class; all are equally likely.
    """
    top = answer.argmax(1, keepdim=True)
    other = (coin.to(answer.device) * (answer.shape[1] - 1)).long().unsqueeze(1)
    other = other + (other >= top).long()
    told = answer.scatter(1, top, answer.gather(1, other))
    return led_by(other.squeeze(1), told.scatter(1, other, answer.gather(1, top)))

"""Detectors before a model, set up by the queries of normal users, and what they notice."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.types import Classifier, PerRow, Probs, Rows
from trilemma.experiments.guards import CalibratedSEAT, CalibratedWork, Detector
from trilemma.experiments.stages import stream
from trilemma.oracles import Oracle
from trilemma.oracles.detectors import (
    PRADA,
    SEAT,
    Account,
    Calibration,
    PradaAccount,
    ProofOfWork,
    SeatAccount,
    Spent,
    Turnstile,
    calibrated,
    hashes_per_second,
    leakage,
    threshold_at,
    work_for,
    work_of,
)
from trilemma.oracles.detectors.account import Served
from trilemma.training.similarity import train_encoder

Json: TypeAlias = dict[str, Any]
Own: TypeAlias = Float[Tensor, "m *x"]
POINTS = 20  # of a curve
TIMED = 128  # queries that are timed one by one


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a detector is set up with.

    Args:
        victim: what answers.
        own: rows that the model was trained on, for an encoder.
        normal: queries of normal users, by which a detector is calibrated.
        user: those of another one, who is watched as the thief is.
        box: the valid inputs.
        seed: of every draw and secret.
    """

    victim: Oracle
    own: Own
    normal: Float[Tensor, "n *x"]
    user: Float[Tensor, "u *x"]
    box: Box
    seed: int

    def secret(self, purpose: str) -> bytes:
        """16 bytes. A service draws them; an audit that is repeated finds the same."""
        return blake2b(f"{purpose} {self.seed}".encode(), digest_size=16).digest()


@runtime_checkable
class Watch(Protocol):
    """A detector that is set up. Each knows the accounts that it opened."""

    def open(self) -> Account:
        """A new account."""

    def told(self, accounts: Sequence[Any]) -> Json:
        """What became of the accounts of one user, in the order of their use."""

    def besides(self, accounts: Sequence[Any]) -> Json:
        """How it is set up, and what else compares a thief with a normal user."""


@dataclass(frozen=True, eq=False)
class Distances:
    """PRADA. It needs no calibration: the published test has none but its delta."""

    setting: Setting
    config: PRADA

    def open(self) -> PradaAccount:
        """A new account."""
        return PradaAccount(self.setting.victim, self.setting.secret("wrong label"), self.config)

    def told(self, accounts: Sequence[PradaAccount]) -> Json:
        """`queries`; `alarm_at`, the first with an alarm; `wrong`, the share of wrong answers."""
        monitors, alarm_at, before = [each.monitor for each in accounts], None, 0
        for monitor in monitors:
            if alarm_at is None and monitor.alarm_at is not None:
                alarm_at = before + monitor.alarm_at
            before += monitor.queries
        wrong = sum(each.alarms for each in monitors) / max(before, 1)
        return {"queries": before, "alarm_at": alarm_at, "wrong": wrong}

    def besides(self, accounts: Sequence[PradaAccount]) -> Json:
        """Nothing."""
        return {}


@dataclass(frozen=True, eq=False)
class Similarities:
    """SEAT, with its encoder and its threshold."""

    setting: Setting
    config: SEAT
    encoder: Classifier | None

    def open(self) -> SeatAccount:
        """A new account."""
        return SeatAccount(self.setting.victim, self.config, self.encoder)

    def told(self, accounts: Sequence[SeatAccount]) -> Json:
        """`queries`, answered; `pairs`, similar ones; `banned`, how many accounts."""
        monitors = [each.monitor for each in accounts]
        return {
            "queries": sum(each.queries - each.banned for each in monitors),
            "pairs": sum(each.pairs for each in monitors),
            "banned": sum(each.banned for each in monitors),
        }

    def besides(self, accounts: Sequence[SeatAccount]) -> Json:
        """`threshold`."""
        return {"threshold": self.config.threshold}


@dataclass(eq=False)
class Payer:
    """An account with proof of work that notes what each answer was expected to take."""

    inner: ProofOfWork
    works: list[PerRow] = field(default_factory=list, init=False)

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def serve(self, x: Rows) -> Served:
        """(m, classes) answers to the rows before the first that is too much work."""
        normal, before = self.inner.calibration, replace(self.inner.spent)
        answer = self.inner.serve(x)
        costs = leakage(answer, normal.measure)
        self.works.append(work_for(costs, normal, self.inner.pricing, before))
        return answer

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities."""
        return self.inner(x)


@dataclass(frozen=True, eq=False)
class Puzzles:
    """Proof of work, calibrated for puzzles as small as the audit solves."""

    setting: Setting
    config: CalibratedWork
    turnstile: Turnstile
    normal: Calibration

    def open(self) -> Payer:
        """A new account."""
        return Payer(self._account(self.normal))

    def told(self, accounts: Sequence[Payer]) -> Json:
        """`queries`, answered; `work`, hashes expected of it, and `hashes`, computed, in normal
        queries; `slow_down`, by the latter; `refused`, how many accounts ended so.
        """
        spent, answered = [each.inner.spent for each in accounts], _works(accounts)
        hashes = sum(each.hashes for each in spent) / self.normal.work
        share = hashes / max(len(answered), 1)
        return {
            "queries": len(answered),
            "work": answered.sum().item() / self.normal.work,
            "hashes": hashes,
            "slow_down": 1 + (self.config.slow_down - 1) * share,
            "refused": sum(each.inner.spent.queries > len(_works([each])) for each in accounts),
        }

    def besides(self, accounts: Sequence[Payer]) -> Json:
        """`curve`, over queries the work so far, in normal queries, of the `thief` and of a `user`
        who sends as many: rows drawn from those that say what is normal, since an error of the
        calibration would grow with each query. `timed`, on this machine, each time otherwise.
        """
        thief = _works(accounts).cumsum(0) / self.normal.work
        rng = seeded(stream("user", self.setting.seed))
        user = self._normal_works(len(thief), rng).cumsum(0) / self.normal.work
        places = torch.linspace(1, len(thief), min(POINTS, len(thief))).long().tolist()
        curve = [
            {"queries": n, "thief": thief[n - 1].item(), "user": user[n - 1].item()} for n in places
        ]
        return {"curve": curve, "timed": self._timed(len(thief), float(sum(thief[-1:])))}

    def _normal_works(self, queries: int, rng: Generator) -> PerRow:
        costs = leakage(self.setting.victim(self.setting.normal), self.normal.measure)
        drawn = costs[torch.randint(len(costs), (queries,), generator=rng)]
        return work_for(drawn, self.normal, self.config.pricing, Spent())

    def _timed(self, queries: int, work: float) -> Json:
        """`seconds`, that an answer takes without proof of work; `hashes_per_second`; `hashes` of a
        normal query at the declared slow-down; `user`, the slow-down of puzzles of this size;
        `thief_seconds`, what the theft's answers and its puzzles of this size take.
        """
        rows = self.setting.user[:TIMED].split(1)
        self.setting.victim(rows[0])  # once for nothing: the first call is a slow one
        began = time.perf_counter()
        for row in rows:
            self.setting.victim(row)
        seconds, speed = (time.perf_counter() - began) / len(rows), hashes_per_second()
        slow_down = self.config.slow_down
        full = work_of(slow_down=slow_down, seconds=seconds, hashes_per_second=speed)
        account = self._account(replace(self.normal, work=full))
        for row in rows:
            account.serve(row)
        return {
            "seconds": seconds,
            "hashes_per_second": speed,
            "hashes": full,
            "user": 1 + account.spent.seconds / (len(rows) * seconds),
            "thief_seconds": queries * seconds + work * full / speed,
        }

    def _account(self, normal: Calibration) -> ProofOfWork:
        patience = self.config.patience * normal.work
        pricing = self.config.pricing
        return ProofOfWork(self.setting.victim, self.turnstile, normal, pricing, patience)


def similarities(setting: Setting, config: CalibratedSEAT) -> Similarities:
    """Train the encoder, if there is one, and choose the threshold, if none is given."""
    encoder, declared = None, config.encoder
    if declared is not None:
        seed = stream("encoder", setting.seed)
        trained = train_encoder(
            setting.own,
            declared.recipe,
            declared.loss,
            seed,
            features=declared.features,
            box=setting.box,
        )
        encoder = trained.model
    threshold = config.threshold
    if threshold is None:
        threshold = threshold_at(setting.normal, rate=config.rate, encoder=encoder)
    return Similarities(setting, SEAT(threshold=threshold, pairs=config.pairs), encoder)


def puzzles(setting: Setting, config: CalibratedWork) -> Puzzles:
    """Calibrate the work by what normal users are answered."""
    normal = calibrated(setting.victim(setting.normal), config.measure, work=config.hashes)
    numbers, key = count(), setting.secret("nonces")

    def nonce(size: int) -> bytes:
        return blake2b(next(numbers).to_bytes(8, "big"), key=key, digest_size=size).digest()

    turnstile = Turnstile(setting.secret("turnstile"), entropy=nonce)
    return Puzzles(setting, config, turnstile, normal)


# the detector of a setting
WATCHES: Mapping[type[Detector], Callable[[Setting, Any], Watch]] = {
    PRADA: Distances,
    CalibratedSEAT: similarities,
    CalibratedWork: puzzles,
}


def _works(accounts: Sequence[Payer]) -> Tensor:
    """(n,) what answers were expected to take, over the accounts."""
    return torch.cat([torch.zeros(0).double(), *(each for a in accounts for each in a.works)])

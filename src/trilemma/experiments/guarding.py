"""A model whose accounts are watched, and what that does to one thief."""

from dataclasses import dataclass, field

from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Probs, Rows
from trilemma.experiments.guards import Guard
from trilemma.experiments.watching import WATCHES, Json, Own, Setting, Watch
from trilemma.oracles import Oracle
from trilemma.oracles.detectors import Account, Accounts
from trilemma.oracles.detectors.account import Served


@dataclass(eq=False)
class Watched:
    """A guarded service as one thief sees it, who has a number of accounts: an oracle.

    What the accounts were asked lies in memory alone. A theft that was killed begins anew, with a
    `Watched` and a ledger of its own: what an old ledger's file answers would pass the detector by.

    Args:
        guard: the detector, and how many accounts there are.
        watch: the detector, set up.
        user: queries of a normal user.
    """

    guard: Guard
    watch: Watch
    user: Rows
    opened: list[Account] = field(default_factory=list, init=False, repr=False)
    accounts: Accounts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self._open, self.guard.accounts)

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.accounts.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities.

        Raises:
            Refused: the last account is closed.
        """
        return self.accounts(x)

    def told(self) -> Json:
        """What became of the thief, JSON-able.

        `detector`; `accounts`, how many were used; `thief`, and of a normal user who sends some
        queries once, `user`: see the detector's `told`; and what stands in its `besides`.
        """
        user = self.watch.open()
        rest = self.user
        while len(rest) and len(served := user.serve(rest)):
            rest = rest[len(served) :]
        return {
            "detector": type(self.guard.detector).__name__,
            "accounts": len(self.opened),
            "thief": self.watch.told(self.opened),
            "user": self.watch.told([user]),
            **self.watch.besides(self.opened),
        }

    def _open(self) -> Account:
        account = self.watch.open()
        self.opened.append(account)
        limit = self.guard.per_account
        last = len(self.opened) == self.guard.accounts
        return account if limit is None or last else Left(account, limit)


@dataclass
class Left:
    """An account that its owner leaves after so many queries.

    Args:
        inner: the account.
        queries: that it is still asked.
    """

    inner: Account
    queries: int

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def serve(self, x: Rows) -> Served:
        """(m, classes) answers to the first m rows."""
        answer = self.inner.serve(x[: self.queries])
        self.queries -= len(answer)
        return answer

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, or why there are none."""
        return self.inner(x)


def guarded(
    guard: Guard, victim: Oracle, normal: Rows, *, own: Own, box: Box = UNIT, seed: int
) -> Watched:
    """A model behind a detector, for one thief.

    What the model's service tells of an answer, such as labels alone, stands in front of it: proof
    of work has its price by the whole answer.

    Args:
        guard: the detector, and how many accounts the thief has.
        victim: the model.
        normal: (n, *x) rows such as normal users send: of the data's distribution and not the
            thief's, such as the validation rows. By each second one, from the first on, a detector
            is calibrated; the others are sent by a normal user who is watched, too.
        own: (m, *x) the model's training rows, which its owner has for training an encoder.
        box: the valid inputs.
        seed: of every draw and secret.

    Raises:
        BadInput: fewer than 4 normal rows; no threshold or no price can be found by them.

    Example:
        >>> import torch
        >>> from trilemma.attacks.extraction import Vanilla, extract
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.experiments.guards import CalibratedSEAT
        >>> from trilemma.oracles import Local
        >>> from trilemma.training import MLP, Student
        >>> rows = torch.rand(300, 2, generator=seeded(0))
        >>> guard = Guard(detector=CalibratedSEAT(pairs=5), accounts=2)
        >>> oracle = guarded(
        ...     guard, Local(torch.nn.Identity(), classes=2), rows[:200], own=rows[200:], seed=0
        ... )
        >>> student = Student(MLP(hidden=(4,)), (2,), 2, seed=0)
        >>> thief = Vanilla(epochs=3, batch=20)  # sends each row three times
        >>> stolen = extract(oracle, rows[200:], student, thief, rng=seeded(0))
        >>> stolen.stopped[:14], oracle.told()["accounts"]
        ('account banned', 2)
    """
    if len(normal) < 4:
        problem = f"of normal users are {len(normal)}"
        raise BadInput("rows", problem, "Give 4 or more, such as data.validation")
    setting = Setting(
        victim=victim, own=own, normal=normal[::2], user=normal[1::2], box=box, seed=seed
    )
    watch = WATCHES[type(guard.detector)](setting, guard.detector)
    return Watched(guard, watch, setting.user)

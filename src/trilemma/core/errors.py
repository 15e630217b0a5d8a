"""Errors that a caller may catch. No torch here: an audit of recorded predictions needs none."""


class TrilemmaError(Exception):
    """Anything trilemma refuses or fails at, said in one sentence a person can act on."""


class BadInput(TrilemmaError, ValueError):
    """Something from outside is wrong; nothing was computed. Exit status 2 on the command line.

    Args:
        what: the thing that is wrong, as its user knows it (a file, an option, a key's path).
        problem: what is wrong with it, with the value it has.
        fix: what is allowed, or what to do.
    """

    def __init__(self, what: str, problem: str, fix: str = "") -> None:
        self.what, self.problem, self.fix = what, problem, fix
        super().__init__(f"{what}: {problem}" + (f". {fix}" if fix else ""))

    def __reduce__(self) -> tuple[object, ...]:  # survives the way back from a worker process
        return type(self), (self.what, self.problem, self.fix)


class MissingExtra(TrilemmaError, ImportError):
    """An optional dependency is not installed; says the command that installs it."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        self.package, self.extra, self.why = package, extra, why
        super().__init__(
            f"{why} needs {package}, which is not installed."
            f" Install it with: pip install 'trilemma[{extra}]'"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.package, self.extra, self.why)


class BudgetExceeded(TrilemmaError):
    """More queries were asked for than are left; none of them was sent."""

    def __init__(self, *, asked: int, spent: int, limit: int) -> None:
        self.asked, self.spent, self.limit = asked, spent, limit
        super().__init__(
            f"query budget exceeded: {asked} more queries asked with {limit - spent} of {limit}"
            " left; nothing was sent. Raise `limit` or ask for fewer rows"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (
            type(self),
            {"asked": self.asked, "spent": self.spent, "limit": self.limit},
        )


class Refused(TrilemmaError):
    """A service answers no more, or asks for more than the client gives; earlier answers stand."""


class AccountBanned(Refused):
    """An account sent too many similar queries; it is answered no more.

    Args:
        asked: rows of the call.
        answered: how many of them, the first ones, came before the ban.
        pairs: similar pairs that the account sent.
        allowed: how many it might have sent.
    """

    def __init__(self, *, asked: int, answered: int, pairs: int, allowed: int) -> None:
        self.asked, self.answered = asked, answered
        self.pairs, self.allowed = pairs, allowed
        super().__init__(
            f"account banned: {pairs} similar pairs of queries, {allowed} allowed; {answered} of"
            f" {asked} rows came before the ban. Go on with another account"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), dict(vars(self)))


class WorkRefused(Refused):
    """An answer costs more proof of work than the client is willing to do.

    Args:
        asked: rows of the call.
        answered: how many of them, the first ones, were paid for.
        work: hashes that the next one takes on average.
        patience: the most that the client does for one.
    """

    def __init__(self, *, asked: int, answered: int, work: float, patience: float) -> None:
        self.asked, self.answered = asked, answered
        self.work, self.patience = work, patience
        super().__init__(
            f"proof of work refused: an answer takes {work:.3g} hashes, and the client does at most"
            f" {patience:.3g}; {answered} of {asked} rows were paid for. Raise `patience` or go on"
            " with another account"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), dict(vars(self)))


class TrainingDiverged(TrilemmaError):
    """The loss left the numbers."""

    def __init__(self, *, step: int, loss: float, learning_rate: float) -> None:
        self.step, self.loss, self.learning_rate = step, loss, learning_rate
        super().__init__(
            f"training diverged: loss {loss} at step {step} with learning rate {learning_rate:g};"
            " lower the learning rate or clip the gradient"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (
            type(self),
            {"step": self.step, "loss": self.loss, "learning_rate": self.learning_rate},
        )


class TrainingCollapsed(TrilemmaError):
    """The model answers the same whatever it is asked.

    Args:
        epoch: how many were done.
        loss: of the last one, nats.
        chance: loss of an answer that ignores the input: the entropy of the labels, or ln k.
        learning_rate: of the last epoch.
    """

    def __init__(self, *, epoch: int, loss: float, chance: float, learning_rate: float) -> None:
        self.epoch, self.loss, self.chance = epoch, loss, chance
        self.learning_rate = learning_rate
        super().__init__(
            f"training collapsed: after epoch {epoch} the loss is {loss:.4f}, that of an answer"
            f" that ignores the input ({chance:.4f}), with learning rate {learning_rate:g}; start"
            " with natural epochs and ramp the radius up (`warmup`, `ramp`), or lower the learning"
            " rate"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (
            type(self),
            {
                "epoch": self.epoch,
                "loss": self.loss,
                "chance": self.chance,
                "learning_rate": self.learning_rate,
            },
        )


def _rebuild(kind: type[TrilemmaError], fields: dict[str, object]) -> TrilemmaError:
    return kind(**fields)

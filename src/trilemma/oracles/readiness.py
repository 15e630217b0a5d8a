"""How an oracle is asked fastest."""

from collections.abc import Iterator
from contextlib import contextmanager

from trilemma.core.pace import Pace, asking, usual
from trilemma.core.types import Rows
from trilemma.oracles.local import Local
from trilemma.oracles.protocol import Oracle


@contextmanager
def ready(oracle: Oracle, x: Rows, *, questions: int, batch: int | None = None) -> Iterator[Pace]:
    """Keep a model that answers in this process in eval mode, and say how it is asked fastest.

    What stands around the model (a meter, a defence) is looked through by its `inner`. A
    measurement asks the model, not the oracle: it costs no query.

    Args:
        oracle: what is asked.
        x: inputs like those that will be asked about.
        questions: about how many; little work is not worth a measurement.
        batch: rows a call, where the caller decides.
    """
    inner: object = oracle
    while not isinstance(inner, Local) and hasattr(inner, "inner"):
        inner = inner.inner
    if not isinstance(inner, Local):
        yield usual(x) if batch is None else Pace(batch)
        return
    with asking(inner.model, x, gradients=False, questions=questions, batch=batch) as pace:
        yield pace

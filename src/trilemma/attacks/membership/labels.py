"""What is asked where labels are all that counts."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.attacks.evasion.gradients import check_labels
from trilemma.core.pace import Pace
from trilemma.core.types import Classifier, Labels, Rows
from trilemma.oracles import Local, Oracle, log_probabilities


def asked(target: Classifier | Oracle, x: Rows) -> Oracle:
    """The oracle itself, or a model as an oracle.

    Args:
        target: an oracle (probabilities out), or a model (logits out), which is asked about the
            first of the inputs to see how many classes it knows.
        x: inputs like those that will be asked about.
    """
    if isinstance(target, Oracle) and not isinstance(target, nn.Module):
        return target
    return Local(target, classes=log_probabilities(target, x[:1]).shape[1])


def right(oracle: Oracle, x: Rows, y: Labels) -> Bool[Tensor, " n"]:
    """Whether the first of the most probable classes is the true one; one query a row."""
    return oracle(x).argmax(1) == check_labels(x, y)


def hits_of(
    oracle: Oracle, copies: Float[Tensor, "n q *x"], y: Labels, pace: Pace
) -> Bool[Tensor, "n q"]:
    """Whether each of q copies of each row is given the row's label; n q queries."""
    n, q = copies.shape[:2]
    return right(oracle, pace.lay(copies.flatten(0, 1)), y.repeat_interleave(q)).view(n, q)

"""Adversarial examples towards each wrong label, in one call (Song et al. 2019, eq. 19)."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from trilemma.attacks.evasion.gradients import check_classes, check_inside, check_labels
from trilemma.attacks.evasion.pgd import PGD, Ascent, starts
from trilemma.core.box import UNIT, Box
from trilemma.core.modes import evaluating
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, Rows


def targeted_examples(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: PGD,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> tuple[Float[Tensor, "n m *x"], Int[Tensor, "n m"]]:
    r"""For each row, m = k - 1 inputs near it, one towards each label but its own.

    .. math:: \tilde x^{t+1} = \Pi_{B(x)}[\tilde x^t - \eta\, d(\nabla \ell(F, \tilde x^t, y'))]
              \quad \text{for each } y' \neq y

    Rows times labels are attacked as one long list, of which a micro-batch is laid out at a time.

    Args:
        model: logits out, over k classes; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: ball, steps and step size; that it is targeted goes without saying.
        box: the valid inputs.
        rng: draws the starts, one for all rows and labels.
        batch: examples at a time; None finds what is fastest.

    Returns:
        The examples (n, k - 1, *x) and the labels (n, k - 1) they aim at, in rising order; NaN
        where a gradient was not finite.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> x, y = torch.full((2, 3), 0.5), torch.tensor([0, 1])
        >>> config = PGD(ball=Linf(0.25), steps=4)
        >>> examples, labels = targeted_examples(torch.nn.Identity(), x, y, config, rng=seeded(0))
        >>> labels
        tensor([[1, 2],
                [0, 2]])
        >>> examples[1, 1]
        tensor([0.2500, 0.2500, 0.7500])

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 19.
    """
    check_inside("targeted examples", x, box)
    x, y, config = x.detach(), check_labels(x, y), dataclasses.replace(config, targeted=True)
    with evaluating(model), torch.no_grad():
        logits = model(x[:1])
    check_classes(logits, y)
    classes = logits.shape[1]
    targets = wrong_labels(y, classes)
    examples = x.unsqueeze(1).expand(-1, classes - 1, *x.shape[1:]).clone()
    if config.ball.radius == 0 or targets.numel() == 0:
        return examples, targets
    questions = targets.numel() * config.steps * config.restarts
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        climb = Ascent(model, config.loss, config, box, starts(x, config, rng), pace)
        found, wanted = examples.flatten(0, 1), targets.flatten()
        for each in pace.slices(len(wanted)):
            found[each] = climb(pace.lay(found[each]), wanted[each])
    return examples, targets


def wrong_labels(y: Labels, classes: int) -> Int[Tensor, "n m"]:
    """Of each row all labels but its own, in rising order.

    Example:
        >>> import torch
        >>> wrong_labels(torch.tensor([0, 2]), 3)
        tensor([[1, 2],
                [0, 1]])
    """
    others = torch.arange(classes - 1, device=y.device).expand(len(y), -1)
    return others + (others >= y.view(-1, 1))

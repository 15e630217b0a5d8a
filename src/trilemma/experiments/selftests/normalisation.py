"""Does the model expect its inputs on the scale on which it is asked?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.experiments.selftests.checks import Check, passed, warned
from trilemma.metrics import Estimate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trilemma.core.box import Box

LEVEL = 0.99
SLACK = 1e-6  # of rounding, by which an input may leave the box
BATCH = 256
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue in [0, 1], as is customary
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def normalisation(model: "nn.Module", x: "Tensor", y: "Tensor", *, box: "Box") -> Check:
    """Compare the accuracy on inputs as given with that on the same inputs rescaled.

    A model that was trained on other scales than it is audited on answers nonsense, and nonsense
    about members and non-members alike looks like privacy.

    Args:
        model: answers logits; asked in eval mode and handed back as it came.
        x: (n, *x) members as the attacks will ask about them.
        y: (n,) their labels, or (n, k) soft targets.
        box: where valid inputs are declared to be.

    Returns:
        A warning where inputs leave the box, or where another scale is clearly better, naming it:
        the accuracies' 99 % intervals are disjoint, or errors halve at least and the rows on
        which the two scales disagree favour the other one at 99 %.
    """
    truth = y.argmax(1) if y.ndim > 1 else y
    given = _right(model, x, truth)
    tried = {name: _right(model, other, truth) for name, other in _rescaled(x, box)}
    others = {name: right for name, right in tried.items() if right is not None}
    measured = {} if given is None else {"as given": given, **others}
    details = {
        "accuracy": {name: _accuracy(right).to_json() for name, right in measured.items()},
        "rows": len(x),
    }
    outside = _outside(x, box)
    problems = [outside] if outside else []
    best = max(others, key=lambda name: others[name].mean(), default=None)
    if given is not None and best is not None and _clearly_better(others[best], given):
        problems.insert(
            0,
            f"The model seems to expect inputs {best}: it classifies {others[best].mean():.1%} of"
            f" {len(x)} members correctly then, {given.mean():.1%} as they are given.",
        )
    if problems:
        return warned(" ".join(problems), **details)
    said = "" if given is None else f" ({given.mean():.1%} correct as given)"
    return passed(
        f"Members are classified clearly better on no other usual scale{said}.", **details
    )


def _clearly_better(other: NDArray[np.bool_], given: NDArray[np.bool_]) -> bool:
    if _accuracy(other).low > _accuracy(given).high:
        return True
    gained, lost = int((other & ~given).sum()), int((given & ~other).sum())
    halved = 2 * (~other).sum() <= (~given).sum()
    return bool(halved and gained + lost and metrics.rate(gained, gained + lost, LEVEL).low > 0.5)


def _accuracy(right: NDArray[np.bool_]) -> Estimate:
    return metrics.accuracy(right, level=LEVEL)


def _rescaled(x: "Tensor", box: "Box") -> "Iterator[tuple[str, Tensor]]":
    """The inputs on other usual scales, with names that continue `expects inputs ...`."""
    import torch

    low, high = (torch.as_tensor(end, dtype=x.dtype) for end in (box.low, box.high))
    span = high - low
    if bool((torch.isfinite(span) & (span > 0)).all()):
        unit = (x - low) / span
        scales = {
            "in [0, 1]": unit,
            "in [-1, 1]": 2 * unit - 1,
            "in [0, 255]": 255 * unit,
        }
        if x.ndim == 4 and x.shape[1] == 3:
            mean, deviation = (
                torch.tensor(each, dtype=x.dtype).view(1, 3, 1, 1)
                for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
            )
            scales["normalised with ImageNet's means and deviations"] = (unit - mean) / deviation
        yield from (
            (name, other)
            for name, other in scales.items()
            if not torch.allclose(other, x, rtol=0, atol=SLACK)
        )
    per = (0, 2, 3) if x.ndim == 4 else (0,)
    if len(x) > 1:
        deviation = x.std(per, keepdim=True)
        standard = (x - x.mean(per, keepdim=True)) / deviation.where(deviation > 0, 1.0)
        what = "channel" if x.ndim == 4 else "feature"
        yield f"standardised to mean 0 and deviation 1 for each {what}", standard


def _right(model: "nn.Module", x: "Tensor", truth: "Tensor") -> NDArray[np.bool_] | None:
    """Which rows are classified correctly; None where the model refuses such inputs."""
    import torch

    from trilemma.core.modes import evaluating

    with evaluating(model), torch.no_grad():
        try:
            answers = [model(part).argmax(1) for part in x.split(BATCH)]
        except Exception:  # a model may check its inputs' range: it does not expect this one
            return None
    return np.asarray(torch.cat(answers).cpu() == truth.cpu())


def _outside(x: "Tensor", box: "Box") -> str:
    """What to say about inputs that leave the box; nothing if none does."""
    away = ((x < box.low - SLACK) | (x > box.high + SLACK)).flatten(1).any(1)
    if not away.any():
        return ""
    return (
        f"{int(away.sum())} of {len(x)} members leave the declared box (values from"
        f" {float(x.min()):.4g} to {float(x.max()):.4g}); attacks that stay in the box cannot"
        " stay near them."
    )

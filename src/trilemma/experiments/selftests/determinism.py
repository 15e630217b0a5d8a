"""Does the model answer the same question the same way?"""

from typing import TYPE_CHECKING

from trilemma.experiments.selftests.checks import Check, passed, warned

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST = 64
ALONE = 16
SAME = 1e-5  # of the largest output: what the order of additions may change from call to call,
IN_BATCH = 1e-4  # and between kernels that are chosen by the size of the batch


def determinism(model: "nn.Module", x: "Tensor") -> Check:
    """Ask about the same rows twice, and about some of them alone.

    A random answer, or one that depends on the other rows of the batch (batch normalisation
    without running statistics), is not a function of the row; scores then change from run to run.

    Args:
        model: asked in eval mode and handed back as it came.
        x: (n, *x) inputs, n >= 1; the first 64 are asked, 16 of them alone.

    Returns:
        A warning with the largest difference of an output where it is more than rounding.
    """
    import torch

    from trilemma.core.modes import evaluating

    rows = x[:MOST]
    with evaluating(model), torch.no_grad():
        first, again = model(rows), model(rows)
        try:
            alone = torch.cat([model(row[None]) for row in rows[:ALONE]])
        except Exception as error:  # the model's own, e.g. batch statistics of one row
            return warned(
                f"The model answers {len(rows)} rows together but not one alone"
                f" ({type(error).__name__}: {error}), so its answers depend on the batch."
            )
    scale = float(first.abs().max()) or 1.0
    twice = float((first - again).abs().max())
    apart = float((first[:ALONE] - alone).abs().max())
    details = {"twice": twice, "alone": apart, "largest_output": scale, "rows": len(rows)}
    if not twice <= SAME * scale:
        return warned(
            f"The model answers differently to identical inputs: outputs differ by up to"
            f" {twice:.3g} between two calls. Scores change from run to run.",
            **details,
        )
    if not apart <= IN_BATCH * scale:
        return warned(
            f"The answer about a row depends on the other rows of its batch: outputs differ by up"
            f" to {apart:.3g} from those to the row alone (batch normalisation in eval mode"
            " without running statistics?).",
            **details,
        )
    return passed(
        "The same rows get the same answers, asked twice and asked alone (outputs differ by at"
        f" most {max(twice, apart):.1g}).",
        **details,
    )

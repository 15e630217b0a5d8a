"""The row of a table that says what private trainings promise, beside what was measured of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from trilemma.experiments.reports.quantities import Quantity, Shown

KIND = Quantity(
    label="Differential privacy",
    short="Differential privacy",
    meaning=(
        "How much the answers to any attack can depend on one row at most: the noise of the"
        " training guarantees it, if nobody knows its seed. Beside it the largest lower bound that"
        " an attack of this audit measured. Rows on which the best epoch was chosen are not"
        " covered, nor are the losses that a training reports."
    ),
    chance=None,
)
NOTHING = "not trained privately"


def promises(models: Iterable[Mapping[str, Any]]) -> list[Shown]:
    """What each model promises; empty where none promises anything.

    Args:
        models: of a document.
    """
    found = [model.get("privacy") for model in models]
    return [_promise(each) for each in found] if any(found) else []


def _promise(privacy: Mapping[str, Any] | None) -> Shown:
    if not privacy:
        return Shown(value="n/a", reason=NOTHING)
    epsilon, measured = privacy["epsilon"], privacy["measured"]
    about = (
        f"delta {privacy['delta']:g}, {privacy['mechanism']}, accountant {privacy['accountant']}"
    )
    bound = measured.get("epsilon")
    if bound is not None:
        about += f"; measured: at least {bound:.2f}"
    return Shown(
        value="no finite epsilon" if epsilon is None else f"epsilon {epsilon:.2f}", interval=about
    )

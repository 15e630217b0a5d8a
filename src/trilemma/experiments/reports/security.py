"""What the losses of non-members tell about their robustness (Song et al. 2019, fig. 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import drawn_seed, titles
from trilemma.experiments.reports.quantities import Metric, Quantity, evaluable, in_words

QUANTITIES: Mapping[str, Quantity] = {
    "security_auc": Quantity(
        label="Insecure test rows told by their loss, AUC",
        short="Insecure, AUC",
        meaning=(
            "Probability that an insecure test row has a larger loss, as it is, than a secure one."
            " Secure is a row that is right as it is, and under the attack that accuracy is"
            " measured under; no answer to an attacked row is needed for the loss."
        ),
        chance=0.5,
        factor=1.0,
        unit="",
        decimals=4,
    ),
    "security_best_threshold_accuracy": Quantity(
        label="Insecure test rows told by their loss, best threshold",
        short="Insecure, threshold",
        meaning=(
            "Mean of the share of insecure and the share of secure test rows recognised by their"
            " loss, at the threshold that is best for these very rows."
        ),
        chance=0.5,
    ),
    "security_auc_among_right": Quantity(
        label="Insecure test rows that are right as they are told by their loss, AUC",
        short="Insecure, right, AUC",
        meaning=(
            "The AUC among test rows that are right as they are: what the loss tells beyond that a"
            " row is wrong already, and so insecure."
        ),
        chance=0.5,
        factor=1.0,
        unit="",
        decimals=4,
    ),
}
MAIN = ("security_auc",)
ALL = tuple(QUANTITIES)
START = "security_"


def quantities(document: Document, names: Sequence[str] = MAIN) -> dict[str, Quantity]:
    """What these numbers are called, by name; empty where no model has one."""
    some = any(
        evaluable(metric)
        for model in document["models"].values()
        for metric in numbers(model).values()
    )
    return {name: QUANTITIES[name] for name in names} if some else {}


def numbers(model: Mapping[str, Any]) -> dict[str, Metric]:
    """Those of one model, by name."""
    found = model.get("security", {})
    return {
        name: found[name.removeprefix(START)]
        for name in QUANTITIES
        if name.removeprefix(START) in found
    }


def counts(document: Document) -> list[str]:
    """How many rows of each model are secure, and how well losses tell, a sentence each."""
    said = []
    for name, model in document["models"].items():
        for rows in model.get("security", {}).get("rows", [])[:1]:
            seed = drawn_seed(document, rows)
            drawn = "" if seed is None else f" (seed {seed})"
            insecure, wrong = rows["insecure"], rows["wrong"]
            told = in_words(model["security"]["auc"], QUANTITIES["security_auc"])
            said.append(
                f"“{titles(document)[name]}”: {rows['secure']} of {rows['secure'] + insecure}"
                f" non-members are secure; {wrong} of the other {insecure} are wrong as they"
                f" are{drawn}. AUC of the loss: {told}."
            )
    return said

"""The claims ledger: findings of the papers, decided from the records of declared studies.

How a claim is decided was fixed before the studies ran: a difference is *reproduced* when it has
the paper's sign with every seed and its mean over seeds exceeds the 95 % margin that the choice of
rows leaves (`metrics.difference`); else it is *not reproduced*, and the numbers say how.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from trilemma.core.errors import BadInput
from trilemma.metrics import difference

Document: TypeAlias = Mapping[str, Any]
Status: TypeAlias = Literal["reproduced", "not reproduced", "not run"]
STUDIES = Path(__file__).with_name("studies")
METRIC = "best_threshold_accuracy"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding.

    Args:
        statement: in our words, with its scope.
        published: the paper's numbers.
        study: the declared experiment that decides it (`studies/<study>.yaml`).
        larger, smaller: (model, attack) whose membership accuracies are compared; several
            attacks mean the strongest of them.
    """

    id: str
    paper: str
    where: str
    statement: str
    published: str
    study: str
    larger: tuple[str, tuple[str, ...]]
    smaller: tuple[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a study's record says about a claim."""

    claim: Claim
    status: Status
    measured: str = ""
    scale: str = ""
    deviation: str = ""


BOTH = ("confidence", "confidence_adversarial")
BENIGN, ADVERSARIAL = BOTH[:1], BOTH[1:]

CLAIMS = (
    Claim(
        id="song2019-table2-advantage",
        paper="Song et al. 2019",
        where="table 2",
        statement="On Yale Face, PGD-based adversarial training raises the membership advantage"
        " over natural training (strongest of I_B and I_A, best threshold).",
        published="natural 55.85 %, robust 68.83 %",
        study="song2019-yale",
        larger=("robust", BOTH),
        smaller=("natural", BOTH),
    ),
    Claim(
        id="song2019-table2-adversarial",
        paper="Song et al. 2019",
        where="table 2",
        statement="On Yale Face, I_A is above I_B for the PGD-trained model.",
        published="I_B 61.69 %, I_A 68.83 %",
        study="song2019-yale",
        larger=("robust", ADVERSARIAL),
        smaller=("robust", BENIGN),
    ),
    Claim(
        id="song2019-table2-natural",
        paper="Song et al. 2019",
        where="table 2",
        statement="On Yale Face, I_B is above I_A for the naturally trained model.",
        published="I_B 55.85 %, I_A 54.27 %",
        study="song2019-yale",
        larger=("natural", BENIGN),
        smaller=("natural", ADVERSARIAL),
    ),
    Claim(
        id="song2019-table3-advantage",
        paper="Song et al. 2019",
        where="table 3",
        statement="On Fashion-MNIST, PGD-based adversarial training raises the membership"
        " advantage over natural training (strongest of I_B and I_A, best threshold).",
        published="natural 57.12 %, robust 64.49 %",
        study="song2019-fashion",
        larger=("robust", BOTH),
        smaller=("natural", BOTH),
    ),
    Claim(
        id="song2019-table3-adversarial",
        paper="Song et al. 2019",
        where="table 3",
        statement="On Fashion-MNIST, I_A is above I_B for the PGD-trained model.",
        published="I_B 58.32 %, I_A 64.49 %",
        study="song2019-fashion",
        larger=("robust", ADVERSARIAL),
        smaller=("robust", BENIGN),
    ),
    Claim(
        id="song2019-table3-natural",
        paper="Song et al. 2019",
        where="table 3",
        statement="On Fashion-MNIST, I_B is above I_A for the naturally trained model.",
        published="I_B 57.12 %, I_A 50.95 %",
        study="song2019-fashion",
        larger=("natural", BENIGN),
        smaller=("natural", ADVERSARIAL),
    ),
)


def studies() -> list[str]:
    """The names of the declared studies."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def study_file(study: str) -> Path:
    """Where a study is declared.

    Raises:
        BadInput: there is none of that name.
    """
    if study not in studies():
        raise BadInput("study", f"{study!r} is not known", f"Known: {', '.join(studies())}")
    return STUDIES / f"{study}.yaml"


def record(study: str) -> Document | None:
    """The record that ships with the package, of the study as it was run."""
    path = STUDIES / f"{study}.json"
    if not path.is_file():
        return None
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def ledger(find: Callable[[str], Document | None] = record) -> list[Decision]:
    """Every claim with its decision; `find` gives a study's record, or None if it was not run."""
    documents = {study: find(study) for study in {claim.study for claim in CLAIMS}}
    return [decide(claim, documents[claim.study]) for claim in CLAIMS]


def decide(claim: Claim, document: Document | None) -> Decision:
    """Apply the rule that this module's first lines state."""
    if document is None:
        return Decision(claim=claim, status="not run")
    larger, smaller = (_strongest(document, *side) for side in (claim.larger, claim.smaller))
    if larger is None or smaller is None:
        return Decision(claim=claim, status="not run", measured="the study is incomplete")
    found = difference(larger, smaller)
    seeds = ", ".join(f"{100 * each:+.2f}" for each in found.seeds)
    return Decision(
        claim=claim,
        status="reproduced" if found.clear else "not reproduced",
        measured=f"{100 * larger['value']:.2f} % against {100 * smaller['value']:.2f} %:"
        f" {100 * found.mean:+.2f} points (seeds {seeds}; 95 % margin {100 * found.margin:.2f})",
        scale=_scale(document),
        deviation=str(document["provenance"]["data"].get("deviation", "")),
    )


def _strongest(document: Document, model: str, attacks: Sequence[str]) -> Document | None:
    """The accuracy of the attack that is strongest over all seeds; None where one is missing."""
    membership = document["models"].get(model, {}).get("membership", {})
    found: list[Document] = [membership.get(attack, {}).get(METRIC, {}) for attack in attacks]
    if not all("value" in metric for metric in found):
        return None
    return max(found, key=lambda metric: float(metric["value"]))


def _scale(document: Document) -> str:
    rows = next(iter(document["models"].values()))["rows"]
    seeds = len(document["provenance"]["seeds"])
    return f"{rows['members']} members, {rows['nonmembers']} non-members, {seeds} seed(s)"

"""The claims ledger: findings of the papers, decided from the records of declared studies.

How a claim is decided was fixed before the studies ran: a difference is *reproduced* when it has
the paper's sign with every seed and its mean over seeds exceeds 1.96 of its standard errors
(over rows, read off the seeds' intervals); else it is *not reproduced*, and the numbers say how.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from trilemma.core.errors import BadInput

Document: TypeAlias = Mapping[str, Any]
Status: TypeAlias = Literal["reproduced", "not reproduced", "not run"]
STUDIES = Path(__file__).with_name("studies")
METRIC = "best_threshold_accuracy"
Z = 1.96


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
    larger, smaller = (_accuracies(document, *side) for side in (claim.larger, claim.smaller))
    if not larger or not smaller:
        return Decision(claim=claim, status="not run", measured="the study is incomplete")
    pairs = list(zip(larger, smaller, strict=True))
    differences = [a["value"] - b["value"] for a, b in pairs]
    mean = sum(differences) / len(differences)
    error = math.sqrt(sum(_error(a) ** 2 + _error(b) ** 2 for a, b in pairs)) / len(pairs)
    holds = min(differences) > 0 and mean > Z * error
    return Decision(
        claim=claim,
        status="reproduced" if holds else "not reproduced",
        measured=f"{_mean(larger)} against {_mean(smaller)}: {100 * mean:+.2f} points"
        f" (seeds {', '.join(f'{100 * each:+.2f}' for each in differences)};"
        f" standard error {100 * error:.2f})",
        scale=_scale(document),
        deviation=str(document["provenance"]["data"].get("deviation", "")),
    )


def _accuracies(document: Document, model: str, attacks: Sequence[str]) -> list[Document]:
    """Of each seed, the estimate of the attack that is strongest over all seeds."""
    found = []
    for attack in attacks:
        metric = document["models"].get(model, {}).get("membership", {}).get(attack, {}).get(METRIC)
        if metric is None or "not_evaluable" in metric:
            return []
        found.append(metric)
    best: Document = max(found, key=lambda metric: float(metric["value"]))
    return list(best.get("seeds", [best]))


def _error(estimate: Document) -> float:
    return float(estimate["high"] - estimate["low"]) / (2 * Z)


def _mean(estimates: Sequence[Document]) -> str:
    return f"{100 * sum(float(each['value']) for each in estimates) / len(estimates):.2f} %"


def _scale(document: Document) -> str:
    rows = next(iter(document["models"].values()))["rows"]
    seeds = len(document["provenance"]["seeds"])
    return f"{rows['members']} members, {rows['nonmembers']} non-members, {seeds} seed(s)"

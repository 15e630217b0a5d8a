"""What a reader must know before trusting an audit's numbers."""

from collections.abc import Iterator

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.quantities import ACCURACIES, evaluable, in_words, quantity

MEANINGS = {
    "blind": "Members and non-members differ without asking any model, so part of what looks like"
    " a leak may come from the split",
    "duplicates": "Some rows are on both sides of the split or repeated",
    "null": "The null run, non-members against non-members, does not look like guessing",
    "normalisation": "The model may expect inputs in another range than it was given",
    "determinism": "The model answers identical inputs differently",
    "privacy": "An attack measured more than the differential privacy that was promised allows",
    "gradient_masking": "AutoAttack finds adversarial examples to which the model's gradients do"
    " not lead, which looks like gradient masking. What rests on gradients (accuracy under PGD,"
    " membership from adversarial inputs) may understate what an attacker can do; for robustness,"
    " go by AutoAttack's numbers",
}


def cautions(document: Document) -> Iterator[str]:
    """Everything in the document that weakens its numbers, one sentence each."""
    yield from _failures(document)
    yield from _checks(document)
    yield from _clueless(document)
    yield from _unresolved(document)
    yield from _seeds(document)
    deviation = document["provenance"]["data"].get("deviation")
    if deviation:
        yield f"The data differ from their canonical release: {_sentence(deviation)}"


def _failures(document: Document) -> Iterator[str]:
    count = len(document["failures"])
    if count:
        noun = "stage" if count == 1 else "stages"
        yield f"{count} {noun} failed: the numbers below rest on what is left."


def _checks(document: Document) -> Iterator[str]:
    groups = [("", document["self_tests"])]
    groups += [(f"“{m.get('title', n)}”: ", m["self_tests"]) for n, m in document["models"].items()]
    unanswered: dict[str, None] = {}
    for prefix, checks in groups:
        for name, check in checks.items():
            if check["status"] == "warn":
                meaning = MEANINGS.get(name, f"The self-test {name!r} warns")
                yield f"{prefix}{meaning}: {_sentence(check['summary'])}"
            elif check["status"] == "not_evaluable":
                unanswered[name] = None
    if unanswered:
        yield f"Self-tests that could not be answered here: {', '.join(unanswered)}."


def _clueless(document: Document) -> Iterator[str]:
    """Models whose accuracy is that of a guess: what has learnt nothing leaks nothing."""
    classes = document["provenance"]["data"].get("classes")
    if not isinstance(classes, int) or classes < 2:
        return
    for name, model in document["models"].items():
        test = model["accuracy"].get("test")
        if test is not None and evaluable(test) and test["low"] <= 1 / classes:
            yield (
                f"“{model.get('title', name)}”: its accuracy on test rows,"
                f" {in_words(test, ACCURACIES['test'])}, is not shown to beat a guess among"
                f" {classes} classes ({ACCURACIES['test'].show(1 / classes)}). A model that has"
                " learnt little has little to leak, which makes it no better than one that leaks"
                " more."
            )


def _unresolved(document: Document) -> Iterator[str]:
    reasons: dict[str, str] = {}
    for model in document["models"].values():
        for metrics in model["membership"].values():
            if not evaluable(metrics.get("auc")):
                continue  # the attack is missing as a whole, which is said elsewhere
            for name, metric in metrics.items():
                if name.startswith("tpr_at_fpr_") and not evaluable(metric):
                    reasons.setdefault(name, metric["not_evaluable"])
    for name, reason in sorted(reasons.items()):
        yield f"{quantity(name).label} is not evaluable: {_sentence(reason)}"


def _seeds(document: Document) -> Iterator[str]:
    seeds = document["provenance"]["seeds"]
    if len(seeds) > 1 or not document["models"]:
        return
    origin = "The predictions were recorded" if not seeds else "There is a single seed"
    yield (
        f"{origin}: the intervals cover the choice of rows, not what another training run of the"
        " same recipe would give."
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."

"""What each number is called, what it means, and how it is printed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from trilemma.experiments.reports.document import Document, Number

Metric: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One metric as a reader meets it.

    Args:
        label: its name in tables.
        short: its name where there is little room.
        meaning: what it says, in a sentence.
        chance: its value for an attacker who guesses; None where guessing has no value.
        factor: what a value is multiplied by for print: 100 where the papers print per cent.
        unit: what follows the number.
        decimals: digits after the point.
    """

    label: str
    short: str
    meaning: str
    chance: float | None = None
    factor: float = 100.0
    unit: str = " %"
    decimals: int = 2

    def number(self, value: Number) -> str:
        """The value without its unit, e.g. `61.69`.

        >>> quantity("best_threshold_accuracy").number(0.616923)
        '61.69'
        """
        return f"{value * self.factor:z.{self.decimals}f}"

    def show(self, value: Number) -> str:
        """The value with its unit, e.g. `61.69 %`."""
        return self.number(value) + self.unit


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A metric in print.

    Args:
        value: with its unit; `n/a` where there is none.
        interval: `59.02 to 64.31`, `at least 0.12`, or empty.
        reason: why there is no value, or empty.
    """

    value: str
    interval: str = ""
    reason: str = ""


ACCURACIES: Mapping[str, Quantity] = {
    "train": Quantity(
        label="Accuracy on training rows",
        short="Accuracy, train",
        meaning="Share of the members that the model labels correctly.",
    ),
    "test": Quantity(
        label="Accuracy on test rows",
        short="Accuracy, test",
        meaning="Share of the non-members that the model labels correctly.",
    ),
    "adversarial_train": Quantity(
        label="Accuracy on training rows, attacked",
        short="Attacked, train",
        meaning="Share of the members still labelled correctly after an adversarial perturbation.",
    ),
    "adversarial_test": Quantity(
        label="Accuracy on test rows, attacked",
        short="Attacked, test",
        meaning="Share of the non-members still labelled correctly after such a perturbation.",
    ),
}
AUTOATTACK: Mapping[str, Quantity] = {
    "autoattack_train": Quantity(
        label="Accuracy on training rows, AutoAttack",
        short="AutoAttack, train",
        meaning=(
            "Share of the members, of all or of so many drawn at random, still labelled correctly"
            " after AutoAttack: several attacks in turn, one of them without gradients."
        ),
    ),
    "autoattack_test": Quantity(
        label="Accuracy on test rows, AutoAttack",
        short="AutoAttack, test",
        meaning="The same of the non-members.",
    ),
}
VERIFIED: Mapping[str, Quantity] = {
    "train": Quantity(
        label="Accuracy on training rows, verified",
        short="Verified, train",
        meaning=(
            "Share of the members for which bounds prove that no perturbation within the ball takes"
            " the right label away. The true share lies between it and the accuracy under any"
            " attack in that ball."
        ),
    ),
    "test": Quantity(
        label="Accuracy on test rows, verified",
        short="Verified, test",
        meaning="The same of the non-members.",
    ),
}

MEMBERSHIP: Mapping[str, Quantity] = {
    "best_threshold_accuracy": Quantity(
        label="Attack accuracy, best threshold",
        short="Best threshold",
        meaning=(
            "Mean of the share of members and the share of non-members recognised, at the threshold"
            " that is best for these very rows: the most that any single threshold can reach."
        ),
        chance=0.5,
    ),
    "held_out_threshold_accuracy": Quantity(
        label="Attack accuracy, held-out threshold",
        short="Held-out threshold",
        meaning=(
            "The same with the threshold chosen on one half of the rows and judged on the other:"
            " what an attacker who does not know the answers can expect."
        ),
        chance=0.5,
    ),
    "class_threshold_accuracy": Quantity(
        label="Attack accuracy, a threshold for each label",
        short="Threshold by label",
        meaning=(
            "The same with a threshold for each label, chosen on at most 500 of its members and as"
            " many non-members (or on half of the rarer kind) and judged on its other rows. Of an"
            " attack that learns from such rows: what its own rules find on the others."
        ),
        chance=0.5,
    ),
    "shadow_threshold_accuracy": Quantity(
        label="Attack accuracy, threshold from a shadow model",
        short="Shadow threshold",
        meaning=(
            "The same with the threshold that is best on a shadow model, which was trained alike on"
            " other rows that an attacker knows; no row of the model itself is looked at for it."
        ),
        chance=0.5,
    ),
    "random_threshold_accuracy": Quantity(
        label="Attack accuracy, threshold from random images",
        short="Random images",
        meaning="The same with a threshold that the distances of random images give: no data.",
        chance=0.5,
    ),
    "advantage": Quantity(
        label="Membership advantage",
        short="Advantage",
        meaning="2 (accuracy - 50 %) at the best threshold: 0 is guessing, 100 % is certainty.",
        chance=0.0,
    ),
    "auc": Quantity(
        label="AUC",
        short="AUC",
        meaning="Probability that a member scores higher than a non-member; a tie counts half.",
        chance=0.5,
        factor=1.0,
        unit="",
        decimals=4,
    ),
    "epsilon_lower_bound": Quantity(
        label="Privacy loss epsilon, lower bound",
        short="Epsilon, at least",
        meaning=(
            "How far apart the model holds the two samples, as the least epsilon of (epsilon, 0)"
            " differential privacy that the attack's error rates agree with, if rows count as"
            " independent draws. Never an upper bound, and no proof about the training method."
        ),
        chance=0.0,
        factor=1.0,
        unit="",
    ),
}


AT_LEVEL: Mapping[str, Quantity] = {  # metrics at a rate or share, which follows in the id
    "tpr_at_fpr": Quantity(
        label="Members found at {} false alarms",
        short="TPR at {} FPR",
        meaning="Share of members recognised while at most {} of the others are taken for members.",
        chance=0.0,
    ),
    "precision_at_prior": Quantity(
        label="Precision if {} are members",
        short="Precision at {}",
        meaning=(
            "Share of the attacker's 'member' calls that are right at the held-out threshold, if {}"
            " of the rows asked about were members."
        ),
        chance=0.0,
    ),
    "shadow_tpr_at_fpr": Quantity(
        label="Members found, threshold from shadow models at {} false alarms",
        short="Shadow TPR, {}",
        meaning=(
            "Share of members recognised at the threshold that takes a further non-member of the"
            " shadow models for a member with a probability of at most {} (a quantile regression:"
            " of rows that it held out); no row of the model itself is looked at for it."
        ),
        chance=0.0,
    ),
    "shadow_fpr_at_fpr": Quantity(
        label="False alarms at the shadow models' threshold for {}",
        short="Shadow FPR, {}",
        meaning=(
            "Share of the model's own non-members that this threshold takes for members: what was"
            " promised on shadow models need not hold here."
        ),
    ),
    "shadow_precision_at_prior": Quantity(
        label="Precision of the shadow models' threshold if {} are members",
        short="Shadow precision at {}",
        meaning=(
            "Share of the 'member' calls that are right at the shadow models' threshold for 1 % of"
            " false alarms, if {} of the rows asked about were members."
        ),
        chance=0.0,
    ),
}


def accuracies(document: Document) -> dict[str, Quantity]:
    """The accuracies that this document has, called after its attacks and their balls.

    Where there is little room, balls are named only if they differ.
    """
    models = list(document["models"].values())
    named = dict(ACCURACIES)
    balls = _balls(document)
    attack = document.get("robustness", {}).get("adversarial", {}).get("name")
    if attack and not any("recorded" in model["description"] for model in models):
        for part in ("train", "test"):
            kind = ACCURACIES[f"adversarial_{part}"]
            named[f"adversarial_{part}"] = replace(
                kind,
                label=kind.label.replace("attacked", attack) + balls.long("adversarial"),
                short=kind.short.replace("Attacked", attack + balls.short("adversarial")),
            )
    if any(name in model["accuracy"] for model in models for name in AUTOATTACK):
        for part, rows in (("train", "members"), ("test", "nonmembers")):
            kind, few = AUTOATTACK[f"autoattack_{part}"], _few(models, rows)
            label = kind.label.replace(" on ", f" on {few} ") if few else kind.label
            short = kind.short.replace(", ", f", {few} ") if few else kind.short
            named[f"autoattack_{part}"] = replace(
                kind,
                label=label + balls.long("autoattack"),
                short=short.replace("AutoAttack", "AutoAttack" + balls.short("autoattack")),
            )
    return named | _verified(document, balls)


@dataclass(frozen=True, kw_only=True)
class _Balls:
    """Where robustness was measured, by the prefix of the accuracies.

    Args:
        named: `Linf 0.05`; without those that are not known.
        differ: whether they are not all the same.
    """

    named: Mapping[str, str]
    differ: bool

    def long(self, prefix: str) -> str:
        """What follows a label."""
        return f", {self.named[prefix]}" if prefix in self.named else ""

    def short(self, prefix: str) -> str:
        """The same where there is little room: only if balls differ."""
        return self.long(prefix) if self.differ else ""


def _balls(document: Document) -> _Balls:
    declared = {
        prefix: ball
        for prefix, about in document.get("robustness", {}).items()
        if isinstance(ball := about.get("settings", {}).get("ball"), Mapping)
        and isinstance(ball.get("radius"), int | float)
    }
    named = {prefix: f"{b.get('kind')} {b['radius']:.4g}" for prefix, b in declared.items()}
    return _Balls(named=named, differ=len(set(named.values())) > 1)


def _verified(document: Document, balls: _Balls) -> dict[str, Quantity]:
    """The proven accuracies, called after the bounds; prefixes are those of `robustness`."""
    found = {}
    for prefix, about in document.get("robustness", {}).items():
        for part, kind in VERIFIED.items() if prefix.split("_")[0] == "verified" else ():
            name = about.get("name", "bounds")
            found[f"{prefix}_{part}"] = replace(
                kind,
                label=f"{kind.label} by {name}{balls.long(prefix)}",
                short=kind.short.replace("Verified", f"Verified ({name}){balls.short(prefix)}"),
            )
    return found


def _few(models: Sequence[Mapping[str, Any]], rows: str) -> int:
    """How many rows AutoAttack was run on, if not on all of them."""
    counts = [(m["rows"].get(f"autoattack_{rows}"), m["rows"][rows]) for m in models]
    return max((few for few, all_ in counts if few is not None and few != all_), default=0)


def measured(document: Document, names: Sequence[str], attack: str) -> list[str]:
    """Those of the metrics that an attack has on some model: not every audit has all."""
    found = [model["membership"].get(attack, {}) for model in document["models"].values()]
    return [name for name in names if any(name in metrics for metrics in found)]


def quantity(name: str) -> Quantity:
    """The membership metric with the id `name`; an id that is not known is printed as it is.

    >>> quantity("tpr_at_fpr_0.001").label
    'Members found at 0.1 % false alarms'
    """
    if name in MEMBERSHIP:
        return MEMBERSHIP[name]
    stem, _, tail = name.rpartition("_")
    try:
        level = float(tail)
    except ValueError:
        level = -1.0
    if stem in AT_LEVEL and level >= 0:
        kind, asked = AT_LEVEL[stem], f"{100 * level:g} %"
        return replace(
            kind,
            label=kind.label.format(asked),
            short=kind.short.format(asked),
            meaning=kind.meaning.format(asked),
            chance=None if kind.chance is None else level,
        )
    words = name.replace("_", " ")
    return Quantity(label=words, short=words, meaning="", factor=1.0, unit="", decimals=4)


def shown(metric: Metric, kind: Quantity) -> Shown:
    """Print a metric: value, interval, or the reason why there is none."""
    if "not_evaluable" in metric:
        return Shown(value="n/a", reason=str(metric["not_evaluable"]))
    low = kind.number(metric["low"])
    if metric["high"] is None:
        return Shown(value=kind.show(metric["value"]), interval=f"at least {low}")
    high = kind.number(metric["high"])
    return Shown(value=kind.show(metric["value"]), interval=f"{low} to {high}")


def in_words(metric: Metric, kind: Quantity) -> str:
    """`61.69 % (95 % interval 59.02 to 64.31)`, or why there is no number."""
    print_ = shown(metric, kind)
    if print_.reason:
        return f"not evaluable ({print_.reason})"
    if metric["high"] is None:
        return f"{print_.value} ({100 * metric['level']:g} % one-sided: {print_.interval})"
    return f"{print_.value} ({100 * metric['level']:g} % interval {print_.interval})"


def evaluable(metric: Metric | None) -> bool:
    """Whether there is a number."""
    return metric is not None and "not_evaluable" not in metric


def shared_attacks(document: Document) -> set[str]:
    """The attacks that were evaluated on every model on which any was: models compare by them."""
    name = "best_threshold_accuracy"
    each = [
        {attack for attack, found in model["membership"].items() if evaluable(found.get(name))}
        for model in document["models"].values()
    ]
    able = [attacks for attacks in each if attacks]
    return set.intersection(*able) if able else set()


def strongest(
    membership: Mapping[str, Mapping[str, Metric]], among: Collection[str] | None = None
) -> str | None:
    """The attack with the highest accuracy at its best threshold; None if none has one.

    Args:
        membership: attack -> metric -> value.
        among: attacks to choose from; None for all.
    """
    name = "best_threshold_accuracy"
    able = [attack for attack, found in membership.items() if evaluable(found.get(name))]
    if among is not None:
        able = [attack for attack in able if attack in among]
    return max(able, key=lambda attack: float(membership[attack][name]["value"]), default=None)

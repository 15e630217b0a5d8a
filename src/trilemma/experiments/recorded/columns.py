"""Which columns of a table of recorded predictions hold what."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded.names import did_you_mean, ignored

BENIGN = re.compile(r"p_?(\d+)")
ADVERSARIAL = re.compile(r"adversarial_p_?(\d+)")
WORDS = ("member", "label", "confidence", "confidence_adversarial")
NEEDED = "Needed are the columns member, label, p0, p1, ...; or member and confidence"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names as they stand in the file.

    Args:
        member: says on which side a row is.
        label: the true class; None in a table of confidences.
        benign: the probabilities in the order of the classes, or the one confidence.
        adversarial: the same of the perturbed inputs; empty where there are none.
    """

    member: str
    label: str | None
    benign: tuple[str, ...]
    adversarial: tuple[str, ...]

    def names(self) -> list[str]:
        """All of them."""
        label = () if self.label is None else (self.label,)
        return [self.member, *label, *self.benign, *self.adversarial]


def choose(path: Path, header: Sequence[str]) -> tuple[Columns, tuple[str, ...]]:
    """Find the columns of one of the two forms; capitals and outer spaces do not matter.

    Returns:
        The columns, and a note if there are others.

    Raises:
        BadInput: columns are missing or appear twice.
    """
    plain = {name.strip().casefold(): name for name in header}
    twice = [name for name, n in Counter(n.strip().casefold() for n in header).items() if n > 1]
    if twice:
        raise BadInput(str(path), f"has column {twice[0]!r} twice", "Give each column one name")
    benign = _numbered(path, plain, BENIGN)
    adversarial = _numbered(path, plain, ADVERSARIAL)
    if benign:
        needed, label = ["member", "label"], plain.get("label")
    else:
        needed, label = ["member", "confidence"], None
        benign = tuple(plain[name] for name in ("confidence",) if name in plain)
        adversarial = tuple(plain[n] for n in ("confidence_adversarial",) if n in plain)
    missing = [name for name in needed if name not in plain]
    if missing:
        shown = ", ".join(header[:20]) + (", ..." if len(header) > 20 else "")
        raise BadInput(
            str(path),
            f"lacks {', '.join(missing)}; found {shown}",
            NEEDED + did_you_mean(plain, WORDS),
        )
    if adversarial and len(adversarial) != len(benign):
        raise BadInput(
            str(path),
            f"has {len(benign)} columns of benign but {len(adversarial)} of adversarial"
            " probabilities",
            "Give one for each class, or no adversarial ones",
        )
    columns = Columns(member=plain["member"], label=label, benign=benign, adversarial=adversarial)
    unused = [name for name in header if name not in columns.names() and not _index(name)]
    return columns, ignored(unused, (*WORDS, "adversarial_p0"))


def _numbered(path: Path, plain: dict[str, str], pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Columns in the order of their numbers, which must be 0 to k - 1."""
    found: dict[int, str] = {}
    for name, stored in plain.items():
        match = pattern.fullmatch(name)
        if match and found.setdefault(int(match[1]), stored) != stored:
            raise BadInput(
                str(path), f"has {found[int(match[1])]} and {stored}", "Give each class one column"
            )
    gaps = sorted(set(range(len(found))) - set(found))
    if gaps:
        first = found[min(found)]
        raise BadInput(
            str(path),
            f"has columns {first} to {found[max(found)]}, but none for class {gaps[0]}",
            "Number the classes from 0 without gaps",
        )
    return tuple(found[number] for number in sorted(found))


def _index(name: str) -> bool:
    """Row numbers that pandas writes beside a table."""
    return name in ("", "Unnamed: 0", "__index_level_0__")

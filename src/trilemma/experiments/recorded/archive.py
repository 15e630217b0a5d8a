"""Recorded predictions as an .npz archive.

Three forms, where n and m count members (`train`) and non-members (`test`), and k classes:

- `output_train_benign` (n, k), `output_test_benign` (m, k), `train_label` (n,), `test_label` (m,)
  and, optionally, `output_train_adversarial`, `output_test_adversarial`, shaped as the benign;
- the same with `output_train` and `output_test` for the benign ones;
- `confidence_train` (n,), `confidence_test` (m,): the probability of the true label, and,
  optionally, `confidence_adversarial_train`, `confidence_adversarial_test`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded import checks
from trilemma.experiments.recorded.names import did_you_mean, ignored
from trilemma.experiments.recorded.npz import array_names, read_arrays
from trilemma.experiments.recorded.predictions import Answers, Array, Contents

SHORT = {"output_train": "output_train_benign", "output_test": "output_test_benign"}
LABELS = ("train_label", "test_label")
OUTPUTS = ("output_train_benign", "output_test_benign")
OUTPUTS_ADVERSARIAL = ("output_train_adversarial", "output_test_adversarial")
CONFIDENCES = ("confidence_train", "confidence_test")
CONFIDENCES_ADVERSARIAL = ("confidence_adversarial_train", "confidence_adversarial_test")
NEEDED = (
    "Needed are output_train_benign (or output_train), output_test_benign (or output_test),"
    " train_label and test_label; or confidence_train and confidence_test"
)
Named: TypeAlias = Mapping[str, tuple[str, Array]]  # form's name -> (as the user knows it, array)


def read_archive(path: Path) -> Contents:
    """Members' and non-members' answers from an archive in one of the three forms.

    Raises:
        BadInput: arrays are missing or are not what the form says, or the archive is damaged.
    """
    found = array_names(path)
    keys = _choose(path, found)
    arrays = read_arrays(path, list(keys.values()))
    known = (*OUTPUTS_ADVERSARIAL, *CONFIDENCES_ADVERSARIAL)
    notes = ignored(set(found) - set(keys.values()), known)
    named = {key: (f"{path}: {stored}", arrays[stored]) for key, stored in keys.items()}
    if CONFIDENCES[0] in keys:
        return _confidences(named, notes)
    return _outputs(named, notes)


def _choose(path: Path, found: list[str]) -> dict[str, str]:
    """Which stored array is meant by each name of the form the archive is in."""
    stored = {SHORT.get(name, name): name for name in sorted(found, key=len)}
    for needed, optional in (
        ((*OUTPUTS, *LABELS), OUTPUTS_ADVERSARIAL),
        (CONFIDENCES, CONFIDENCES_ADVERSARIAL),
    ):
        if set(needed) <= set(stored):
            extra = [name for name in optional if name in stored]
            if len(extra) == 1:
                (missing,) = set(optional) - set(extra)
                raise BadInput(
                    str(path),
                    f"has {extra[0]} but not {missing}; found {', '.join(sorted(found))}",
                    "Give both or neither",
                )
            return {name: stored[name] for name in (*needed, *extra)}
    form = CONFIDENCES if set(CONFIDENCES) & set(stored) else (*OUTPUTS, *LABELS)
    missing_names = ", ".join(name for name in form if name not in stored)
    raise BadInput(
        str(path),
        f"lacks {missing_names}; found {', '.join(sorted(found))}",
        NEEDED + did_you_mean(found, (*form, *SHORT)),
    )


def _outputs(named: Named, notes: tuple[str, ...]) -> Contents:
    tables: dict[str, Array] = {}
    for key in (key for key in (*OUTPUTS, *OUTPUTS_ADVERSARIAL) if key in named):
        what, array = named[key]
        labels = named[LABELS["_test_" in key]][1]
        tables[key] = checks.as_table(what, array, labels.size if labels.ndim == 1 else None)
        notes += checks.check_probabilities(what, tables[key])
    benign, adversarial = _pairs(named, tables, OUTPUTS, OUTPUTS_ADVERSARIAL)
    if benign.members.shape[1] != benign.nonmembers.shape[1]:
        raise BadInput(
            named[OUTPUTS[1]][0],
            f"has shape {benign.nonmembers.shape}, {OUTPUTS[0]} {benign.members.shape}:"
            " the numbers of classes differ",
            "Give the answers of one model",
        )
    labels_of = Answers(
        members=checks.as_labels(*named[LABELS[0]], *benign.members.shape),
        nonmembers=checks.as_labels(*named[LABELS[1]], *benign.nonmembers.shape),
    )
    return Contents(benign=benign, adversarial=adversarial, labels=labels_of, notes=notes)


def _confidences(named: Named, notes: tuple[str, ...]) -> Contents:
    rows = {key: checks.as_row(what, array) for key, (what, array) in named.items()}
    for key, row in rows.items():
        checks.check_confidences(named[key][0], row)
    benign, adversarial = _pairs(named, rows, CONFIDENCES, CONFIDENCES_ADVERSARIAL)
    return Contents(benign=benign, adversarial=adversarial, labels=None, notes=notes)


def _pairs(
    named: Named,
    arrays: Mapping[str, Array],
    benign: tuple[str, str],
    adversarial: tuple[str, str],
) -> tuple[Answers, Answers | None]:
    plain = Answers(members=arrays[benign[0]], nonmembers=arrays[benign[1]])
    if adversarial[0] not in arrays:
        return plain, None
    for key, like in zip(adversarial, benign, strict=True):
        if arrays[key].shape != arrays[like].shape:
            raise BadInput(
                named[key][0],
                f"has shape {arrays[key].shape}, {like} {arrays[like].shape}",
                "Give the answers about the same rows in the same order",
            )
    return plain, Answers(members=arrays[adversarial[0]], nonmembers=arrays[adversarial[1]])

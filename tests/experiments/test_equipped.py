"""A thief who lacks something is refused before anything is trained or asked."""

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.equipped import Equipped
from trilemma.experiments.events import Finished
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.specs import experiment
from trilemma.experiments.thieving import equipped
from trilemma.experiments.trained import plan_trained

DIGITS = {"kind": "Digits", "members": 30, "nonmembers": 30}
SMALL = {"kind": "MLP", "hidden": [4], "epochs": 1}
SPEC = {
    "name": "equipped",
    "data": {**DIGITS, "auxiliary": 25, "victim_training_rows": 10, "validation": 20},
    "models": {"m": {"recipe": SMALL}},
    "extraction": {
        "student": SMALL,
        "thieves": {
            "one": {"kind": "Vanilla", "epochs": 1, "batch": 10},
            "two": {"kind": "RandomQueries", "epochs": 1, "batch": 10},
        },
        "every": 1,
    },
}


@pytest.fixture
def rows(tmp_path):
    """Data sets in files: of another shape, outside the box, or such as the victim's."""
    rng = np.random.default_rng(0)
    made = {
        "wide": rng.random((40, 5), dtype=np.float32),
        "far": 2 + rng.random((40, 1, 8, 8), dtype=np.float32),
        "near": rng.random((40, 1, 8, 8), dtype=np.float32),
    }

    def declared(name):
        found = {"kind": "Files"}
        for part, chosen in {"members": slice(30), "nonmembers": slice(30, 40)}.items():
            found[part] = str(tmp_path / f"{name}_{part}.npz")
            np.savez(found[part], x=made[name][chosen], y=np.arange(40)[chosen] % 10)
        return found

    return declared


def with_means(**means):
    return {**SPEC, "extraction": {**SPEC["extraction"], **means}}


def refused(store, table):
    """What is said, where nothing but looking at data was done for it."""
    events = []
    with pytest.raises(BadInput) as error:
        audit(table, store, on_event=events.append)
    done = [event.outcome.label for event in events if isinstance(event, Finished)]
    assert not [label for label in done if "train" in label or "steal" in label], done
    return str(error.value)


LARGER, NARROW = {"kind": "MLP", "hidden": [7], "epochs": 1}, {"kind": "MLP", "hidden": []}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("recipe", [LARGER, NARROW, {"kind": "MLP", "hidden": [4, 4]}])
def test_a_start_of_another_architecture(recipe, own, store):
    means = {"start": {"data": DIGITS, "recipe": recipe}}
    said = refused(store, with_means(**({"own": {"two": means}} if own else means)))
    assert "start" in said
    assert "student" in said


def test_a_start_on_rows_of_another_shape(rows, store):
    said = refused(store, with_means(start={"data": rows("wide")}))
    assert "extraction.start.data: has rows of shape (5,), where the victim's are (1, 8, 8)" in said


def test_other_rows_of_another_shape(rows, store):
    said = refused(store, with_means(pool={"others": [rows("near"), rows("wide")]}))
    assert "extraction.pool.others[1]: has rows of shape (5,)" in said


def test_rows_outside_the_box(rows, store):
    said = refused(store, with_means(own={"two": {"pool": {"others": [rows("far")]}}}))
    assert "extraction.pool: 30 of 55 rows lie outside the box of valid inputs" in said


@pytest.mark.parametrize(("part", "there"), [("auxiliary", 25), ("victim_training_rows", 10)])
def test_too_few_rows(part, there, store):
    said = refused(store, with_means(pool={part: there + 1}))
    assert f"extraction.pool.{part}: {there + 1} of the {part} rows are wanted" in said
    assert f"models.m has {there}" in said
    said = refused(store, with_means(own={"two": {"pool": {part: 99}}}))
    assert f"99 of the {part} rows are wanted" in said


def test_no_rows_at_all(store):
    assert "pool: has no rows" in refused(store, with_means(pool={"auxiliary": 0}))


def test_a_student_that_takes_no_such_inputs(store):
    said = refused(store, with_means(student={"kind": "ResNet20"}))
    assert "ResNet20" in said or "student" in said


def test_what_goes_together_is_counted_and_not_refused(rows, store):
    table = with_means(
        start={"data": DIGITS},
        pool={"auxiliary": 5, "victim_training_rows": 3, "others": [rows("near")]},
    )
    stages = {key(stage): stage for cell in plan_trained(table)[0] for stage in cell.inputs}
    (found,) = [stage for stage in stages.values() if isinstance(stage, Equipped)]
    assert run([found], store).failures() == []
    assert store.read(key(found)).facts["pool"] == 5 + 3 + 30


def test_each_is_looked_at_once_however_many_thieves_are_alike():
    declared = experiment(with_means(own={"two": {"pool": {"auxiliary": 5}}}))
    split = plan_trained(SPEC)[0][0].split
    assert len(equipped(experiment(SPEC), split, "m")) == 1
    assert len(equipped(declared, split, "m")) == 2
    bare = {name: value for name, value in SPEC.items() if name != "extraction"}
    assert equipped(experiment(bare), split, "m") == []


def test_a_thief_who_asks_nothing_is_refused_before_work():
    thieves = {"silent": {"kind": "Vanilla", "queries": 0}}
    table = {**SPEC, "extraction": {**SPEC["extraction"], "thieves": thieves}}
    with pytest.raises(BadInput, match=r"extraction\.thieves\.silent\.queries: is 0"):
        experiment(table)


def test_augmentation_of_what_are_no_images_is_refused_before_work(store):
    thief = {"kind": "Vanilla", "epochs": 2, "augmentation": [{"kind": "Flip"}]}
    data = {"kind": "BreastCancer", "members": 80, "nonmembers": 40, "auxiliary": 30}
    table = {**with_means(thieves={"turned": thief}), "data": {**data, "validation": 20}}
    assert "Flip change images" in refused(store, table)

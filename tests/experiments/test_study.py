"""Studies are declared once for two scales; what a name stands for is put in its place."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.membership import BoundaryDistance
from trilemma.core.errors import BadInput
from trilemma.experiments.loot import NOTICED
from trilemma.experiments.numbers import FURTHER, OUTSIDE_MEMBERSHIP
from trilemma.experiments.specs import Trained, experiment
from trilemma.experiments.stolen import ADVERSARIAL, ATTACKED, BENIGN, STUDENTS
from trilemma.experiments.stolen import PLAIN as PLAIN_NUMBERS
from trilemma.experiments.study import (
    SCALES,
    STUDIES,
    Claim,
    Figure,
    Line,
    record,
    resolved,
    studies,
    study,
)

PLAIN = st.recursive(
    st.integers() | st.floats(allow_nan=False) | st.text("ab"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_what_names_nothing_stays_as_it_is(value):
    assert resolved(value, {"a": 1}) == value


@given(PLAIN, PLAIN)
def test_a_name_is_replaced_wherever_it_stands(value, other):
    names = {"one": {"deep": ["$two"]}, "two": value}
    assert resolved({"x": ["$one", other]}, names) == {"x": [{"deep": [value]}, other]}


def test_like_takes_a_table_with_other_values():
    names = {"net": {"kind": "MLP", "epochs": "$long"}, "long": 9}
    assert resolved({"like": "$net", "batch": 2}, names) == {"kind": "MLP", "epochs": 9, "batch": 2}
    assert resolved({"like": "$net", "epochs": 1}, names) == {"kind": "MLP", "epochs": 1}
    assert names["net"] == {"kind": "MLP", "epochs": "$long"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("$other", r"\$other: is not known. Known: long, many, net"),
        ("$net", r"\$long: stands for itself"),
        ({"like": "$many"}, r"like: \[1\] is no table"),
    ],
)
def test_what_stands_for_nothing_is_refused(value, said):
    with pytest.raises(BadInput, match=said):
        resolved(value, {"net": {"epochs": "$long"}, "long": ["$long"], "many": [1]})


def test_an_experiments_own_like_stays():
    names = {"net": {"kind": "MLP"}}
    assert resolved({"like": {"recipe": "$net"}}, names) == {"like": {"recipe": {"kind": "MLP"}}}


def test_a_claim_says_once_how_it_is_decided():
    words = {"statement": "s", "published": "p"}
    for ways in ({}, {"exceeds": ("a", "b"), "rises": ("a", "b")}):
        with pytest.raises(BadInput, match="ways to be decided"):
            Claim(**words, **ways)
    with pytest.raises(BadInput, match="names 3 numbers"):
        Claim(**words, exceeds=("a", "b", "c"))
    with pytest.raises(BadInput, match="names 2 numbers"):
        Claim(**words, peaks=("a", "b"))
    with pytest.raises(BadInput, match="reaches: names 3 numbers"):
        Claim(**words, reaches=("a", "b", "c"))
    with pytest.raises(BadInput, match="within: a is no peak's"):
        Claim(**words, peaks=("a", "b", "c"), within=("a",))


def test_a_studys_networks_differ_from_the_papers_at_the_cpu_scale_only():
    declared = study("song2019-table4")
    assert "instead of a wide residual one" in " ".join(declared.deviation("cpu").split())
    assert declared.deviation("paper") == ""
    assert study("song2019-figure4").deviation("cpu") == "images of 48x42"
    assert study("song2019-table2").deviation("cpu") == ""


def test_a_line_has_a_number_for_each_place():
    with pytest.raises(BadInput, match="one has 1 numbers"):
        Figure(x="eps", places=(1.0, 2.0), lines=(Line(name="one", numbers=("a",)),))


def test_studies_come_in_the_papers_order():
    papers = [name.partition("-")[0] for name in studies()]
    assert list(dict.fromkeys(papers)) == ["song2019", "li2021", "li2023"]
    assert papers == sorted(papers, key=["song2019", "li2021", "li2023"].index)
    names = [name.removeprefix("song2019-") for name in studies() if name.startswith("song")]
    tables = [*range(2, 9), "8b", 9, "9b", 10, "11a", "11b", 12]
    figures = [*range(1, 6), "6a", "6b", *range(7, 10)]
    expected = [f"table{each}" for each in tables] + [f"figure{each}" for each in figures]
    assert names == [*expected, "section7-1", "appendixE"]
    names = [name.removeprefix("li2021-") for name in studies() if name.startswith("li2021")]
    tables = [*_sets(3), 4, 5, "5b", "6a", "6b"]
    figures = [*_sets(2), 3, "3b", 4, "4b", 5, "5b", 6]
    figures += [*_sets(7), *_sets(8), *_sets(9), *_sets(10), *_sets(11), 12, 13]
    figures += [*_sets(14), *_sets(15)]
    expected = [f"table{each}" for each in tables] + [f"figure{each}" for each in figures]
    assert names == expected
    names = [name.removeprefix("li2023-") for name in studies() if name.startswith("li2023")]
    expected = [f"table{each}" for each in (1, "1b", "1c", 2, 3, 4)]
    expected += [f"figure{each}" for each in (1, "3a", "3b", "3c", 4, 5)]
    appendices = [f"appendixC{each}" for each in (1, 2, 3, 4, 5, 7, 8, 9)]
    assert names == [*expected, "section5-4", *appendices]


def _sets(number):
    """A figure of Li & Zhang that shows all four data sets."""
    return [f"{number}{letter}" for letter in "abcd"]


def test_the_same_figure_of_another_data_set_says_so():
    """The letters stand for the same data set throughout, and a study's words name it."""
    names = {"a": "CIFAR-10", "b": "GTSRB", "c": "Face", "d": "CIFAR-100"}
    for name in studies():
        number, letter = name[:-1], name[-1]
        if name.startswith("li2021") and f"{number}d" in studies():
            declared = study(name)
            kind = "figure" if "figure" in name else "table"
            assert declared.where == f"{kind} {number.partition(kind)[2]}, {names[letter]}"
            assert declared.setting == f"li2021-{names[letter].lower().replace('-', '')}"
            said = [declared.shows, *(claim.statement for claim in declared.claims.values())]
            assert all(f"n {names[letter]}" in each for each in said)


def test_an_unknown_study_or_scale_is_refused_with_what_is_known():
    with pytest.raises(BadInput, match=r"Known: .*song2019-table2"):
        study("song2019-table99")
    with pytest.raises(BadInput, match="Known: cpu, paper"):
        study("song2019-table2").table("gpu")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", studies())
def test_a_study_is_a_valid_experiment_with_what_its_claims_compare(name, scale):
    declared = study(name)
    built = experiment(declared.table(scale))
    assert not set(built.attacks) & {*FURTHER, *OUTSIDE_MEMBERSHIP}  # else a claim cannot name it
    assert set(declared.takes) == set(SCALES)
    lines = [] if declared.figure is None else [each.numbers for each in declared.figure.lines]
    for numbers in [*(claim.numbers() for claim in declared.claims.values()), *lines]:
        for number in numbers:
            if not re.fullmatch(r"0|0\.\d+", number):
                _check_number(built, number)


def _check_number(built, number):
    """That the document of an experiment has it."""
    model, _, rest = number.partition(":")
    part, _, metric = rest.partition(".")
    assert model in built.models
    if part in ("stolen", "exchange"):
        _check_stolen(built, part, metric.split("."))
        return
    if part in ("answers", "scores", "norms", "queries", "f1"):
        part = metric.rpartition(".")[0]
    if part in built.attacks:
        assert part in built.attacks_on(model)
    if part in ("ace", "distance"):
        assert built.analysis is not None
        part = ""
    known = {"", "accuracy", "sensitivity", "security", "shadow", *built.attacks}
    assert part in known
    if rest.startswith(("norms.", "queries.", "f1.")):
        assert isinstance(built.attacks[part], BoundaryDistance)
    if rest.startswith("queries."):
        budget = metric.rpartition(".")[2]
        assert budget == "most" or int(budget) in built.attacks[part].search.budgets
    if rest.startswith("f1."):
        assert built.random_threshold is not None


def _check_stolen(built, part, path):
    """That a number of a thief's student is one that the document has."""
    if part == "exchange":
        assert built.extraction.transfer is not None
        assert set(path) <= {"victim", *built.extraction.thieves}
        return
    thief, where, *rest = path
    assert thief in built.extraction.thieves
    if where == "guard":
        detector = type(built.extraction.of(thief).guard.detector)
        who, number = rest
        assert who in ("thief", "user")
        assert number in NOTICED[detector.__name__]
        return
    if where == "under":
        name, *rest = rest
        assert name in built.extraction.under
    else:
        assert where in (BENIGN, ADVERSARIAL)
    if rest not in (["victim"], ["overfitting"]):
        which, number = rest
        assert which in STUDENTS
        assert number in (PLAIN_NUMBERS if where == BENIGN else ATTACKED)


def test_studies_of_one_setting_train_a_model_once():
    """Else what two tables say of one model would come from two trainings."""
    trained: dict[str, set[Trained]] = {}
    for name in ("song2019-table2", "song2019-table11a", "song2019-figure5", "song2019-figure6a"):
        built = experiment(study(name).table("cpu"))
        model = built.models["T1" if name == "song2019-figure6a" else "pgd"]
        trained.setdefault("pgd", set()).add(model)
        assert built.data == experiment(study("song2019-table2").table("cpu")).data
    assert len(trained["pgd"]) == 1


def test_every_file_of_a_study_is_read_strictly():
    for path in STUDIES.glob("*.yaml"):
        table = yaml.safe_load(path.read_text())
        assert set(table) <= {
            *("paper", "where", "shows", "takes", "setting", "experiment", "scales", "claims"),
            "figure",
        }


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in studies() for scale in SCALES if record(name, scale)],
)
def test_a_shipped_record_is_of_the_study_as_declared(name, scale):
    document = record(name, scale)
    assert document["status"] == "complete"
    assert document["provenance"]["spec"] == study(name).table(scale)

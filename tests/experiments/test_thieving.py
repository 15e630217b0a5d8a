"""Models that are stolen in an audit: what is declared, planned, told and shown."""

import html
import io
import json

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from trilemma.attacks.extraction import ActiveThief, KnockoffNets, RandomQueries, Vanilla
from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.deliver import Outputs, deliver
from trilemma.experiments.events import Finished
from trilemma.experiments.graph import key
from trilemma.experiments.loot import loot
from trilemma.experiments.reports import (
    exchanged,
    render_html,
    render_markdown,
    render_text,
    schema,
    taken,
    thefts,
    validate,
)
from trilemma.experiments.reports.markdown import escaped
from trilemma.experiments.specs import experiment
from trilemma.experiments.stealing import Steal
from trilemma.experiments.store import Store
from trilemma.experiments.thieving import random_twin
from trilemma.experiments.trained import plan_trained
from trilemma.oracles.defences import LabelOnly, Rounding

RECIPE = {"kind": "MLP", "epochs": 20, "hidden": [16]}
PGD = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 3}
UNCERTAIN = {"ball": {"kind": "Linf", "radius": 0.1}, "steps": 3}
SPEC = {
    "name": "stolen",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 90, "auxiliary": 60, "validation": 50},
    "models": {"m": {"recipe": RECIPE}},
    "robustness": PGD,
    "extraction": {
        "student": {"kind": "MLP", "hidden": [12], "optimiser": {"kind": "Adam"}},
        "thieves": {
            "best": {"kind": "BEST", "epochs": 4, "batch": 20, "examples": UNCERTAIN},
            "searching": {"kind": "ActiveThief", "epochs": 3, "batch": 20, "rounds": 2},
        },
        "under": {"further": {"attack": {**PGD, "steps": 5}, "rows": 30}},
        "transfer": PGD,
        "every": 2,
        "rows": 40,
        "price": 2.5,
    },
    "seeds": [0, 1],
}
THIEVES = SPEC["extraction"]["thieves"]
NOISE = {"kind": "PixelDP"}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    document = audit(SPEC, store)
    assert document["failures"] == []
    return document, store


def test_the_document_tells_what_each_thief_got(audited):
    document, store = audited
    Draft202012Validator(schema()).validate(validate(document))
    found = document["models"]["m"]["extraction"]
    assert found["price"] == 2.5
    assert set(found["thieves"]) == {"best", "searching"}
    for name, queries in (("best", 240), ("searching", 60)):
        for entry in (found["thieves"][name], found["thieves"][name]["random"]):
            assert entry["queries"] == entry["limit"] == queries
            assert entry["looks"]["passes"][-1]["queries"] == queries
            for part in ("benign", "adversarial"):
                assert entry[part]["rows"] == 40
                for which in ("final", "best"):
                    numbers = entry[part][which]
                    assert len(numbers["accuracy"]["seeds"]) == 2
    cells, _ = plan_trained(SPEC)
    steal, benign = (cells[1].thefts["best"][part] for part in ("steal", "benign"))
    facts = store.read(key(benign)).facts
    told = found["thieves"]["best"]["benign"]["final"]["fidelity"]["seeds"][1]
    assert told["value"] == facts["final"]["fidelity"]["value"]
    assert isinstance(steal, Steal)
    for name in THIEVES:
        under = found["thieves"][name]["under"]["further"]
        assert under["rows"] == 30
        assert {"accuracy", "of_accuracy", "steady"} <= set(under["best"])
        assert found["thieves"][name]["pool"] == 60
        assert set(found["thieves"][name]["published"]) == {
            "accuracy", "fidelity", "robust_accuracy"
        }  # fmt: skip
    assert list(found["transfer"]) == ["victim", *THIEVES]
    for maker, row in found["transfer"].items():
        assert list(row) == ["victim", *THIEVES]
        assert all(len(metric["seeds"]) == 2 for metric in row.values()), maker
    names = loot(SPEC, document)
    assert set(names["stolen"]) == set(THIEVES)
    for path in ends(names):
        place = document["models"]["m"]["extraction"]
        for below in ({"stolen": "thieves"}.get(path[0], path[0]), *path[1:]):
            place = place[below]
        assert {"value", "low", "high"} <= set(place) or "not_evaluable" in place, path
    methods = document["thieves"]
    assert methods["best"]["title"] == "Boundary Entropy Searching Thief"
    assert methods["best"]["atlas"] == "AML.T0024.002"


def ends(names):
    """The path of each number."""
    return [
        (name, *path) for name, below in names.items() for path in (ends(below) if below else [()])
    ]


def test_the_report_says_it_in_words_tables_and_curves(audited):
    document, _ = audited
    (said,) = thefts.sentences(document)
    assert said.startswith("With ")
    assert "of the accuracy and" in said
    assert "of the robustness of “m”; one that asks as much about random rows gets" in said
    assert "At 2.5 for 1,000 queries it pays 0." in said
    page, text = render_html(document), render_markdown(document)
    assert said in page
    assert "What thieves get" in page
    assert "theft-0-robust_accuracy" in page
    assert "With " in text
    assert "random rows" in text
    assert render_text(document).document is document
    captions = [table.caption for table in taken.tables(document)]
    assert captions[0] == "m, stolen by best (Boundary Entropy Searching Thief)"
    assert captions[1].startswith("m, stolen by searching (")
    made = [
        row for table in taken.tables(document) for row in table.rows if row[0][:7] == "To make"
    ]
    assert [row[0] for row in made] == ["To make 20 queries"]  # the other sends rows as they are
    assert made[0][1].endswith(" s")
    for table in taken.tables(document):
        table.rows[:] = [row for row in table.rows if row not in made]
        assert [row[0] for row in table.rows][:5] == [
            "Rows that the thief holds", "Queries", "Accuracy",
            "Same label as the model (fidelity)", "of the model's accuracy",
        ]  # fmt: skip
        leads = [row for row in table.rows if row[0].startswith("Lead of the best student")]
        assert [row[1] for row in leads] == ["-"] * 3
        assert all("points (" in row[2] for row in leads)
        assert all("-" not in (row[1], row[2], row[4]) for row in table.rows if row not in leads)
        further = ["Accuracy under further on 30 rows"]
        assert [row[0] for row in table.rows if row[5] != "-"] == [
            "Accuracy", "Accuracy under attack", *further
        ]  # fmt: skip
        published = [row[0] for row in table.rows[2:] if row[3] != "-"]
        assert published == [
            "Accuracy", "Same label as the model (fidelity)", "Accuracy under attack"
        ]  # fmt: skip
    figures = thefts.curves(document)
    assert [figure.id for figure in figures] == ["theft-0-accuracy", "theft-0-robust_accuracy"]
    assert [key.name for key in figures[0].legend] == ["best", "searching", "random rows"]


def test_what_is_remarked_stands_in_every_report(audited):
    document, _ = audited
    thief = thefts.most(document["models"]["m"])
    entry = document["models"]["m"]["extraction"]["thieves"][thief]
    said = [*taken.remarks(document), *exchanged.remarks(document)]
    assert len(said) == 3
    assert f"Of the accuracy of “m” under further attacks {thief} gets" in said[0]
    assert said[0].endswith("under further.")
    lead = entry["adversarial"]["overfitting"]
    assert f"leads the last by {100 * lead['value']:z.1f} points" in said[1]
    chosen = entry["published"]["robust_accuracy"]
    assert f"as papers report it, {100 * chosen['value']:.1f} %" in said[1]
    console = Console(width=200, file=io.StringIO())
    console.print(render_text(document))
    text = " ".join(console.file.getvalue().split())
    page, markdown = html.unescape(render_html(document)), render_markdown(document)
    for remark in said:
        assert remark in page
        assert remark.split(" (")[0] in text
        assert escaped(remark) in markdown
    assert "adversarial examples tried on each other" in text
    for table in taken.tables(document):
        assert escaped(table.caption) in markdown
        assert table.caption in page
    assert "What thieves get, by number" in markdown


def test_a_build_stops_on_what_a_thief_got(audited, tmp_path):
    _, store = audited
    met, unmet = "m:stolen.best.benign.final.accuracy >= 0", "transfer.best.victim.low > 1"
    out = Outputs(page=False, quiet=True, junit=tmp_path / "junit.xml")
    assert deliver(SPEC, [met, unmet], out, store=store) == 3
    junit = (tmp_path / "junit.xml").read_text()
    assert "model m, stolen.best.benign.final.accuracy.value is 0." in junit
    assert deliver(SPEC, [unmet], Outputs(page=False, quiet=True), store=store) == 0


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("stolen.bset.benign.final.accuracy > 0", "There is: best, searching"),
        ("stolen.best.under.other.final.accuracy > 0", "There is: further"),
    ],
)
def test_a_condition_on_no_thief_is_refused_before_any_work(condition, said, store):
    with pytest.raises(BadInput, match=said):
        deliver(SPEC, [condition], Outputs(page=False, quiet=True), store=store)
    assert list(store.entries()) == []


def test_the_matrix_is_a_picture_and_a_table(audited):
    document, _ = audited
    matrix = document["models"]["m"]["extraction"]["transfer"]
    (figure,) = exchanged.matrices(document)
    assert figure.id == "transfer-0"
    (trace,) = figure.data
    names = list(matrix)
    for x, y, text in zip(trace["x"], trace["y"], trace["text"], strict=True):
        assert text == f"{100 * matrix[names[y]][names[x]]['value']:.0f}"
    shades = {
        (each["x0"] + 0.5, each["y0"] + 0.5): float(each["fillcolor"].split("/")[1])
        for each in figure.layout["shapes"]
    }
    assert len(shades) == 9
    values = [matrix[names[int(y)]][names[int(x)]]["value"] for x, y in shades]
    order = sorted(range(9), key=lambda i: values[i])
    assert sorted(shades.values()) == [list(shades.values())[i] for i in order]
    (table,) = figure.tables
    assert [row[0] for row in table.rows] == ["The model", *THIEVES]
    assert table.columns[1:] == [f"{name} tried" for name in ("The model", *THIEVES)]
    assert table.rows[1][3].startswith(f"{100 * matrix['best']['searching']['value']:.1f} %")
    assert exchanged.matrices({"models": {"m": {}}}) == []


def test_a_thief_that_failed_is_told(store, monkeypatch):
    def fails(self, bench):
        raise BadInput("victim", "answers no more")

    monkeypatch.setattr(Steal, "run", fails)
    document = validate(audit({**SPEC, "seeds": [0]}, store))
    found = document["models"]["m"]["extraction"]["thieves"]["best"]
    assert found["not_evaluable"] == "the theft failed with seed 0; see failures"
    assert document["status"] == "incomplete"
    assert "the theft failed with seed 0; see failures" in render_html(document)
    assert thefts.sentences(document) == []
    assert taken.remarks(document) == exchanged.remarks(document) == taken.tables(document) == []
    assert "What thieves get, by number" not in render_markdown(document)


OTHER = {"kind": "Digits", "members": 40, "nonmembers": 10}


@pytest.mark.parametrize(
    "means",
    [
        {"student": {"kind": "MLP", "hidden": [9]}},
        {"start": {"data": OTHER}},
        {"pool": {"auxiliary": 20}},
        {"pool": {"others": [OTHER]}},
        {"tells": []},
    ],
)
def test_what_one_thief_has_of_its_own_moves_no_other_thiefs_keys(means):
    table = {**SPEC, "extraction": {**SPEC["extraction"], "own": {"best": means}}}
    before, after = (plan_trained(each)[0][0].thefts for each in (SPEC, table))
    for part, stage in before["best"].items():
        assert key(after["best"][part]) != key(stage), part  # its random twin has the same means
    assert {key(stage) for stage in before["searching"].values()} == {
        key(stage) for stage in after["searching"].values()
    }
    for own in (means, {"own": dict.fromkeys(THIEVES, means)}):  # said of all, or of each
        found = plan_trained({**SPEC, "extraction": {**SPEC["extraction"], **own}})[0][0].thefts
        assert key(found["best"]["steal"]) == key(after["best"]["steal"])
        assert key(found["searching"]["steal"]) != key(before["searching"]["steal"])


def test_further_attacks_and_exchange_move_no_theft():
    told = {k: v for k, v in SPEC["extraction"].items() if k not in ("under", "transfer")}
    bare, full = (
        plan_trained({**SPEC, "extraction": each})[0][0] for each in (told, SPEC["extraction"])
    )
    assert bare.exchange is None
    assert full.exchange.names == tuple(THIEVES)
    for name, stages in bare.thefts.items():
        for part, stage in stages.items():
            assert key(full.thefts[name][part]) == key(stage)
        extra = set(full.thefts[name]) - set(stages)
        assert extra == {"under.further", "random_under.further"}


def test_without_it_nothing_is_stolen_and_no_other_key_moves():
    plain = {name: value for name, value in SPEC.items() if name != "extraction"}
    (bare, _), (stolen, _) = plan_trained(plain)[0], plan_trained(SPEC)[0]
    assert bare.thefts == {}
    theirs = {key(stage) for stage in stolen.stages()}
    assert {key(stage) for stage in bare.stages()} < theirs


def test_a_random_thief_asks_as_much_and_learns_as_long():
    one = random_twin(Vanilla(queries=70, epochs=9, batch=7))
    assert one == RandomQueries(queries=70, epochs=9, batch=7)
    other = random_twin(ActiveThief(queries=70, epochs=9, batch=7))
    assert other == KnockoffNets(queries=70, rounds=10, epochs=9, batch=7)


def test_a_thief_hears_what_the_models_defences_leave():
    def tells(defences, told):
        model = {"recipe": RECIPE, "defences": defences}
        table = {**SPEC, "models": {"m": model}, "extraction": {**SPEC["extraction"], **told}}
        return plan_trained(table)[0][0].thefts["best"]["steal"].tells

    rounding = {"kind": "Rounding", "digits": 1}
    assert tells([rounding], {}) == (LabelOnly(),)
    assert tells([rounding], {"tells": []}) == (Rounding(digits=1),)
    assert tells([{"kind": "MemGuard"}], {}) == (LabelOnly(),)
    with pytest.raises(BadInput, match=r"models\.m is behind MemGuard"):
        tells([{"kind": "MemGuard"}], {"tells": []})


def declared(**changes):
    return experiment({**SPEC, "extraction": {**SPEC["extraction"], **changes}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thieves": {}}, "there is none"),
        ({"every": 0}, "every"),
        ({"rows": 0}, "rows"),
        ({"price": 0}, "price"),
        ({"thieves": {"a:b": THIEVES["best"]}}, "a:b"),
        ({"tells": [{"kind": "MemGuard"}]}, "MemGuard is a defence of a model"),
        ({"thieves": {"best": {"kind": "BESTT"}}}, "BESTT"),
        (
            {"thieves": {"victim": THIEVES["best"]}},
            r"thieves\.victim: is what reports call another",
        ),
        ({"thieves": {"random": THIEVES["best"]}}, r"thieves\.random: is what reports call"),
        ({"own": {"nobody": {}}}, r"own\.nobody: is no thief. Declared: best, searching"),
        ({"own": {"best": {"tells": [{"kind": "MemGuard"}]}}}, "tells: MemGuard is a defence"),
        ({"own": {"best": {"thieves": {}}}}, "thieves"),
        ({"pool": {"auxiliary": 0, "victim_training_rows": 0}}, "pool: has no rows"),
        ({"pool": {"auxiliary": -1}}, "auxiliary"),
        ({"pool": {"auxiliary": 61}}, r"61 of the auxiliary rows are wanted: models\.m has 60"),
        ({"pool": {"victim_training_rows": 1}}, r"models\.m has no victim_training_rows rows"),
        ({"student": {**RECIPE, "noise": NOISE}}, "student: a thief's own model has no noise"),
        (
            {"start": {"data": OTHER, "recipe": {**RECIPE, "noise": NOISE}}},
            r"start\.recipe: a thief's own model has no noise",
        ),
        (
            {"own": {"best": {"student": {**RECIPE, "noise": NOISE}}}},
            "student: a thief's own model has no noise",
        ),
        ({"under": {"a=b": {"attack": PGD}}}, "a=b"),
        ({"under": {"x": {"attack": PGD, "rows": 0}}}, "rows"),
        ({"under": {"x": {"attack": {"kind": "PGDD"}}}}, "PGDD"),
        ({"transfer": {"kind": "PGDD"}}, "PGDD"),
    ],
)
def test_what_cannot_be_stolen_is_refused(changes, said):
    with pytest.raises(BadInput, match=said):
        declared(**changes)


@pytest.mark.parametrize("part", ["auxiliary", "validation"])
def test_a_split_without_rows_for_a_thief_is_refused_before_any_work(part, store):
    data = {name: rows for name, rows in SPEC["data"].items() if name != part}
    events = []
    with pytest.raises(BadInput, match=f"models.m has no {part} rows"):
        audit({**SPEC, "data": data}, store, on_event=events.append)
    assert not [event for event in events if isinstance(event, Finished)]


def test_recorded_predictions_say_why_nothing_is_stolen(tmp_path, store):
    import numpy as np

    file = tmp_path / "recorded.npz"
    rng = np.random.default_rng(0)
    np.savez(file, confidence_train=rng.random(40), confidence_test=rng.random(40))
    models = {"m": SPEC["models"]["m"], "old": {"predictions": str(file)}}
    few = {name: SPEC["extraction"][name] for name in ("student", "every", "rows")}
    few["thieves"] = {"best": {"kind": "RandomQueries", "epochs": 1, "batch": 20}}
    table = {**SPEC, "models": models, "seeds": [0], "extraction": few}
    document = validate(audit(table, store))
    found = document["models"]["old"]["extraction"]
    assert json.dumps(found)
    (why,) = thefts.failed(document)
    assert why == f"old: {found['not_evaluable']}"
    assert why in render_html(document)

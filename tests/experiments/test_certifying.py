"""Certified radii in an audit: what is sure, what it costs, and that no attack contradicts it."""

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

from trilemma.attacks.evasion import PGD, pgd
from trilemma.attacks.membership import VerifiedConfidence
from trilemma.bounds import Interval, margins
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.data import Digits, source_digest
from trilemma.experiments import certifying
from trilemma.experiments.audit import audit
from trilemma.experiments.certifying import DECLARED, MULTIPLES, Certify, CertifyNoise
from trilemma.experiments.execution import run
from trilemma.experiments.graph import Bench, key
from trilemma.experiments.radii import Radii
from trilemma.experiments.reports import schema
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import Respond, Split, Train, candidates, restore
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.experiments.verifying import Verify
from trilemma.models import Certified, PixelDP, certified
from trilemma.training.recipes import MLP

BALL = Linf(0.02)
ATTACK = VerifiedConfidence(ball=BALL, domain=Interval())
DATA = {"kind": "Digits", "members": 40, "nonmembers": 30}
RECIPE = {"kind": "MLP", "epochs": 60, "hidden": [32]}
IV = {
    "kind": "VerifiedConfidence",
    "ball": {"kind": "Linf", "radius": 0.02},
    "domain": {"kind": "Interval"},
}
SPEC = {"name": "far", "data": DATA, "models": {"m": {"recipe": RECIPE}}, "attacks": {"iv": IV}}


class Desk(Bench):
    """What finished stages left in a store."""

    def __init__(self, store):
        self.store = store

    scratch = None

    def load(self, parent):
        return self.store.read(key(parent))

    def progress(self, done, total, note=""):
        pass


def trained(noise=None):
    data = Digits(members=40, nonmembers=30)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    recipe = MLP(hidden=(32,), epochs=60, noise=noise)
    source = Train(split=split, model=Trained(recipe=recipe), box=UNIT, seed=0)
    return {"split": split, "source": source}


def stage(rows=1000, **given):
    common = {**trained(), "box": UNIT}
    verify = Verify(attack=ATTACK, **common)
    benign = Respond(perturbation=None, seed=0, **common)
    return Certify(
        verified=verify, benign=benign, attack=ATTACK, seed=0, rows=rows, **common, **given
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One for all tests of this file: models are trained once."""
    return Store(tmp_path_factory.mktemp("certifying"))


def rows_of(made, store):
    model = restore(made.source, made.split, Desk(store))
    x, y, member = candidates(store.read(key(made.split)))
    return model, x, y, member


def test_it_is_the_largest_proven_radius_by_brute_force(store):
    """Interval bounds are monotone in the radius, so that nothing is missed."""
    made = stage()
    run([made], store)
    found = store.read(key(made))
    assert found.facts["radii"] == [0.02 * multiple for multiple in MULTIPLES]
    model, x, y, member = rows_of(made, store)
    assert (found.arrays["member"] == member).all()
    proven = [np.array((model(x).argmax(1) == y).tolist())]
    for radius in found.facts["radii"][1:]:
        least = margins(model, x, y, Linf(radius), Interval(), UNIT).detach()
        proven.append((least.scatter(1, y.view(-1, 1), torch.inf) > 0).all(1).numpy())
    places = np.stack(proven).sum(0) - 1
    expected = np.where(places < 0, -1.0, np.array(found.facts["radii"])[places])
    assert found.arrays["radius"].tolist() == expected.tolist()
    assert len(set(found.arrays["radius"])) > 4  # the grid tells rows apart


def test_no_attack_finds_anything_within_a_rows_radius(store):
    made = stage()
    run([made], store)
    radius = store.read(key(made)).arrays["radius"]
    model, x, y, _ = rows_of(made, store)
    fell = []
    for multiple in MULTIPLES[1:]:
        sure = radius >= 0.02 * multiple
        config = PGD(ball=Linf(0.02 * multiple), steps=10)
        bad = model(pgd(model, x, y, config, box=UNIT, rng=seeded(1))).argmax(1) != y
        assert not bad.numpy()[sure].any()
        fell.append(int(bad.sum()))
    assert fell[-1] > fell[0] > 0  # the attack is one


def test_bounds_that_are_not_monotone_cost_radii_but_no_soundness(monkeypatch):
    """A row ends at a radius that was proven for it, whatever other radii would have said."""

    def odd(row, multiple):
        return (row.long() % 3 == int(10 * multiple) % 3).flatten().numpy()

    monkeypatch.setattr(Certify, "_proven", lambda self, model, x, y, multiple: odd(x, multiple))
    proven, open_ = np.arange(60) % 2 == 0, np.arange(60) % 4 != 3
    row = torch.arange(60.0).view(-1, 1)
    found = stage()._reach(torch.nn.Identity(), row, torch.arange(60), proven, open_)
    assert (found[proven] >= DECLARED).all()
    assert (found[~proven] < DECLARED).all()
    assert (found[~open_] == 0).all()
    for place in set(found) - {0, DECLARED}:
        assert odd(row, MULTIPLES[place])[found == place].all()
    assert len(set(found)) == 4


def test_two_bounds_a_row_and_none_for_rows_that_are_wrong(store, monkeypatch):
    made, asked, real = stage(rows=38), [], Certify._proven

    def counts(self, model, x, y, multiple):
        asked.append(len(x))
        return real(self, model, x, y, multiple)

    monkeypatch.setattr(Certify, "_proven", counts)
    run([made], store)
    right = int((store.read(key(made)).arrays["radius"] >= 0).sum())
    assert sum(asked) == 2 * right < 2 * 68


def test_neither_the_chunks_nor_a_crash_change_it(store, tmp_path, monkeypatch):
    whole, chunked = stage(), stage(chunk=9)
    assert key(whole) == key(chunked)
    run([whole], store)
    calls, real = [], Certify._reach

    def breaks(self, model, x, *rest):
        calls.append(len(x))
        if len(calls) == 4:
            raise RuntimeError("the machine went away")
        return real(self, model, x, *rest)

    monkeypatch.setattr(Certify, "_reach", breaks)
    monkeypatch.setattr("trilemma.experiments.making._PAUSE", 0)
    other = Store(tmp_path / "other")
    assert "went away" in run([chunked], other)[chunked].error
    run([chunked], other)
    assert calls == [9] * 8 + [7]  # eight chunks, of which the fourth was tried twice
    one, two = (s.read(key(whole)).arrays for s in (store, other))
    assert all((array == two[name]).all() for name, array in one.items())


def test_so_many_rows_of_each_side_are_searched_and_these_as_in_the_whole(store):
    few, all_ = stage(rows=12), stage()
    run([few, all_], store)
    some, every = (store.read(key(each)).arrays for each in (few, all_))
    assert (int(some["member"].sum()), int((~some["member"]).sum())) == (12, 12)
    assert (some["radius"] == every["radius"][some["row"]]).all()
    assert every["row"].tolist() == list(range(70))


@pytest.fixture(scope="module")
def document(store):
    return audit({**SPEC, "seeds": [0, 1]}, store)


def test_the_curve_at_the_declared_radius_is_the_verified_accuracy(document):
    Draft202012Validator(schema()).validate(document)
    model = document["models"]["m"]
    curves = model["certified"]["verified"]
    assert curves["ball"] == {"kind": "Linf", "radius": 0.02}
    assert curves["rows"] == {"members": 40, "nonmembers": 30}
    for part in ("train", "test"):
        assert curves[part][DECLARED] == model["accuracy"][f"verified_{part}"]
        assert curves[part][0] == model["accuracy"][part]
        for seed in (0, 1):
            values = [share["seeds"][seed]["value"] for share in curves[part]]
            assert values == sorted(values, reverse=True)
        assert curves[part][0]["value"] > curves[part][-1]["value"]
        # PGD-20 in the declared ball leaves no less
        assert curves[part][DECLARED]["value"] <= model["accuracy"][f"adversarial_{part}"]["value"]


def test_it_can_be_left_out():
    (asked,), (silent,) = (
        plan_trained(table)[0] for table in (SPEC, {**SPEC, "certified_rows": 0})
    )
    assert set(asked.certified) == {"verified"}
    assert set(silent.certified) == set()
    assert set(silent.verified) == {"verified"}
    with pytest.raises(BadInput, match="certified_rows"):
        plan_trained({**SPEC, "certified_rows": -1})


def test_what_only_recorded_answers_tell_is_not_certified(tmp_path):
    path = tmp_path / "old.npz"
    probabilities, label = np.full((20, 2), 0.5), np.arange(20) % 2
    np.savez(
        path,
        output_train=probabilities, train_label=label, output_test=probabilities, test_label=label,
    )  # fmt: skip
    cells, _ = plan_trained(
        {**SPEC, "models": {"old": {"predictions": str(path)}, **SPEC["models"]}}
    )
    assert [set(cell.certified) for cell in cells] == [set(), {"verified"}]


NOISE = PixelDP(budget=0.02, draws=3)


def noisy(**given):
    made = {**trained(NOISE), "noise": NOISE, "certificate": Certified(draws=200), "seed": 0}
    return CertifyNoise(**{**made, "rows": 1000, **given})


def test_a_noise_layers_radius_is_that_of_its_certificate(store, tmp_path):
    made = noisy()
    run([made], store)
    found = store.read(key(made))
    model, x, y, member = rows_of(made, store)
    rng = seeded(certifying.stream("certificate", 0))
    expected = certified(model, x, Certified(draws=200), rng=rng)
    right = (expected.label == y).numpy()
    radius = found.arrays["radius"]
    assert (found.arrays["member"] == member).all()
    assert (radius[~right] == -1).all()
    # a certificate holds for changes *smaller* than its radius
    assert (radius[right] <= expected.radius.numpy()[right]).all()
    np.testing.assert_allclose(radius[right], expected.radius.numpy()[right], rtol=1e-12)
    assert (radius > 0).any()
    assert found.facts["ball"] == {"kind": "L2", "radius": 0.02}
    other = Store(tmp_path / "other")
    run([noisy(chunk=33)], other)
    assert (other.read(key(made)).arrays["radius"] == radius).all()


def test_a_row_does_not_count_at_its_certificates_very_radius(store):
    """Of changes as large as its radius a certificate says nothing."""
    made = noisy()
    run([made], store)
    radius = store.read(key(made)).arrays["radius"]
    model, x, y, _ = rows_of(made, store)
    rng = seeded(certifying.stream("certificate", 0))
    found = certified(model, x, Certified(draws=200), rng=rng)
    some = ((found.label == y) & (found.radius > 0)).numpy()
    assert some.any()
    assert (radius[some] < found.radius.numpy()[some]).all()


def test_an_audit_certifies_models_with_noise_without_being_asked(store):
    table = {
        **SPEC,
        "models": {
            "plain": {"recipe": RECIPE},
            "noisy": {"recipe": {**RECIPE, "noise": {"budget": 0.02, "draws": 3}}},
            "warm": {
                "recipe": {**RECIPE, "noise": {"budget": 0.02, "draws": 3}},
                "temperature": 2,
            },
        },
        "attacks": {"confidence": {"kind": "Confidence"}},
    }
    document = audit(table, store)
    Draft202012Validator(schema()).validate(document)
    assert document["status"] == "complete"
    models = document["models"]
    assert "certified" not in models["plain"]
    curves = models["noisy"]["certified"]["noise"]
    assert curves["radii"][-1] == pytest.approx(0.03)
    assert curves["test"][0]["value"] > curves["test"][2]["value"] >= curves["test"][-1]["value"]
    assert models["warm"]["certified"] == models["noisy"]["certified"]  # it changes no label
    assert document["certificates"]["noise"]["name"] == "PixelDP"
    _, about = plan_trained({**table, "certified_rows": 0})
    assert about["certificates"] == {}


def test_the_shares_are_counts_of_the_stages_rows(store):
    made = stage(rows=20)
    counted = Radii(certified=made)
    run([counted], store)
    arrays, facts = store.read(key(made)).arrays, store.read(key(counted)).facts
    outside = arrays["radius"][~arrays["member"]]
    for radius, share in zip(facts["radii"], facts["test"], strict=True):
        assert share["value"] == pytest.approx((outside >= radius).mean())
    assert facts["rows"] == {"members": 20, "nonmembers": 20}

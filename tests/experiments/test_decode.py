"""Tables become the dataclasses they name, or are refused with path, value and what is allowed."""

from dataclasses import dataclass, field

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import L2, Linf
from trilemma.core.errors import BadInput
from trilemma.core.keys import encode
from trilemma.experiments.decode import decode
from trilemma.experiments.specs import Experiment, experiment
from trilemma.experiments.theft import Means, Pool
from trilemma.oracles.defences import ReverseSigmoid

MINIMAL = """
name: digits
data: {kind: Digits, members: 300, nonmembers: 300}
models:
  robust:
    recipe: {kind: SmallCNN, epochs: 3}
    objective: {kind: Adversarial, attack: {kind: PGD, ball: {kind: Linf, radius: 8/255}, steps: 7}}
attacks:
  confidence_adversarial:
    {kind: AdversarialConfidence, attack: {kind: PGD, ball: {kind: Linf, radius: 0.1}}}
seeds: [0, 1]
"""


def changed(path, value):
    table = yaml.safe_load(MINIMAL)
    *way, last = path.split(".")
    inner = table
    for step in way:
        inner = inner[step]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return table


def test_a_declared_experiment_is_what_python_would_build():
    built = experiment(yaml.safe_load(MINIMAL))
    assert isinstance(built, Experiment)
    assert built.seeds == (0, 1)
    assert built.models["robust"].objective.attack == PGD(ball=Linf(8 / 255), steps=7)
    assert built.measured_under() == PGD(ball=Linf(0.1))


PATH = "models.robust.objective.attack"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("data.kind", "Digit", r"data.kind: must be one of .*; got 'Digit'. Did you mean Digits"),
        ("data", KeyError, "data: is missing"),
        ("models", KeyError, "models: is missing"),
        ("models", {}, "models: there is none"),
        ("models", ["robust"], r"models: must be a mapping of names; got \['robust'\]"),
        ("models.robust.recipe.epoch", 3, "recipe.epoch: is not known. Did you mean epochs"),
        ("models.robust.recipe.epochs", -3, "recipe.epochs: .* greater than .*; got -3"),
        ("models.robust.recipe.epochs", "many", "recipe.epochs: .*integer.*; got 'many'"),
        ("models.robust.recipe", "SmallCNN", "recipe: must be a mapping with `kind`.*'SmallCNN'"),
        (f"{PATH}.steps", 0, f"{PATH}.steps: .* greater than or equal to 1; got 0"),
        (f"{PATH}.ball.radius", -0.1, f"{PATH}.ball.radius: .*; got -0.1"),
        (f"{PATH}.ball.radius", "1/0", f"{PATH}.ball.radius: divides by zero; got '1/0'"),
        (f"{PATH}.ball.radius", "wide", f"{PATH}.ball.radius: .*number.*; got 'wide'"),
        (f"{PATH}.ball.radius", KeyError, f"{PATH}.ball.radius: is missing"),
        (f"{PATH}.ball.kind", "L1", f"{PATH}.ball.kind: must be one of L2, Linf; got 'L1'"),
        (f"{PATH}.kind", KeyError, "attack.kind: must be one of .*PGD.*; got None"),
        ("attacks.confidence_adversarial.kind", "Shadow", "kind: must be one of .*; got 'Shadow'"),
        ("seeds", [], r"seeds: got \[\]"),
        ("seeds", [0, 0], r"seeds: got \[0, 0\]"),
        ("seeds", [0, -1], r"seeds: got \[0, -1\]"),
        ("seeds", "all", "seeds: .*; got 'all'"),
        ("box", {"low": 1, "high": 0}, "box: low 1.* is above high 0"),
        ("extra", 1, "extra: is not known. .*Allowed: name, "),
    ],
)
def test_a_bad_key_is_named_with_its_value_and_what_is_allowed(path, value, said):
    table = changed(path, value)
    with pytest.raises(BadInput, match=said):
        experiment(table)


@given(top=st.integers(0, 10**6), bottom=st.integers(1, 10**6))
def test_a_fraction_is_the_quotient(top, bottom):
    assert decode({"kind": "Linf", "radius": f"{top}/{bottom}"}, Linf | L2) == Linf(top / bottom)


def test_the_table_is_left_alone():
    table = yaml.safe_load(MINIMAL)
    experiment(table)
    assert table == yaml.safe_load(MINIMAL)


@pytest.mark.parametrize(
    "config", [PGD(ball=L2(0.5), steps=3), PGD(ball=Linf(0.1), step_size=0.01)]
)
def test_what_encodes_decodes_to_itself(config):
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "REVISION"}
        return value

    assert decode(plain(encode(config)), PGD) == config


@dataclass(frozen=True)
class Leaf:
    size: int = 0


@dataclass(frozen=True)
class Tree:
    parts: tuple["Leaf | Tree", ...] = field(default=())


def test_kinds_nest_in_tuples():
    table = {"kind": "Tree", "parts": [{"kind": "Leaf", "size": 3}, {"kind": "Tree"}]}
    assert decode(table, Tree) == Tree(parts=(Leaf(3), Tree()))
    with pytest.raises(BadInput, match=r"parts\[1\].kind: must be one of Leaf, Tree; got 'Twig'"):
        decode({"parts": [{"kind": "Leaf"}, {"kind": "Twig"}]}, Tree)


def test_what_may_be_left_out_decodes_like_what_may_not():
    means = decode({"tells": [{"kind": "ReverseSigmoid"}], "pool": {"auxiliary": 3}}, Means)
    assert means == Means(tells=(ReverseSigmoid(),), pool=Pool(auxiliary=3))
    assert decode({"tells": None}, Means) == Means()
    with pytest.raises(BadInput, match=r"tells\[0\].kind: must be one of .*; got 'None'"):
        decode({"tells": [{"kind": "None"}]}, Means)

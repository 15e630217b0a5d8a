"""A costly attack on some rows: which, in which portions, and what a crash leaves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.evasion import ATTACKS, PGD, AutoAttack
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.data import Digits, source_digest
from trilemma.experiments.events import Advanced
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.parts import chosen
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import Respond, Split, Train
from trilemma.experiments.store import Store
from trilemma.experiments.thorough import Withstand
from trilemma.training.recipes import MLP


@given(
    member=st.lists(st.booleans(), min_size=1, max_size=60).map(np.array),
    rows=st.integers(1, 40),
    seed=st.integers(0, 2**62),
)
def test_rows_are_drawn_from_both_sides_without_a_look_at_them(member, rows, seed):
    found = chosen(member, rows, seed)
    assert (np.diff(found) > 0).all()
    for side in (True, False):
        assert (member[found] == side).sum() == min(rows, (member == side).sum())
    assert (found == chosen(member, rows, seed)).all()


def test_every_row_may_be_drawn():
    member = np.arange(40) < 20
    seen = {int(row) for seed in range(60) for row in chosen(member, 3, seed)}
    assert seen == set(range(40))


def stage(chunk, attack, rows=20):
    data = Digits(members=40, nonmembers=30)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    recipe = MLP(hidden=(8,), epochs=2)
    source = Train(split=split, model=Trained(recipe=recipe), box=UNIT, seed=0)
    given_ = {"split": split, "source": source, "box": UNIT, "seed": 0}
    return Withstand(**given_, attack=attack, rows=rows, chunk=chunk), Respond(
        **given_, perturbation=attack
    )


def test_neither_the_chunks_nor_the_other_rows_change_a_row(store, tmp_path):
    attack = PGD(ball=Linf(0.2), steps=3)
    found = []
    for chunk in (7, 128):
        some, every = stage(chunk, attack)
        here = Store(tmp_path / str(chunk))
        run([some, every], here)
        found.append(here.read(key(some)).arrays)
    whole = here.read(key(every)).arrays
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=1e-5, atol=1e-6)
        if name != "row":
            rows = whole[name][found[0]["row"]]
            np.testing.assert_allclose(array, rows, rtol=1e-5, atol=1e-6)
    assert len(found[0]["row"]) == 40


def test_a_long_attack_says_how_far_it_is(store, monkeypatch):
    monkeypatch.setattr("trilemma.experiments.making._PAUSE", 0)
    events = []
    some, _ = stage(8, PGD(ball=Linf(0.2), steps=3))
    run([some], store, on_event=events.append)
    told = [e for e in events if isinstance(e, Advanced) and e.label == some.label()]
    assert [e.done for e in told] == sorted(e.done for e in told)
    assert {e.done for e in told} == {0, 8, 16, 24, 32, 40}
    assert {e.total for e in told} == {40}
    assert len(told) > 3 * 5  # also within a chunk: at each call of the model
    assert told[-2].note == f"{40 * 4:,} rows asked about"  # three steps and the last answer


def test_what_was_attacked_before_a_crash_is_not_attacked_again(store, monkeypatch):
    calls = []

    def breaks(model, x, *rest, **named):
        calls.append(len(x))
        if len(calls) == 3:
            raise RuntimeError("the machine went away")
        return x

    monkeypatch.setitem(ATTACKS, AutoAttack, breaks)
    some, _ = stage(8, AutoAttack(ball=Linf(0.2)))
    assert "went away" in run([some], store)[some].error
    run([some], store)
    assert calls == [8] * 6  # five chunks, of which the third was tried twice
    assert len(store.read(key(some)).arrays["label"]) == 40

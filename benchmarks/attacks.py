"""Every attack against the study's two Fashion-MNIST models: what it finds, asks and takes.

    python -m benchmarks.attacks [--images 512] [--only NAME ...]

Not a race: it shows each attack at work on real models. The models are those of
`fashion.yaml` (seed 0, natural and adversarially trained with L_inf radius 0.1); they are
trained once, which takes about half an hour, and kept in `.cache`.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.counting import Counted
from benchmarks.records import Row, save
from benchmarks.setting import CACHE, CLASSES, images
from trilemma.attacks import evasion as ev
from trilemma.core.balls import L2, Linf
from trilemma.core.generators import seeded
from trilemma.experiments.audit import audit
from trilemma.experiments.specs import experiment
from trilemma.experiments.store import Store
from trilemma.oracles import Local
from trilemma.training.recipes import build

LINF, EUCLIDEAN = Linf(0.1), L2(1.0)
MODELS = ("natural", "robust")
DECLARED = Path(__file__).with_name("fashion.yaml")
QUERIES = 1000  # of one image, of those that ask an oracle
ROWS = 64  # a call; not measured, so that nothing but the attack is counted

INSIDE = {  # attacks that look for a misclassified point in a ball
    "FGSM": lambda ball: ev.FGSM(ball=ball),
    "I-FGSM, 10 steps": lambda ball: ev.IFGSM(ball=ball, steps=10),
    "PGD-20": lambda ball: ev.PGD(ball=ball, steps=20),
    "PGD-20, TRADES' KL": lambda ball: ev.PGD(ball=ball, steps=20, loss=ev.BenignKL()),
    "PGD-100": lambda ball: ev.PGD(ball=ball, steps=100),
    "CW-100": lambda ball: ev.CW100(ball=ball),
    "APGD-CE": lambda ball: ev.APGD(ball=ball),
}
COSTLY = {
    "APGD-T": lambda ball: ev.APGDT(ball=ball),
    "FAB-T": lambda ball: ev.FABT(ball=ball),
    "Square, 5,000 queries": lambda ball: ev.Square(ball=ball),
    "AutoAttack": lambda ball: ev.AutoAttack(ball=ball),
}
NEAREST = {  # attacks that look for the nearest one, white box
    "Carlini-Wagner": ev.CarliniWagner(),
    "distributional, L2 penalty, gamma 1": ev.Distributional(gamma=1.0, penalty=ev.L2Penalty()),
    "distributional, Linf penalty, gamma 1": ev.Distributional(gamma=1.0, penalty=ev.LinfPenalty()),
}


def main() -> None:
    """Run what was asked for and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--costly", type=int, default=512, help="images for the costly attacks")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--only", nargs="*", default=(), help="parts of titles")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.models:
        model = study_model(name)
        few = chosen.images, chosen.costly
        for case, job, n in jobs(*few):
            if not chosen.only or any(word in case for word in chosen.only):
                save("attacks", [measured(model, name, case, job, n)], ("case", "model"))


Job = Callable[[nn.Module, Tensor, Tensor], dict[str, Any]]


def jobs(many: int, few: int) -> Iterator[tuple[str, Job, int]]:
    """Every attack by title, and for how many images; each returns what it found."""
    where = f"Linf {LINF.radius:g}"
    for title, config in INSIDE.items():
        yield f"{title} ({where})", _inside(config(LINF)), many
    for title, config in COSTLY.items():
        yield f"{title} ({where})", _inside(config(LINF)), few
    yield f"PGD-20 (L2 {EUCLIDEAN.radius:g})", _inside(ev.PGD(ball=EUCLIDEAN)), many
    yield f"AutoAttack (L2 {EUCLIDEAN.radius:g})", _inside(ev.AutoAttack(ball=EUCLIDEAN)), few
    for title, config in NEAREST.items():
        yield title, _nearest(config), few
    yield f"targeted PGD-20, all wrong labels ({where})", _all_labels, few
    yield f"uncertain examples, 10 steps ({where})", _uncertain, many
    for norm in (2, math.inf):
        for title, config in decisions(norm, QUERIES).items():
            where = "L2" if norm == 2 else "Linf"
            yield f"{title}, {QUERIES:,} queries ({where})", _decision(config), few


def decisions(norm: float, queries: int) -> dict[str, ev.QueryBased]:
    """Those that ask an oracle."""
    given: dict[str, Any] = {"norm": norm, "max_queries": queries}
    found = {
        "HopSkipJump": ev.HopSkipJump(**given),
        "HopSkipJump as published": ev.HopSkipJump.published(**given),
        "QEBA, spatial": ev.QEBA(**given),
        "QEBA, DCT": ev.QEBA(subspace=ev.DCT(), **given),
        "QEBA, PCA of other images": ev.QEBA(subspace=ev.PCA(), **given),
    }
    return {**found, "ZOO (scores)": ev.ZOO(**given)} if norm == 2 else found


def measured(model: nn.Module, name: str, case: str, job: Job, n: int) -> Row:
    """What the attack found, with the rows it asked about and the seconds it took."""
    x, y = images(n, correct_for=None)
    counting = Counted(model)
    started = time.process_time()
    found = job(counting, x, y)
    seconds = time.process_time() - started
    return {"case": case, "model": name, "images": n, **found, "seconds": seconds}


def _inside(config: Any) -> Job:
    def run(model: Counted, x: Tensor, y: Tensor) -> dict[str, Any]:
        x_adv = ev.attack_of(config)(model, x, y, config, rng=seeded(0), batch=ROWS)
        asked = model.tally.rows / len(x)
        return {"robust accuracy": _accuracy(model, x_adv, y), "asked per image": asked}

    return run


def _nearest(config: Any) -> Job:
    def run(model: Counted, x: Tensor, y: Tensor) -> dict[str, Any]:
        x_adv = ev.attack_of(config)(model, x, y, config, rng=seeded(0), batch=ROWS)
        asked = model.tally.rows / len(x)
        right = model(x).argmax(1) == y
        turned = right & (model(x_adv).argmax(1) != y)
        size = (x_adv - x)[turned].flatten(1).norm(dim=1)
        return {
            "robust accuracy": _accuracy(model, x_adv, y),
            "median distance": size.median().item() if len(size) else None,
            "turned": f"{int(turned.sum())} of {int(right.sum())}",
            "asked per image": asked,
        }

    return run


def _all_labels(model: Counted, x: Tensor, y: Tensor) -> dict[str, Any]:
    x_adv, aims = ev.targeted_examples(model, x, y, ev.PGD(ball=LINF), rng=seeded(0), batch=ROWS)
    asked = model.tally.rows / len(x)
    wrong = _labels(model, x_adv.flatten(0, 1)).view(aims.shape) != y.view(-1, 1)
    return {"robust accuracy": 1 - wrong.any(1).float().mean().item(), "asked per image": asked}


def _uncertain(model: Counted, x: Tensor, y: Tensor) -> dict[str, Any]:
    config = ev.UncertainExamples(ball=LINF)
    found = ev.uncertain_examples(model, x, config, rng=seeded(0), batch=ROWS)
    asked = model.tally.rows / len(x)
    delta = ev.uncertainty(model, found)
    return {"median delta": delta.median().item(), "asked per image": asked}


def _decision(config: ev.QueryBased) -> Job:
    def run(model: Counted, x: Tensor, y: Tensor) -> dict[str, Any]:
        attack = ev.BOUNDARY_ATTACKS[type(config)]
        pca = isinstance(config, ev.QEBA) and isinstance(config.subspace, ev.PCA)
        more = {"reference": images(len(x) + 512, correct_for=None)[0][-512:]} if pca else {}
        found = attack(Local(model, CLASSES), x, y, config, rng=seeded(0), batch=ROWS, **more)
        right = found.distance > 0
        return {
            "median distance": found.distance[right].median().item(),
            "turned": f"{int(found.distance[right].isfinite().sum())} of {int(right.sum())}",
            "asked per image": found.queries.double().mean().item(),
        }

    return run


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (_labels(model, x) == y).float().mean().item()


def _labels(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(rows).argmax(1) for rows in x.split(256)])


def study_model(name: str) -> nn.Module:
    """One of the study's models, trained if it is not in the cache."""
    kept = CACHE / f"study-{name}.safetensors"
    table = yaml.safe_load(DECLARED.read_text())
    if not kept.exists():
        _train_study({**table, "seeds": [0]})
    declared = experiment(table).models[name]
    x, _ = images(1, correct_for=None)
    model = build(declared.recipe, tuple(x.shape[1:]), CLASSES, seeded(0))
    model.load_state_dict(load_file(kept))
    return model.eval()


def _train_study(table: dict[str, Any]) -> None:
    """Through the engine, as the study does it."""
    print(f"training the models of {DECLARED.name} (once)")
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        audit(table, store)
        for entry in store.entries():
            stage, _, name = str(entry.about["label"]).partition(",")[0].partition(" ")
            if stage == "train":
                arrays = store.read(entry.key).arrays
                state = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
                save_file(state, CACHE / f"study-{name}.safetensors")


if __name__ == "__main__":
    main()

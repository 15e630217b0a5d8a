"""What every benchmark attacks: one small CNN on Fashion-MNIST, its weights kept in `.cache`."""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.attacks.evasion import PGD, pgd
from trilemma.core.balls import Linf
from trilemma.core.generators import seeded
from trilemma.data import FashionMNIST, load

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
CLASSES = 10
BALL = Linf(0.1)
TRAINED_ON = 20_000
INNER = PGD(ball=BALL, steps=7)  # of adversarial training


def cnn() -> nn.Sequential:
    """The network of the issue: 102,482 parameters, as torch makes them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 56), nn.ReLU(), nn.Linear(56, CLASSES)),
    )


def natural() -> nn.Sequential:
    """Two epochs without adversarial examples."""
    return _trained("natural", epochs=2, robust=False)


def robust() -> nn.Sequential:
    """Trained on PGD's examples in the Linf ball of radius 0.1."""
    return _trained("robust", epochs=3, robust=True)


def images(n: int, *, correct_for: nn.Module | None) -> tuple[Tensor, Tensor]:
    """The first n test images and labels; of those that `correct_for` gets right, if given."""
    x, y = _images("test", None if correct_for is not None else n)
    if correct_for is not None:
        with torch.no_grad():
            right = torch.cat([correct_for(rows).argmax(1) for rows in x.split(128)]) == y
        x, y = x[right], y[right]
    if len(x) < n:
        raise SystemExit(f"there are {len(x)} test images, not {n}")
    return x[:n], y[:n]


def starts_for(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """For each row a test image that the model rightly takes for another class."""
    pool, labels = images(2_000, correct_for=model)
    chosen = [int((labels[i:] != label).nonzero()[0]) + i for i, label in enumerate(y.tolist())]
    return pool[torch.tensor(chosen)]


def find_data() -> None:
    """Let trilemma look for data sets in the folder beside the project, if there is one."""
    shared = HERE.parent.parent / "shared" / "data"
    if shared.is_dir():
        os.environ.setdefault("TRILEMMA_DATA", str(shared))


def _images(part: str, n: int | None = None) -> tuple[Tensor, Tensor]:
    """The first n; through trilemma once, then from the cache, where only those are read."""
    kept = CACHE / f"{part}.safetensors"
    if not kept.exists():
        find_data()
        loaded = load(FashionMNIST())
        rows = (loaded.part == (part == "test")).nonzero()[0][:TRAINED_ON]
        CACHE.mkdir(exist_ok=True)
        x, y = torch.from_numpy(loaded.x[rows]), torch.from_numpy(loaded.y[rows])
        save_file({"x": x, "y": y}, kept)
    with safe_open(kept, "pt") as tensors:
        return tensors.get_slice("x")[:n], tensors.get_slice("y")[:n]


def _trained(name: str, *, epochs: int, robust: bool) -> nn.Sequential:
    kept = CACHE / f"{name}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cnn()
    if not kept.exists():
        print(f"training the {name} model (once)")
        _train(model, epochs, robust)
        save_file(model.state_dict(), kept)
    model.load_state_dict(load_file(kept))
    return model.eval()


def _train(model: nn.Sequential, epochs: int, robust: bool) -> None:
    x, y = _images("train")
    optimiser, rng = torch.optim.Adam(model.parameters(), lr=1e-3), seeded(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=rng).split(64):
            inputs = pgd(model, x[rows], y[rows], INNER, rng=rng) if robust else x[rows]
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), y[rows]).backward()
            optimiser.step()

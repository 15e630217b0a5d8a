"""Other libraries, called as their users would; dev-only, compared with and never built upon.

Each function builds a job that returns adversarial inputs as a tensor. A library that is not
installed is left out of the comparison by name.
"""

import logging
import sys
import types
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

Job = Callable[[], Any]

SHAPE, CLASSES = (1, 28, 28), 10


def installed(*modules: str) -> list[str]:
    """Those that are there; says which are not."""
    there = [module for module in modules if find_spec(module)]
    for module in sorted(set(modules) - set(there)):
        print(f"{module} is not installed and is left out")
    return there


def _art(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=shape,
        nb_classes=CLASSES,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def art_hop_skip_jump(
    model: nn.Module, x: Tensor, y: Tensor, iterations: int, starts: Tensor | None
) -> Job:
    """Where no start was found its input comes back as it was."""
    from art.attacks.evasion import HopSkipJump

    logging.getLogger("art").setLevel(logging.ERROR)
    attack = HopSkipJump(_art(model), max_iter=iterations, verbose=False)
    given = {} if starts is None else {"x_adv_init": starts.numpy()}
    return lambda: torch.from_numpy(attack.generate(x.numpy(), y.numpy(), **given))


def art_label_only(model: nn.Module, x: Tensor, y: Tensor, iterations: int) -> Job:
    """Distances as its `LabelOnlyDecisionBoundary` takes them: 0 where the label is wrong, else L2
    to what its HopSkipJump returns.
    """
    from art.attacks.evasion import HopSkipJump

    logging.getLogger("art").setLevel(logging.ERROR)
    known = _art(model, tuple(x.shape[1:]))
    attack = HopSkipJump(known, max_iter=iterations, verbose=False)

    def distances() -> Tensor:
        right = torch.from_numpy(known.predict(x.numpy()).argmax(1)) == y
        found = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
        return (found - x).double().flatten(1).norm(dim=1).where(right, 0.0)

    return distances


def foolbox_hop_skip_jump(
    model: nn.Module, x: Tensor, y: Tensor, iterations: int, starts: Tensor
) -> Job:
    """All rows in one batch; one failed start fails them all."""
    import foolbox

    known = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(steps=iterations)
    return lambda: attack.run(known, x, y, starting_points=starts)


def art_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int) -> Job:
    """In ART's batches of 32, which is its default."""
    from art.attacks.evasion import ProjectedGradientDescent

    attack = ProjectedGradientDescent(
        _art(model), eps=eps, eps_step=step, max_iter=steps, num_random_init=1, verbose=False
    )
    return lambda: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int) -> Job:
    """All rows in one batch."""
    import foolbox

    known = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps)
    return lambda: attack(known, x, y, epsilons=eps)[1]


def torchattacks_pgd(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int
) -> Job:
    """All rows in one batch."""
    import torchattacks

    attack = torchattacks.PGD(model, eps=eps, alpha=step, steps=steps)
    return lambda: attack(x, y)


def adv_lib_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int) -> Job:
    """All rows in one batch."""
    # adv-lib imports a plotting client and pre-trained networks that PGD does not use
    for name, attribute in (("visdom", "Visdom"), ("torchvision", "models")):
        if name not in sys.modules and not find_spec(name):
            sys.modules[name] = types.ModuleType(name)
            setattr(sys.modules[name], attribute, None)
    from adv_lib.attacks.projected_gradient_descent import pgd_linf

    return lambda: pgd_linf(model, x, y, ε=eps, steps=steps, absolute_step_size=step)


def pyautoattack_standard(model: nn.Module, x: Tensor, y: Tensor, eps: float, seed: int) -> Job:
    """AutoAttack standard in its default batches of 250."""
    from pyautoattack import AutoAttack

    warnings.filterwarnings("ignore", module="pyautoattack")
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    attack = AutoAttack(model, eps=eps, seed=seed, device="cpu")
    return lambda: attack.run_standard_evaluation(x, y)[0]

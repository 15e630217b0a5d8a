"""A user's own PyTorch model: loading it, and looking at how it answers.

Importing this module imports no torch; what is called does.
"""

import hashlib
import importlib
import io
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trilemma.core.errors import BadInput, MissingExtra
from trilemma.experiments.user_code import (
    as_on_disk,
    no_such_module,
    parse,
    user_model_fingerprint,
    working_directory_importable,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Found",
    "check_model",
    "load_user_model",
    "state_fingerprint",
    "user_model_fingerprint",
]

SAME = 1e-5  # of the largest output: what another order of summation may change
ON_SIMPLEX = 1e-4  # by which a row of probabilities may miss 1, more in half precision


def load_user_model(spec: str, weights: Path | None) -> "nn.Module":
    """Build a user's model and load its weights.

    The factory is called without arguments; a module class is such a factory, and a module that
    exists already is copied. The global generator is seeded for the call and restored, so that a
    factory that draws weights and is given none returns the same model each time. The user's own
    modules are imported as they lie on disk now (`as_on_disk`).

    Args:
        spec: `package.module:factory`; the working directory is looked in first.
        weights: a safetensors file with the model's state; None where the factory loads it.

    Returns:
        The model, in the mode its factory left it in; one of another precision or on another
        device takes and answers float32 on the CPU (`fitted`).

    Raises:
        BadInput: the spec, the user's code or the weights are wrong; says how, in one sentence.
        MissingExtra: torch is not installed.
    """
    module_name, attribute = parse(spec)
    try:
        from trilemma.core.generators import global_from, seeded
        from trilemma.experiments.fitted import fitted
        from trilemma.models.weights import load_weights
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch", "auditing a PyTorch model") from None
    with working_directory_importable(), as_on_disk(module_name), global_from(seeded(0)):
        factory = _attribute(spec, module_name, attribute)
        model = _build(spec, factory)
    if weights is not None:
        load_weights(model, weights)
    return fitted(model)


def state_fingerprint(model: "nn.Module") -> str:
    """A digest of a model's weights: what `state_dict` holds, by name, dtype, shape and bytes.

    For a model whose factory loads weights that `user_model_fingerprint` does not see. Buffers that
    are not persistent and attributes that are no parameters are not in the state, nor in this.

    Args:
        model: as `load_user_model` returns it; precision and device as the factory left them.

    Returns:
        BLAKE2b-128 in hexadecimal; the order of the entries and the device do not count.
    """
    from trilemma.experiments.fitted import Fitted

    inner = model.model if isinstance(model, Fitted) else model
    whole = hashlib.blake2b(digest_size=16)
    for name, value in sorted(inner.state_dict().items()):
        kind, content = _content(value)
        whole.update(f"{name}\0{kind}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def _content(value: object) -> tuple[str, bytes | memoryview]:
    """What kind of state this is, and its bytes."""
    import torch
    from torch.nn.parameter import is_lazy

    if isinstance(value, torch.Tensor) and is_lazy(value):
        return "not set yet", b""
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
        # bytes by way of uint8: NumPy knows no bfloat16
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return f"{value.dtype} {tuple(value.shape)}", flat.view(torch.uint8).numpy().data
    saved = io.BytesIO()  # a module's own extra state, sparse or quantised tensors
    torch.save(value, saved)
    return type(value).__name__, saved.getvalue()


def _attribute(spec: str, module_name: str, attribute: str) -> object:
    what = f"model {spec!r}"
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise no_such_module(spec, module_name) from None
        raise BadInput(
            what, f"{module_name} needs {error.name}, which is not installed", "Install it"
        ) from None
    except (Exception, SystemExit) as error:
        raise BadInput(what, f"importing {module_name} failed: {_said(error)}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = ", ".join(sorted(n for n in vars(found) if not n.startswith("_"))[:10])
            raise BadInput(what, f"{module_name} has no {name!r}", f"It has: {public or 'nothing'}")
        found = getattr(found, name)
    return found


def _build(spec: str, factory: object) -> "nn.Module":
    from torch import nn

    what = f"model {spec!r}"
    if isinstance(factory, nn.Module):
        return deepcopy(factory)
    if not callable(factory):
        raise BadInput(
            what, f"is a {type(factory).__name__}", "Name a function that returns the model"
        )
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        raise BadInput(
            what,
            f"the factory failed: {_said(error)}",
            "It is called without arguments; wrap it in a function that needs none",
        ) from error
    if not isinstance(model, nn.Module):
        raise BadInput(
            what,
            f"the factory returned a {type(model).__name__}",
            "Return the model itself, a torch.nn.Module",
        )
    return model


@dataclass(frozen=True, kw_only=True)
class Found:
    """How a model answers.

    Args:
        outputs: whether its rows are logits (log-probabilities are logits too) or lie on the
            simplex already.
        classes: width of its answers.
    """

    outputs: Literal["logits", "probabilities"]
    classes: int


def check_model(model: "nn.Module", x_sample: "Tensor", classes: int) -> Found:
    """Ask a model about a few rows, twice, before any work starts.

    Args:
        model: the classifier, of any precision and on any device; asked in eval mode and handed
            back as it came.
        x_sample: (n, *x) inputs as they will be asked later, n >= 1.
        classes: how many classes the labels have.

    Returns:
        Whether it answers logits or probabilities, and about how many classes.

    Raises:
        BadInput: it fails on these inputs, answers no finite (n, classes) table, or answers
            differently to identical inputs.
    """
    import torch

    from trilemma.core.modes import evaluating
    from trilemma.experiments.fitted import Fitted, fitted

    asked = fitted(model)
    with evaluating(asked), torch.no_grad():
        try:
            first, again = asked(x_sample.clone()), asked(x_sample.clone())
        except Exception as error:
            raise BadInput(
                "model",
                f"cannot answer inputs of shape {tuple(x_sample.shape)}: {_said(error)}",
                "Give members in the shape that the model was trained on",
            ) from error
    answer = _table(first, len(x_sample), classes)
    moved = float((answer - again).abs().max())
    if moved > SAME * float(answer.abs().max()):
        raise BadInput(
            "model",
            f"answers differently to identical inputs: outputs differ by up to {moved:.3g}",
            "Turn off what is random in eval mode (functional dropout needs"
            " training=self.training), or seed it from the input",
        )
    missed = float((answer.double().sum(1) - 1).abs().max())
    computed = asked.dtype if isinstance(asked, Fitted) else answer.dtype
    near = max(ON_SIMPLEX, 4 * torch.finfo(computed).eps)
    simplex = missed <= near and bool((answer >= 0).all())
    return Found(outputs="probabilities" if simplex else "logits", classes=classes)


def _table(answer: object, rows: int, classes: int) -> "Tensor":
    """The answer as a table, or what is wrong with it."""
    import torch

    if not isinstance(answer, torch.Tensor):
        raise BadInput(
            "model",
            f"answers a {type(answer).__name__}",
            "Wrap it in a module whose forward returns the logits alone",
        )
    shape = tuple(answer.shape)
    if shape in ((rows,), (rows, 1)):
        raise BadInput(
            "model",
            f"answers one number a row (shape {shape}), {classes} classes need {classes}",
            "Of one logit z for two classes return torch.cat([0 * z, z], dim=1)",
        )
    if answer.ndim != 2 or shape[0] != rows:
        raise BadInput("model", f"answers shape {shape} to {rows} inputs", "Return (n, classes)")
    if shape[1] != classes:
        raise BadInput(
            "model",
            f"answers {shape[1]} numbers a row, the labels have {classes} classes",
            "Give the data that this model was trained for, or say how many classes it tells apart:"
            " --classes on the command line, `classes:` under data in YAML",
        )
    if not answer.is_floating_point():
        raise BadInput("model", f"answers {answer.dtype}", "Return logits, not predicted labels")
    bad = ~torch.isfinite(answer).all(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise BadInput(
            "model",
            f"answers {answer[row][~torch.isfinite(answer[row])][0].item()} to input {row}"
            f" ({int(bad.sum())} of {rows} answers are not finite)",
            "Check the weights and the scale of the inputs",
        )
    return answer


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

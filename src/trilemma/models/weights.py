"""Weights on disk: safetensors, nothing that runs code when it is opened."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from trilemma.core.errors import BadInput

CONVERT = (
    "Only safetensors is read, since a pickle runs code when it is opened. Where you trust the"
    ' file, convert it once: python -c "import torch, safetensors.torch as s;'
    " s.save_file(torch.load('weights.pt', map_location='cpu', weights_only=True),"
    " 'weights.safetensors')\""
)
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
# First bytes of what people hand over as weights
FOREIGN: Mapping[bytes, str] = {
    b"PK\x03\x04": "a zip archive, which is what torch.save and numpy.savez write",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x89HDF": "an HDF5 (Keras) file",
    b"\x93NUMPY": "a NumPy array",
    b"GGUF": "a GGUF file",
}


def save_weights(
    path: Path, tensors: nn.Module | Mapping[str, Tensor], *, facts: Mapping[str, str] | None = None
) -> None:
    """Write a model's state to `path`: whole under its name, or not at all.

    Args:
        path: where to; an existing file is replaced in one step.
        tensors: a model, or named tensors.
        facts: text kept in the file's header.
    """
    named = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors
    content = save({name: _own(tensor) for name, tensor in named.items()}, dict(facts or {}))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file.

    Args:
        path: the file; its content decides, whatever its suffix.

    Raises:
        BadInput: there is no such file; it is a pickle, a zip archive or anything else that is
            not safetensors (nothing of it is executed); it is cut short.
    """
    return read_with_facts(path)[0]


def read_with_facts(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The named tensors of a safetensors file and the text in its header."""
    refuse_foreign(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise BadInput(str(path), f"is not a whole safetensors file ({error})", CONVERT) from error


def refuse_foreign(path: Path) -> None:
    """Raise unless the file's first bytes are those of safetensors.

    Raises:
        BadInput: as `read_weights`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise BadInput(str(path), f"cannot be read ({error.strerror})") from error
    # safetensors: eight bytes, the length of the header, which is a JSON object. Asked first: the
    # length may begin like a pickle does.
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
        return
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise BadInput(str(path), f"is {what}", CONVERT)
    raise BadInput(str(path), "is not a safetensors file", CONVERT)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` with the weights of a safetensors file, every one of them and no other.

    Args:
        model: filled in place; untouched where an error is raised.
        path: the file.

    Raises:
        BadInput: as `read_weights`; or weights are missing, unexpected or of the wrong shape
            (each is named).
    """
    tensors, state = read_weights(path), model.state_dict()
    present = {_place(state[name]) for name in state if name in tensors}
    # of weights that share memory, a file holds one
    missing = [name for name in state if name not in tensors and _place(state[name]) not in present]
    unexpected = [name for name in tensors if name not in state]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(state[name].shape)}"
        for name in state
        if name in tensors and tensors[name].shape != state[name].shape
    ]
    if missing or unexpected or misshapen:
        problems = {
            "missing": missing,
            "unexpected": unexpected,
            "of the wrong shape": misshapen,
        }
        said = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise BadInput(
            str(path), f"does not fit the model ({said})", "Give the weights of this architecture"
        )
    model.load_state_dict(tensors, strict=False)


def _place(tensor: Tensor) -> object:
    """Equal for tensors that are the same memory seen the same way."""
    if tensor.numel() == 0:
        return id(tensor)
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _own(tensor: Tensor) -> Tensor:
    """In memory of its own: safetensors refuses tensors that share."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)

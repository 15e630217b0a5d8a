"""Randomness is a parameter: a `torch.Generator` goes in wherever a number is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


def seeded(seed: int, device: torch.device | str = "cpu") -> Generator:
    """A generator of its own, started at `seed`."""
    return Generator(device=device).manual_seed(seed)


def draw_seed(rng: Generator) -> int:
    """A fresh seed from `rng`, for a generator that must live on its own."""
    return int(torch.randint(2**62, (), generator=rng, device=rng.device))


@contextmanager
def global_from(rng: Generator) -> Iterator[None]:
    """Seed torch's global generators from `rng` and restore them on the way out.

    For what draws from a global generator and cannot be told otherwise: layer initialisation
    and dropout. GPUs count once something has been done on one.
    """
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        seed = draw_seed(rng)
        # not torch.manual_seed, which writes down the call stack for GPUs that may come
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield

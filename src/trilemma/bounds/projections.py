"""Norms of linear maps estimated by random projections."""

import math
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from trilemma.bounds.packing import packed
from trilemma.bounds.sources import (
    Moves,
    Relaxed,
    Source,
    Vectors,
    advanced,
    backward,
    by_columns,
    by_one_layer,
)


@dataclass(frozen=True, eq=False)
class Projections:
    """Random vectors, on their way through a network.

    Args:
        many: r, of each source.
        rng: from which they are drawn, when first needed.
        carried: of each source, by places (see `advanced`).
    """

    many: int
    rng: Generator
    carried: dict[Source, dict[int, Vectors]] = field(default_factory=dict)


def estimates(relaxed: Relaxed, end: int, projections: Projections) -> list[Moves]:
    """As `reaches`, estimated where the exact norms would take more than r vectors.

    What is estimated depends on the network's shapes alone, so that it is the same for all rows.
    """
    found: dict[Source, Moves | None] = {}
    for source in relaxed.sources:
        route = relaxed.route(source.place, end)
        if route is None:
            continue
        found[source] = by_one_layer(relaxed, source, route)
        if found[source] is None and relaxed.shape(end).numel() > projections.many:
            few = int(packed(relaxed.network, source.place, route).max()) < projections.many
            found[source] = (
                by_columns(relaxed, source, route)
                if few
                else _projected(relaxed, source, end, projections)
            )
    rest = [source for source, reach in found.items() if reach is None]
    if rest:
        found |= backward(relaxed, rest, end)
    return [reach for reach in found.values() if reach is not None]


def _projected(relaxed: Relaxed, source: Source, end: int, projections: Projections) -> Moves:
    r"""Estimate of the norm of each row w of the map from a source, its columns times the sizes.

    For Cauchy vectors :math:`|\langle w, C \rangle|` has the median :math:`\|w\|_1`, for normal
    ones :math:`\langle w, C \rangle^2` the mean :math:`\|w\|_2^2` (NeurIPS 2018, section 3.2).
    """
    if source not in projections.carried:
        bank = source.size.new_empty(projections.many, *source.size.shape[1:])
        if source.norm == 1:
            bank.cauchy_(generator=projections.rng)
        else:
            bank.normal_(generator=projections.rng)
        projections.carried[source] = {source.place: bank * source.size.unsqueeze(1)}
    image = advanced(relaxed, projections.carried[source], end)
    if source.norm == 1:
        median: Tensor = image.abs().median(dim=1).values
        return median
    length: Tensor = torch.linalg.vector_norm(image, dim=1)
    return length / math.sqrt(projections.many)

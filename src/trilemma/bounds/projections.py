"""Norms of linear maps estimated by random projections."""

from dataclasses import dataclass, field

from torch import Generator

from trilemma.bounds.convolution import laid
from trilemma.bounds.held import Moves, Vectors, median_size
from trilemma.bounds.packing import packed
from trilemma.bounds.sources import (
    Moving,
    Relaxed,
    Sloped,
    Source,
    advanced,
    backward,
    by_columns,
    by_one_layer,
    powers,
    root,
)


@dataclass(frozen=True, eq=False)
class Banks:
    """Random vectors, which all rows share.

    Args:
        many: r, of each source.
        rng: from which they are drawn, when first needed.
        drawn: by their source's place and norm.
    """

    many: int
    rng: Generator
    drawn: dict[tuple[int, int], Vectors] = field(default_factory=dict)

    def of(self, source: Source) -> Vectors:
        """A source's own."""
        key = source.place, source.norm
        if key not in self.drawn:
            bank = source.size.new_empty(1, self.many, *source.size.shape[1:])
            draw = bank.cauchy_ if source.norm == 1 else bank.normal_
            self.drawn[key] = laid(draw(generator=self.rng))
        return self.drawn[key]


@dataclass(frozen=True, eq=False)
class Projections:
    """The random vectors of some rows, on their way through a network.

    Args:
        banks: from which they come.
        carried: of each source, by places (see `advanced`).
    """

    banks: Banks
    carried: dict[Source, dict[int, Moving]] = field(default_factory=dict)

    @property
    def many(self) -> int:
        """r, of each source."""
        return self.banks.many


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
        bank = projections.banks.of(source)
        projections.carried[source] = {source.place: Sloped(bank, source.size)}
    image = advanced(relaxed, projections.carried[source], end)
    if source.norm == 1:
        median, projections.carried[source][end] = median_size(image)
        return median
    return root(powers(image, 2).mean(1), 2)

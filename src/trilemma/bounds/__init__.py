"""Sound bounds of what a network answers over every input in a ball."""

from trilemma.bounds.bounding import BOUNDS, Bounds, Domain, margins, output_bounds
from trilemma.bounds.interval import Interval

__all__ = ["BOUNDS", "Bounds", "Domain", "Interval", "margins", "output_bounds"]

"""Sound bounds of what a network answers over every input in a ball."""

from trilemma.bounds.bounding import BOUNDS, Bounds, Domain, margins, output_bounds
from trilemma.bounds.crown import Crown, CrownIBP, FastLin
from trilemma.bounds.dual import Dual
from trilemma.bounds.hybrid_zonotope import (
    Boxed,
    Diagonal,
    HybridZonotope,
    Smooth,
    Switched,
)
from trilemma.bounds.interval import Interval
from trilemma.bounds.smoothing import (
    Smoothed,
    Smoothing,
    certified_radius,
    certified_radius_lower,
    certify_smoothed,
    noisy_counts,
    own_and_rival,
)
from trilemma.bounds.zonotope import Zonotope

__all__ = [
    "BOUNDS",
    "Bounds",
    "Boxed",
    "Crown",
    "CrownIBP",
    "Diagonal",
    "Domain",
    "Dual",
    "FastLin",
    "HybridZonotope",
    "Interval",
    "Smooth",
    "Smoothed",
    "Smoothing",
    "Switched",
    "Zonotope",
    "certified_radius",
    "certified_radius_lower",
    "certify_smoothed",
    "margins",
    "noisy_counts",
    "output_bounds",
    "own_and_rival",
]

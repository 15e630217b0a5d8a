"""How a table's columns are brought to a common range, by statistics of the whole pool.

No paper of the four names its scaler (Qin et al. 2023, section 3.1, says "a scaler"). The default
is the unit range, because attacks and bounds then work in the same box [0, 1] as for images.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Values as they are in the file; what tree ensembles take."""

    REVISION: ClassVar[int] = 1

    def __call__(self, x: Table) -> NDArray[np.float32]:
        """x."""
        return x.astype(np.float32)

    def note(self) -> str:
        """For reports."""
        return "features as in the file"


@dataclass(frozen=True, kw_only=True)
class UnitRange:
    """(x - min) / (max - min) of each column; a constant column becomes 0."""

    REVISION: ClassVar[int] = 1

    def __call__(self, x: Table) -> NDArray[np.float32]:
        """Columns in [0, 1].

        Example:
            >>> import numpy as np
            >>> UnitRange()(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist()
            [[0.0, 0.0], [1.0, 0.0]]
        """
        wide = x.astype(np.float64)
        low, high = wide.min(axis=0), wide.max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        scaled: NDArray[np.float32] = ((wide - low) / span).astype(np.float32)
        return scaled

    def note(self) -> str:
        """For reports."""
        return "each feature scaled to [0, 1] by its least and greatest value in the whole table"


@dataclass(frozen=True, kw_only=True)
class Standard:
    """(x - mean) / standard deviation of each column; a constant column becomes 0."""

    REVISION: ClassVar[int] = 1

    def __call__(self, x: Table) -> NDArray[np.float32]:
        """Columns of mean 0 and standard deviation 1.

        Example:
            >>> import numpy as np
            >>> Standard()(np.array([[1.0], [3.0]])).tolist()
            [[-1.0], [1.0]]
        """
        wide = x.astype(np.float64)
        deviation = wide.std(axis=0)
        span = np.where(deviation > 0, deviation, 1.0)
        scaled: NDArray[np.float32] = ((wide - wide.mean(axis=0)) / span).astype(np.float32)
        return scaled

    def note(self) -> str:
        """For reports."""
        return "each feature standardised by its mean and deviation in the whole table"


Scaling = Raw | UnitRange | Standard

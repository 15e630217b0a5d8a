"""Labels alone, as a setting; `TopLabel` is the oracle."""

from typing import ClassVar

from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class LabelOnly:
    """Labels alone.

    Source: Li & Zhang 2021, section 2.2; see `TopLabel`.
    """

    REVISION: ClassVar[int] = 1

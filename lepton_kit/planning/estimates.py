"""A number that was estimated, with its interval, and how such numbers are told."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, with the interval that holds it nine times of ten; ``high`` may be infinite."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """All three times a positive number."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    @property
    def inverse(self) -> Estimate:
        """One over it: of seconds a rate."""
        return Estimate(1.0 / self.value, 1.0 / self.high, 1.0 / self.low)

    def __str__(self) -> str:
        """In three digits.

        >>> str(Estimate(1.41, 1.2, 1.704)), str(Estimate(12000.0, 300.0, math.inf))
        ('1.41 (1.2 to 1.7)', '12,000 (at least 300)')
        """
        beyond = f"at least {digits(self.low)}"
        told = f"{digits(self.low)} to {digits(self.high)}" if math.isfinite(self.high) else beyond
        return f"{digits(self.value)} ({told})" if math.isfinite(self.value) else beyond


def digits(value: float, count: int = 3) -> str:
    """A number in three digits, or in ``count``; a large one is no power of ten.

    >>> digits(1.704), digits(12_345.0), digits(0.0123), digits(999.7), digits(1234.56, 4)
    ('1.7', '12,300', '0.0123', '1,000', '1,235')
    """
    rounded = float(f"{value:.{count}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (count - 1) else f"{rounded:.{count}g}"

"""What a venue charges for an execution."""

from dataclasses import dataclass
from typing import Final

from engine.errors import InputError

RATE_UNIT: Final = 10**8
RATE_PER_BPS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Fees:
    """Rates for making and taking; a negative one is a rebate. Finer than 0.0001 bps is rounded.

    Attributes
    ----------
    maker_bps, taker_bps
        Of the notional, -100 to 1,000.
    in_base
        Spot: a buy pays in the base asset it receives, a sell in quote. Else all is paid in quote.

    Raises
    ------
    InputError
        A rate is outside its bounds.
    """

    maker_bps: float
    taker_bps: float
    in_base: bool = False

    def __post_init__(self) -> None:
        for bps in (self.maker_bps, self.taker_bps):
            if not -100 <= bps <= 1000:
                raise InputError(f"Expected a fee between -100 and 1,000 bps, found {bps}.", bps=bps)

    def rate(self, *, is_maker: bool) -> int:
        """Return the rate as a whole number of 10^-8."""
        return round((self.maker_bps if is_maker else self.taker_bps) * RATE_PER_BPS)


@dataclass(frozen=True, slots=True)
class Charge:
    """The commission of one fill, in 10^-8 of its asset; negative is a rebate."""

    amount: int
    asset: str

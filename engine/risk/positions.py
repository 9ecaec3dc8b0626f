"""What our own fills add up to: position, cash, fees and profit of each instrument, in integers only.

Sums are kept in price units x fine quantity units and turned into money when they are read, so that nothing
is lost fill by fill: a fine unit is 10^-8 base, or the instrument's quantity unit where that is finer.
"""

from collections.abc import Sequence

from engine.facts import FillFact
from engine.instruments import MONEY_DIGITS, Instrument, decimal_text
from engine.orders import Fill
from engine.signals import MarketKind

MORE_DIGITS = 4  # of an average price, beyond those of a price


class Position:
    """The position of one instrument, from our own fills.

    Attributes
    ----------
    fees
        By asset, in 10^-8 of it; negative = rebates were larger.
    n_fills
        Fills applied.

    Notes
    -----
    On spot a commission in the base asset comes off the position. It is booked as a sale at the fill's own
    price whose proceeds are the fee, so that the profit before fees knows nothing of it and the profit after
    fees holds all of it. A commission in the quote asset is counted as it is, one in the base asset of
    futures at the fill's price. A commission in a third asset stands in `fees` alone: there is no price here
    to value it with, and no profit below holds it.

    A part that is closed takes its share of the entry cost with it, rounded down; the last part takes what is
    left, so the profit is exact to the last unit whenever the position is flat.

    Cost: constant per fill.
    """

    __slots__ = (
        "_before",
        "_cash",
        "_cost",
        "_fee_money",
        "_fee_product",
        "_fine",
        "_instrument",
        "_per_commission",
        "_per_money",
        "_per_unit",
        "_plan",
        "_residue",
        "fees",
        "n_fills",
    )

    def __init__(self, instrument: Instrument) -> None:
        fine_digits = max(MONEY_DIGITS, instrument.quantity_digits)
        self._instrument = instrument
        self._per_unit = int(10 ** (fine_digits - instrument.quantity_digits))
        self._per_commission = int(10 ** (fine_digits - MONEY_DIGITS))
        self._per_money = int(10 ** (fine_digits + instrument.price_digits - MONEY_DIGITS))
        self._fine = 0  # signed, fine units
        self._cost = 0  # of the open part, signed like the position: price units x fine units
        self._cash = 0  # likewise; what sales brought less what purchases took
        self._fee_product = 0  # commissions in the base asset at their fills' prices
        self._fee_money = 0  # commissions in the quote asset, 10^-8 quote
        self._residue = 0  # fine units
        self._plan = 0  # newest whose fills were restored
        self._before = 0  # what had been earned before it, 10^-8 quote
        self.fees: dict[str, int] = {}
        self.n_fills = 0

    @property
    def quantity(self) -> int:
        """Signed position in quantity units, a part of a unit cut off."""
        return self._fine // self._per_unit if self._fine >= 0 else -(-self._fine // self._per_unit)

    @property
    def remainder(self) -> int:
        """What `quantity` cut off, in fine units, signed."""
        return self._fine - self.quantity * self._per_unit

    @property
    def residue(self) -> int:
        """What finished plans left over, too small to sell, in fine units; not part of the position."""
        return self._residue

    @property
    def entry_cost(self) -> tuple[int, int]:
        """Average entry price as an exact fraction of price units: cost and quantity, both positive or 0."""
        return abs(self._cost), abs(self._fine)

    @property
    def average_text(self) -> str:
        """Average entry price as decimal text, cut off behind four more digits than a price has."""
        if not self._fine:
            return "0"
        more = self._cost * 10**MORE_DIGITS // self._fine
        return decimal_text(more, self._instrument.price_digits + MORE_DIGITS)

    @property
    def realised_money(self) -> int:
        """Profit of what was closed, before fees, in 10^-8 quote."""
        return self._money(self._cash + self._cost)

    @property
    def fees_money(self) -> int:
        """Fees in the quote asset, and those in the base asset at their fills' prices, in 10^-8 quote."""
        return self._money(self._fee_product) + self._fee_money

    @property
    def closed_money(self) -> int:
        """Profit of what was closed, net of all fees so far, in 10^-8 quote."""
        return self._money(self._cash + self._cost - self._fee_product) - self._fee_money

    def equity_money(self, mark_price: int) -> int:
        """Return cash + position x mark - fees in 10^-8 quote, towards zero where it is finer.

        Parameters
        ----------
        mark_price
            Price units.
        """
        return self._money(self._cash + self._fine * mark_price - self._fee_product) - self._fee_money

    def apply_fill(self, fill: Fill) -> None:
        """Take one execution into account; the caller sees to it that it comes once."""
        side, price = int(fill.side), fill.price
        self._trade(side * fill.quantity * self._per_unit, price)
        commission, asset = fill.commission, fill.commission_asset
        if commission:
            self.fees[asset] = self.fees.get(asset, 0) + commission
            instrument = self._instrument
            if asset == instrument.quote:
                self._fee_money += commission
            elif asset == instrument.base:
                fine = commission * self._per_commission
                self._fee_product += fine * price
                if instrument.kind is MarketKind.SPOT:
                    self._trade(-fine, price)
        self.n_fills += 1

    def restore_fill(self, fill: Fill) -> None:
        """Take a fill of before a restart into account, in the order of the facts.

        What a finished plan left over is told by its last fact and dropped by the caller.
        """
        if fill.plan > self._plan:
            self._plan, self._before = fill.plan, self.closed_money
        self.apply_fill(fill)

    def closed_before(self, plan: int) -> int:
        """Return what was earned before a restored plan, net of fees, in 10^-8 quote."""
        return self._before if plan == self._plan else self.closed_money

    def drop_residue(self) -> int:
        """Move what is left of the position to the residue at its own cost; returns it in fine units.

        Profit so far does not change by it.
        """
        left = self._fine
        self._residue += left
        self._cash += self._cost
        self._fine = self._cost = 0
        return left

    def _trade(self, fine: int, price: int) -> None:
        """Buy (positive) or sell fine units at a price: close first, what goes beyond opens."""
        self._cash -= fine * price
        held = self._fine
        if held * fine >= 0:
            self._cost += fine * price
        elif abs(fine) < abs(held):
            share = abs(self._cost) * abs(fine) // abs(held)
            self._cost -= share if held > 0 else -share
        else:
            self._cost = (held + fine) * price
        self._fine = held + fine

    def _money(self, product: int) -> int:
        whole = abs(product) // self._per_money
        return whole if product >= 0 else -whole


class Positions:
    """The positions of all instruments, by dense index."""

    __slots__ = ("_positions",)

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._positions = tuple(Position(instrument) for instrument in instruments)

    def __getitem__(self, index: int) -> Position:
        return self._positions[index]

    def __len__(self) -> int:
        return len(self._positions)

    def apply_fill(self, fill: Fill) -> Position:
        """Give a fill to the position of its instrument; returns that."""
        position = self._positions[fill.instrument]
        position.apply_fill(fill)
        return position

    def restore_fill(self, fill: Fill) -> Position:
        """Give a fill of before a restart to the position of its instrument; returns that."""
        position = self._positions[fill.instrument]
        position.restore_fill(fill)
        return position


def fill_fact(fill: Fill, instrument: Instrument, position: Position, at_ns: int) -> FillFact:
    """Write one execution and the position after it down."""
    return FillFact(
        client_order_id=fill.client_order_id,
        trade_id=fill.trade_id,
        symbol=fill.symbol,
        plan=fill.plan,
        purpose=fill.purpose,
        side=fill.side.name.lower(),
        price=instrument.price_text(fill.price),
        quantity=instrument.quantity_text(fill.quantity),
        commission=fill.commission,
        commission_asset=fill.commission_asset,
        is_maker=fill.is_maker,
        venue_ns=fill.venue_ns,
        at_ns=at_ns,
        position=instrument.quantity_text(position.quantity),
        realised=position.realised_money,
    )

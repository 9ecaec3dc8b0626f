"""Pre-trade limits: what no order may do, whoever asked for it and however sure they were."""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.math cimport llround
from libc.stdint cimport INT64_MAX

from native.events cimport abs64, int128_to_object


cdef enum:
    REDUCING = 1              # Wanted of native.control; a test holds them equal
    HALTED = 2
    LIMIT = 0                 # OrderKind of engine.orders, likewise
    MARKET = 1
    STOP_MARKET = 2
    MAX_INSTRUMENTS = 1024
    MAX_RATE = 65_536
    MAX_DIGITS = 18
    MONEY_DIGITS = 8

cdef int64_t SECOND_NS = 1_000_000_000
# Prices and quantities stay below 2^62, so that position, leaves and one more order, valued, fit 128 bits.
cdef int64_t MAX_UNITS = (<int64_t>1 << 62) - 1
# Money saturates here: far above every limit, and 1,024 of it still fit. Also the exposure that nobody knows.
cdef int128_t MONEY_MAX = (<int128_t>1) << 110
# A band of 10,000 bps is all of mid.
cdef int64_t BAND_ONE = 100_000_000


cdef inline int128_t money_floor(const GateInstrument* one, int128_t price, int128_t quantity) noexcept nogil:
    cdef int128_t product = price * quantity
    if one.shift < 0:
        product = product // one.scale
    elif product > MONEY_MAX // one.scale:
        return MONEY_MAX
    else:
        product = product * one.scale
    return product if product < MONEY_MAX else MONEY_MAX


cdef inline int128_t money_ceil(const GateInstrument* one, int128_t price, int128_t quantity) noexcept nogil:
    # At least 1 if there is anything: what is too fine for 10^-8 is never counted as nothing.
    cdef int128_t product
    if one.shift >= 0:
        return money_floor(one, price, quantity)
    product = (price * quantity + one.scale - 1) // one.scale
    return product if product < MONEY_MAX else MONEY_MAX


cdef inline int128_t larger_size(int128_t worst_long, int128_t worst_short) noexcept nogil:
    if worst_long < 0:
        worst_long = -worst_long
    if worst_short < 0:
        worst_short = -worst_short
    return worst_long if worst_long > worst_short else worst_short


cdef inline bint is_in_band(const GateInstrument* one, int64_t price, int64_t bid, int64_t ask) noexcept nogil:
    cdef int128_t twice_mid = <int128_t>bid + ask
    cdef int128_t away = <int128_t>price * 2 - twice_mid
    if away < 0:
        away = -away
    return away * BAND_ONE <= twice_mid * one.band


cdef int check_money(str name, object money, int least) except -1:
    if not least <= money <= INT64_MAX:
        raise ValueError(f"{name} must be {least} to 2^63 - 1, in 10^-8 quote, found {money}")
    return 0


@final
cdef class Gate:
    """Judge each order against the limits of its instrument and of the whole engine.

    Parameters
    ----------
    instruments : int
        Dense indices 0 to `instruments` - 1; 1 to 1,024.
    max_orders_per_s : int
        Orders that do not reduce, in any sliding second; 1 to 65,536.
    max_gross_money : int
        Worst-side exposure of all instruments together, 10^-8 quote.

    Attributes
    ----------
    wanted : int
        As last set: ACTIVE 0, REDUCING 1, HALTED 2.

    Notes
    -----
    The exposure of an instrument is ``max(|worst_long|, |worst_short|) * mark`` with ``worst_long = position +
    entering buy leaves`` and ``worst_short = position - entering sell leaves``: every limit assumes that all that
    rests or flies will fill. Money is 10^-8 quote, rounded up in exposures, and saturates at 2^110. An instrument
    that has an exposure and no mark yet counts as that greatest sum: what is not known is not small, and other
    instruments may not enter either until `mark` was called.

    Cost: a review is a few 128-bit products and at most five divisions, whatever the number of instruments.
    Blind to: fees, margin, leverage, and orders of the account that were not reserved here.
    """

    def __cinit__(self, *, int32_t instruments, int32_t max_orders_per_s, object max_gross_money):
        if not 1 <= instruments <= MAX_INSTRUMENTS:
            raise ValueError(f"instruments must be 1 to {MAX_INSTRUMENTS}, found {instruments}")
        if not 1 <= max_orders_per_s <= MAX_RATE:
            raise ValueError(f"max_orders_per_s must be 1 to {MAX_RATE}, found {max_orders_per_s}")
        check_money("max_gross_money", max_gross_money, 0)
        self.instruments = instruments
        self._max_rate = max_orders_per_s
        self._max_gross = max_gross_money
        self._instruments = <GateInstrument*>PyMem_RawCalloc(instruments, sizeof(GateInstrument))
        self._noted = <int64_t*>PyMem_RawCalloc(max_orders_per_s, sizeof(int64_t))
        if self._instruments is NULL or self._noted is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._instruments)
        PyMem_RawFree(self._noted)

    cdef int judge(self, int32_t index, int64_t epoch, int32_t side, int32_t kind, int64_t price, int64_t quantity,
                   bint is_reducing, int64_t now_ns, int64_t best_bid, int64_t best_ask,
                   bint is_valid) noexcept nogil:
        # The caller has checked index, side and kind.
        cdef const GateInstrument* one = &self._instruments[index]
        cdef int128_t worst_long, worst_short, exposure
        cdef int64_t own_price = price, mark = best_ask
        is_valid = is_valid and 0 < best_bid < best_ask <= MAX_UNITS
        if not is_reducing:
            if self.wanted >= HALTED:
                return GATE_HALTED
            if self.wanted >= REDUCING:
                return GATE_REDUCING
            if not is_valid:
                return GATE_BOOK_INVALID
        if epoch != one.epoch or one.epoch == 0:
            return GATE_OLD_EPOCH
        if not 0 < quantity <= MAX_UNITS or quantity % one.step:
            return GATE_BAD_QUANTITY
        if kind == MARKET:
            if price != 0:
                return GATE_BAD_PRICE
        elif not 0 < price <= MAX_UNITS or price % one.tick:
            return GATE_BAD_PRICE
        if is_reducing:
            return self.judge_reducing(one, side, kind, price, quantity, best_bid, best_ask, is_valid)
        if kind == LIMIT and not is_in_band(one, price, best_bid, best_ask):
            return GATE_PRICE_BAND
        if kind == MARKET:
            own_price = best_ask if side > 0 else best_bid
        if money_floor(one, own_price, quantity) < one.min_notional:
            return GATE_TOO_SMALL
        if money_ceil(one, own_price, quantity) > one.max_order:
            return GATE_ORDER_NOTIONAL
        worst_long = <int128_t>one.position + one.entering[1]
        worst_short = <int128_t>one.position - one.entering[0]
        if side > 0:
            worst_long += quantity
        else:
            worst_short -= quantity
        if price > mark:
            mark = price
        exposure = money_ceil(one, mark, larger_size(worst_long, worst_short))
        if exposure > one.max_position:
            return GATE_POSITION_NOTIONAL
        if self._gross - one.exposure + exposure > self._max_gross:
            return GATE_GROSS_NOTIONAL
        # The ring holds the newest `_max_rate` times: its oldest within the last second leaves no room.
        if (self._n_noted >= self._max_rate
                and <int128_t>now_ns - self._noted[self._n_noted % self._max_rate] < SECOND_NS):
            return GATE_ORDER_RATE
        return GATE_FINE

    cdef int judge_reducing(self, const GateInstrument* one, int32_t side, int32_t kind, int64_t price,
                            int64_t quantity, int64_t best_bid, int64_t best_ask, bint is_valid) noexcept nogil:
        # Sanity only: a way out is never closed by a limit. Quantity and price are known to be on their grids.
        cdef int64_t leaves = one.reducing[side > 0]
        if kind == LIMIT and is_valid and not is_in_band(one, price, best_bid, best_ask):
            return GATE_PRICE_BAND
        if not one.is_futures:
            # Spot refuses small orders whatever they are for. The price of a market order is not known
            # without a book: the venue judges it then.
            if kind == MARKET:
                price = 0 if not is_valid else best_ask if side > 0 else best_bid
            if price and money_floor(one, price, quantity) < one.min_notional:
                return GATE_TOO_SMALL
        elif kind == STOP_MARKET:
            # The hard stop of futures rests beside the other exits: reduce-only, the venue cuts it to what is held.
            leaves = 0
        if (one.position >= 0) == (side > 0) or quantity > abs64(one.position) - leaves:
            return GATE_OVER_REDUCE
        return GATE_FINE

    cdef void count_order(self, int64_t now_ns) noexcept nogil:
        self._noted[self._n_noted % self._max_rate] = now_ns
        self._n_noted += 1

    cdef void revalue(self, GateInstrument* one) noexcept nogil:
        cdef int128_t size = larger_size(<int128_t>one.position + one.entering[1],
                                         <int128_t>one.position - one.entering[0])
        self._gross -= one.exposure
        if size > 0 and one.mark == 0:
            one.exposure = MONEY_MAX
        else:
            one.exposure = money_ceil(one, one.mark, size)
        self._gross += one.exposure

    cdef GateInstrument* at(self, int32_t index) except NULL:
        if not 0 <= index < self.instruments:
            raise ValueError(f"index must be 0 to {self.instruments - 1}, found {index}")
        if self._instruments[index].epoch == 0:
            raise ValueError(f"instrument {index} expects set_instrument first, found none")
        return &self._instruments[index]

    cdef int change_leaves(self, int32_t index, int32_t side, int64_t quantity, bint is_reducing,
                           int sign) except -1:
        cdef GateInstrument* one = self.at(index)
        cdef int64_t* leaves
        check_side(side)
        leaves = &one.reducing[side > 0] if is_reducing else &one.entering[side > 0]
        if not 0 <= quantity <= (MAX_UNITS - leaves[0] if sign > 0 else leaves[0]):
            raise ValueError(
                f"leaves must stay 0 to 2^62 - 1, found {leaves[0]} {'+' if sign > 0 else '-'} {quantity} "
                f"of instrument {index}"
            )
        leaves[0] += sign * quantity
        self.revalue(one)
        return 0

    def set_instrument(
        self, int32_t index, *, int64_t epoch, int64_t tick, int64_t step, int32_t price_digits,
        int32_t quantity_digits, object min_notional_money, object max_order_money, object max_position_money,
        double price_band_bps, bint is_futures
    ):
        """Set or change what one instrument may do.

        Parameters
        ----------
        index : int
            Dense index.
        epoch : int
            Of the instrument, from 1; never less than before.
        tick, step : int
            Price units per tick, quantity units per lot step.
        price_digits, quantity_digits : int
            A unit is 10^-digits; 0 to 18. Position, leaves and mark of the epoch before are converted.
        min_notional_money : int
            The venue's least notional, 10^-8 quote; 0 = none.
        max_order_money, max_position_money : int
            Greatest notional of one order, and of the worst side; 10^-8 quote.
        price_band_bps : float
            Greatest distance of a limit price from mid; above 0 to 10,000, kept to 10^-4 bps.
        is_futures : bool
            Reducing orders below the least notional are taken, and a resting hard stop locks nothing.

        Raises
        ------
        ValueError
            A value is out of its bounds, or a quantity of the epoch before is no integer in the new unit.
            Nothing is changed then.
        """
        cdef GateInstrument* one
        cdef int64_t sell_entering, buy_entering, sell_reducing, buy_reducing, position, mark
        cdef int _i
        if not 0 <= index < self.instruments:
            raise ValueError(f"index must be 0 to {self.instruments - 1}, found {index}")
        one = &self._instruments[index]
        if epoch < 1 or epoch < one.epoch:
            raise ValueError(f"epoch must be {max(1, one.epoch)} or more, found {epoch}")
        if not 1 <= tick <= MAX_UNITS or not 1 <= step <= MAX_UNITS:
            raise ValueError(f"tick and step must be 1 to 2^62 - 1, found {tick} and {step}")
        if not 0 <= price_digits <= MAX_DIGITS or not 0 <= quantity_digits <= MAX_DIGITS:
            raise ValueError(f"digits must be 0 to {MAX_DIGITS}, found {price_digits} and {quantity_digits}")
        check_money("min_notional_money", min_notional_money, 0)
        check_money("max_order_money", max_order_money, 0)
        check_money("max_position_money", max_position_money, 0)
        if not 0.0 < price_band_bps <= 10_000.0:
            raise ValueError(f"price_band_bps must be above 0, to 10000, found {price_band_bps}")
        if one.epoch:
            price_shift, quantity_shift = price_digits - one.price_digits, quantity_digits - one.quantity_digits
        else:
            price_shift = quantity_shift = 0
        position = converted(one.position, quantity_shift)
        sell_entering = converted(one.entering[0], quantity_shift)
        buy_entering = converted(one.entering[1], quantity_shift)
        sell_reducing = converted(one.reducing[0], quantity_shift)
        buy_reducing = converted(one.reducing[1], quantity_shift)
        mark = converted(one.mark, price_shift)
        one.position, one.mark = position, mark
        one.entering[0], one.entering[1] = sell_entering, buy_entering
        one.reducing[0], one.reducing[1] = sell_reducing, buy_reducing
        one.epoch, one.tick, one.step = epoch, tick, step
        one.price_digits, one.quantity_digits = price_digits, quantity_digits
        one.min_notional = min_notional_money
        one.max_order, one.max_position = max_order_money, max_position_money
        one.band = llround(price_band_bps * 1e4)
        one.is_futures = is_futures
        one.shift = MONEY_DIGITS - price_digits - quantity_digits
        one.scale = 1
        for _i in range(one.shift if one.shift > 0 else -one.shift):
            one.scale = one.scale * 10
        self.revalue(one)

    def set_wanted(self, int32_t state):
        """Take over the wanted state: ACTIVE 0, REDUCING 1, HALTED 2."""
        if not 0 <= state <= HALTED:
            raise ValueError(f"state must be 0 to {HALTED}, found {state}")
        self.wanted = state

    def review(
        self, int32_t index, int64_t epoch, int32_t side, int32_t kind, int64_t price, int64_t quantity,
        bint is_reducing, int64_t now_ns, int64_t best_bid, int64_t best_ask, bint is_valid
    ):
        """Judge one order; changes nothing.

        Parameters
        ----------
        index, epoch : int
            Instrument, and the epoch in whose units the numbers are.
        side : int
            BUY 1 or SELL -1.
        kind : int
            LIMIT 0, MARKET 1, STOP_MARKET 2.
        price : int
            Limit or trigger in price units; 0 of a market order.
        quantity : int
            Quantity units.
        is_reducing : bool
            Reduce-only: sanity is asked, no limit.
        now_ns : int
            Corridor time, for the order rate.
        best_bid, best_ask : int
            Price units; an empty side is 0, or INT64_MAX for the ask.
        is_valid : bool
            The book is LIVE and not crossed.

        Returns
        -------
        GateReason
            The first check that fails, in the order of the enum; GATE_FINE = 0.

        Notes
        -----
        A market order is valued at the opposite best price, any other at its own; the worst position with the
        order in it at ``max(price, best_ask)``. A stop's trigger is held to no band: it is meant to be far away.
        """
        if not 0 <= index < self.instruments:
            raise ValueError(f"index must be 0 to {self.instruments - 1}, found {index}")
        check_side(side)
        if not 0 <= kind <= STOP_MARKET:
            raise ValueError(f"kind must be 0 to {STOP_MARKET}, found {kind}")
        return self.judge(
            index, epoch, side, kind, price, quantity, is_reducing, now_ns, best_bid, best_ask, is_valid
        )

    def note_order(self, int64_t now_ns):
        """Count one order that does not reduce, for the rate."""
        self.count_order(now_ns)

    def reserve(self, int32_t index, int32_t side, int64_t quantity, bint is_reducing):
        """Add to the leaves of one side: an order is on its way.

        Raises
        ------
        ValueError
            The quantity is negative, or the sum beyond 2^62 - 1; nothing is changed then.
        """
        self.change_leaves(index, side, quantity, is_reducing, 1)

    def release(self, int32_t index, int32_t side, int64_t quantity, bint is_reducing):
        """Take from the leaves of one side what was cancelled, rejected or filled.

        Raises
        ------
        ValueError
            It is more than the leaves, or negative; nothing is changed then.
        """
        self.change_leaves(index, side, quantity, is_reducing, -1)

    def set_position(self, int32_t index, int64_t position):
        """State the position: signed quantity units, own fills net of base fees."""
        cdef GateInstrument* one = self.at(index)
        if not -MAX_UNITS <= position <= MAX_UNITS:
            raise ValueError(f"position must lie within +-(2^62 - 1), found {position}")
        one.position = position
        self.revalue(one)

    def mark(self, int32_t index, int64_t price):
        """State the price at which the exposure of an instrument is valued, in price units."""
        cdef GateInstrument* one = self.at(index)
        if not 1 <= price <= MAX_UNITS:
            raise ValueError(f"price must be 1 to 2^62 - 1, found {price}")
        one.mark = price
        self.revalue(one)

    def position(self, int32_t index):
        """Return the position in signed quantity units."""
        return self.at(index).position

    def entering_leaves(self, int32_t index, int32_t side):
        """Return what may still fill and enlarge, of one side, in quantity units."""
        check_side(side)
        return self.at(index).entering[side > 0]

    def reducing_leaves(self, int32_t index, int32_t side):
        """Return what may still fill and reduce, of one side, in quantity units."""
        check_side(side)
        return self.at(index).reducing[side > 0]

    def worst_long(self, int32_t index):
        """Return the position if all entering buys fill, in quantity units."""
        cdef GateInstrument* one = self.at(index)
        return one.position + one.entering[1]

    def worst_short(self, int32_t index):
        """Return the position if all entering sells fill, in quantity units."""
        cdef GateInstrument* one = self.at(index)
        return one.position - one.entering[0]

    def worst_money(self, int32_t index):
        """Return the exposure of one instrument at its mark, 10^-8 quote; 2^110 while it has no mark."""
        return int128_to_object(self.at(index).exposure)

    @property
    def gross_money(self):
        """Return the exposure of all instruments, 10^-8 quote."""
        return int128_to_object(self._gross)


cdef int check_side(int32_t side) except -1:
    if side != 1 and side != -1:
        raise ValueError(f"side must be BUY 1 or SELL -1, found {side}")
    return 0


cdef object converted(object units, object shift):
    # Exactly into units that are 10^shift times finer.
    if shift >= 0:
        found, rest = units * 10**shift, 0
    else:
        found, rest = divmod(units, 10**-shift)
    if rest or not -MAX_UNITS <= found <= MAX_UNITS:
        raise ValueError(f"{units} units expect to be an integer below 2^62 in units 10^{shift} as fine, found not")
    return found

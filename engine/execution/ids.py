"""Client order ids: whose order it is, of which start of the engine, and the how-many-eth."""

import re
from typing import Final, NamedTuple

from engine.errors import ConfigError, StateError

MAX_LENGTH: Final = 36  # Binance, newClientOrderId: ^[\.A-Z\:/a-z0-9_-]{1,36}$

_INSTANCE: Final = re.compile(r"[a-z]{1,8}")
_ID: Final = re.compile(r"r([a-z]{1,8})(0|[1-9][0-9]*)-([1-9][0-9]*)")


class OrderName(NamedTuple):
    """What a client order id of ours says."""

    instance: str
    epoch: int  # start of the engine
    sequence: int  # from 1, within the epoch


class OrderIds:
    """Give each order an id that no order of any start of this engine had before.

    Parameters
    ----------
    instance
        Name of the engine, 1 to 8 small letters: tells its orders from those of another on one account.
    epoch
        Number of this start, never used before by this instance; not negative.

    Raises
    ------
    ConfigError
        The instance is no such name.
    StateError
        The epoch is negative.
    """

    __slots__ = ("_prefix", "epoch", "instance", "n_given")

    def __init__(self, instance: str, epoch: int) -> None:
        if not _INSTANCE.fullmatch(instance):
            raise ConfigError(
                f"The instance of an engine is 1 to 8 letters a to z, found {instance!r}.", instance=instance
            )
        if epoch < 0:
            raise StateError(f"The epoch of an engine is counted from 0 up, found {epoch}.", epoch=epoch)
        self.instance = instance
        self.epoch = epoch
        self.n_given = 0
        self._prefix = f"r{instance}{epoch}-"

    def next(self) -> str:
        """Return a new id of at most 36 characters.

        Raises
        ------
        StateError
            If the venue would not take an id of that length.
        """
        sequence = self.n_given + 1
        found = f"{self._prefix}{sequence}"
        if len(found) > MAX_LENGTH:
            raise StateError(
                f"A client order id has at most {MAX_LENGTH} characters, found {found}.",
                client_order_id=found,
            )
        self.n_given = sequence
        return found


def parse_id(text: str) -> OrderName | None:
    """Read an id that some engine's `OrderIds` gave; None if none did."""
    if len(text) > MAX_LENGTH:
        return None
    found = _ID.fullmatch(text)
    return None if found is None else OrderName(found[1], int(found[2]), int(found[3]))

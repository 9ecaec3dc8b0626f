"""What an executor may ask of a venue."""

from enum import IntEnum
from typing import Protocol

from engine.orders import PlaceOrder


class SendStatus(IntEnum):
    """What became of bytes handed to a transport."""

    SENT = 0
    SOCKET_DOWN = 1
    SOCKET_BACKED_UP = 2


class Transport(Protocol):
    """Takes the bytes of one request."""

    def send(self, request: bytes) -> SendStatus:
        """Hand over one request now, without waiting; never calls back from inside."""
        ...


class Venue(Protocol):
    """Requests of one account. Answers come later, as reports; a call never waits and never calls back."""

    def place(self, order: PlaceOrder) -> SendStatus:
        """Ask for a new order."""
        ...

    def cancel(self, symbol: str, client_order_id: str) -> SendStatus:
        """Ask to cancel an order."""
        ...

    def query(self, symbol: str, client_order_id: str) -> SendStatus:
        """Ask where an order stands."""
        ...

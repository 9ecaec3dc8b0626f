"""Entry candidates: a whale is watched for a while after its last fill, then confirmed by the book or not.

One whale is watched and one candidate is armed at a time. A later whale of the same episode is watched anew; a whale of
another episode supersedes the one being watched. A candidate ends when its window is over, when a later whale of its
episode is not confirmed, when another episode is judged, or when the book becomes invalid.
"""

from typing import NamedTuple

from cython cimport final

from native.events cimport MASK_ENTRY, MASK_ENTRY_EXPIRED, REASON_BOOK_INVALID, REASON_CONFIRMED
from native.triggers cimport TIMER_CONFIRM, TIMER_EXPIRY


class Candidate(NamedTuple):
    """A whale episode that the imbalance after it confirmed; notional and threshold in quote."""

    episode: int
    side: int
    notional: float
    threshold: float
    rho_pre: float
    rho_post: float
    rho_post_min: float
    pulled_share: float
    n_updates: int
    last_whale_ns: int
    expires_ns: int


@final
cdef class Entry:
    """Watches whales of one instrument.

    Parameters
    ----------
    imbalance : Imbalance
        Judges a whale by the book around it.
    triggers : Triggers
        Whose TIMER_CONFIRM and TIMER_EXPIRY it arms; when they are due, call `judge` and `drop`.
    window_ns : int
        A candidate lives until so long after its whale's last fill; at least the imbalance's window after a whale.
    """

    def __cinit__(self, imbalance: Imbalance, triggers: Triggers, *, window_ns: int):
        self._imbalance = imbalance
        self._triggers = triggers
        if window_ns < self._imbalance.rho_post_ns:
            raise ValueError(
                f"window_ns must be at least rho_post_ns ({self._imbalance.rho_post_ns}), found {window_ns}"
            )
        self._window_ns = window_ns

    cdef bint is_superseded_by(self, int64_t episode) noexcept nogil:
        return self.is_watching and self.watched.episode != episode

    cdef void watch(self, const Sweep* sweep, int64_t episode, double threshold, double notional) noexcept nogil:
        self.watched.sweep = sweep[0]
        self.watched.episode = episode
        self.watched.threshold = threshold
        self.watched.notional = notional
        self.is_watching = True
        self._triggers.arm(TIMER_CONFIRM, sweep.last_recv_ns + self._imbalance.rho_post_ns)

    cdef bint makes_way(self, int64_t now_ns) noexcept nogil:
        # A candidate of another episode is told to be over before the watched whale is judged: one mask, one candidate.
        if not self.is_armed or self.candidate.episode == self.watched.episode:
            return False
        self.drop()
        self._triggers.arm(TIMER_CONFIRM, now_ns)
        return True

    cdef uint32_t judge(self, int64_t now_ns, bint is_valid, Confirmation* out) noexcept nogil:
        cdef int side = self.watched.sweep.aggressor
        self.is_watching = False
        self._imbalance.confirm(
            side, self.watched.sweep.first_recv_ns, self.watched.sweep.last_recv_ns, now_ns, out
        )
        if not is_valid:
            out.reason = REASON_BOOK_INVALID
        if out.reason != REASON_CONFIRMED:
            return MASK_ENTRY_EXPIRED if self.drop() else 0
        if self.watched.episode != self._counted_episode[side > 0]:
            self._counted_episode[side > 0] = self.watched.episode
            self.n_confirmed += 1
        self.candidate = self.watched
        self.confirmation = out[0]
        self.expires_ns = self.watched.sweep.last_recv_ns + self._window_ns
        self.is_armed = True
        self._triggers.arm(TIMER_EXPIRY, self.expires_ns)
        return MASK_ENTRY

    cdef bint drop(self) noexcept nogil:
        # The candidate is over; False if none was armed.
        cdef bint was_armed = self.is_armed
        self.is_armed = False
        self._triggers.disarm(TIMER_EXPIRY)
        return was_armed

    def armed(self) -> Candidate | None:
        """Return the candidate that waits for an entry; None if there is none."""
        if not self.is_armed:
            return None
        seen = self.confirmation
        # Past the constructor of the named tuple, which is interpreted: this is read at every decision.
        return tuple.__new__(Candidate, (
            self.candidate.episode, self.candidate.sweep.aggressor, self.candidate.notional,
            self.candidate.threshold, seen.rho_pre, seen.rho_post, seen.rho_post_min, seen.pulled_share,
            seen.n_updates, self.candidate.sweep.last_recv_ns, self.expires_ns,
        ))

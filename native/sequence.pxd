"""Contents page of the update-id state machine: which depth updates join the book."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.events cimport DepthUpdate


cpdef enum SequenceAction:
    """What to do with a depth update."""
    ACTION_IGNORE = 0     # older than the book: a duplicate
    ACTION_APPLY = 1
    ACTION_BUFFER = 2     # keep it until a snapshot joins
    ACTION_BREAK = 3      # the chain broke at this update: the book is invalid; keep the update
    ACTION_STALE = 4      # the snapshot is older than the first kept update: keep the update, fetch again


@final
cdef class Sequence:
    cdef readonly int32_t state           # SequenceState
    cdef readonly int64_t last_id         # id of the book: u of the last applied update, or of the snapshot
    cdef readonly int64_t gaps
    cdef readonly int64_t duplicates
    cdef readonly int64_t stale_snapshots
    cdef bint _is_spot
    cdef int _n_old                       # updates older than the book, one after the other

    # hot
    cdef int judge(self, const DepthUpdate* update) noexcept nogil
    cdef bint start(self, int64_t snapshot_id) noexcept nogil
    cdef void break_chain(self) noexcept nogil
    # To be asked after each update of the stream that is to be ignored.
    cdef bint is_lost(self) noexcept nogil

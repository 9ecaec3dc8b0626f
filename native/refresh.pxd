"""Contents page of the refresh: a snapshot taken into a book that is live, without a moment in which it is not."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.backlog cimport Backlog
from native.book cimport Book, Ladder
from native.events cimport DepthUpdate
from native.imbalance cimport Imbalance


cdef inline bint is_whole(const DepthUpdate* snapshot) noexcept nogil:
    # An answer of exactly a limit that can be asked for is taken as cut there: behind it nothing is known.
    cdef int64_t n = max(snapshot.n_bids, snapshot.n_asks)
    return n not in (5, 10, 20, 50, 100, 500, 1000, 5000)


@final
cdef class Refresh:
    cdef Book _book
    cdef Book _next                       # the snapshot with what came after it
    cdef Imbalance _imbalance
    cdef Backlog _later                   # updates applied to the book since `begin`
    cdef int64_t _first_id                # id of the book then
    cdef int64_t _snapshot_id
    cdef int64_t _forgotten
    cdef bint is_open
    cdef bint _is_loaded                  # the snapshot came and waits for the updates up to its id
    cdef readonly int64_t refreshes
    cdef readonly int64_t refused         # too old, or it contradicts the book
    cdef readonly int64_t abandoned       # the chain broke meanwhile, or more updates came than are kept

    # hot
    cdef void begin(self, int64_t update_id) noexcept nogil
    cdef void on_update(self, const DepthUpdate* update) noexcept nogil
    cdef void on_snapshot(self, const DepthUpdate* snapshot, int64_t update_id) noexcept nogil
    cdef void abandon(self) noexcept nogil
    cdef void _close(self) noexcept nogil
    cdef void _finish(self) noexcept nogil
    cdef bint _agrees(self, int side) noexcept nogil
    cdef void _keep_behind(self, int side) noexcept nogil

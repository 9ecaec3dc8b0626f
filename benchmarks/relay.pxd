"""Contents page of the measured relay: records of a ring from one process to another, both spinning."""

from native.ring cimport RingReader, RingRecord


# hot
cdef int wait_for(RingReader reader, RingRecord* record) noexcept nogil

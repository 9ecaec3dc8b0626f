"""Records through a ring without the interpreter: what the ring itself can do, process to process."""

import numpy

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from native.clock cimport monotonic_ns
from native.ring cimport RingReader, RingRecord, RingWriter

cdef enum:
    LONGEST = 4096
    SPINS = 1024          # looks at the ring between two looks at the clock

cdef int64_t PATIENCE_NS = 20_000_000_000LL


cdef int wait_for(RingReader reader, RingRecord* record) noexcept nogil:
    # Spin for the next record; 1 given, 0 patience is at its end, -1 damaged. The clock is read only while none comes.
    cdef int64_t until_ns = 0
    cdef int status, _i
    while True:
        for _i in range(SPINS):
            status = reader.next(record)
            if status != 0:
                return status
        if until_ns == 0:
            until_ns = monotonic_ns() + PATIENCE_NS
        elif monotonic_ns() > until_ns:
            return 0


def write(writer: RingWriter, n_records: int, size: int, gap_ns: int) -> int:
    """Push records of `size` bytes, their sequence in the first eight, stamped; at most one each `gap_ns`.

    Returns
    -------
    int
        Nanoseconds from the first to the last.
    """
    cdef char payload[LONGEST]
    cdef RingWriter ring = writer
    cdef int64_t n = n_records, length = size, gap = gap_ns, i, begin, now, due
    if not 8 <= size <= LONGEST:
        raise ValueError(f"size must be 8 to {LONGEST}, found {size}")
    memset(payload, 0x5A, LONGEST)
    with nogil:
        begin = due = now = monotonic_ns()
        for i in range(1, n + 1):
            if gap:
                due += gap
                while now < due:
                    now = monotonic_ns()
            memcpy(payload, &i, 8)
            ring.push(1, now, payload, length)
        now = monotonic_ns()
    return now - begin


def read(reader: RingReader, n_records: int, is_stamped: bool) -> tuple:
    """Take records until number `n_records` has come.

    Returns
    -------
    tuple
        Records given, nanoseconds from the first to the last, and of each the nanoseconds since its stamp; none of
        these if not stamped: reading the clock takes longer than reading the record.
    """
    cdef RingReader ring = reader
    cdef RingRecord record
    cdef int64_t n = n_records, given = 0, begin = 0, now = 0, last = 0, first = 0
    cdef int status = 1
    cdef bint with_clock = is_stamped
    hops = numpy.zeros(n if is_stamped else 0, numpy.int64)
    cdef int64_t[::1] out = hops
    with nogil:
        while last < n:
            status = wait_for(ring, &record)
            if status != 1:
                break
            memcpy(&first, record.payload, 8)
            if first != record.sequence or record.sequence <= last:
                status = -1
                break
            last = record.sequence
            if given == 0:
                begin = monotonic_ns()
            if with_clock:
                out[given] = monotonic_ns() - record.time_ns
            given += 1
        now = monotonic_ns()
    if status != 1:
        raise RuntimeError(f"the record after {last} is {'wrong' if status < 0 else 'missing'}")
    return given, now - begin, hops[:given]


def ping(writer: RingWriter, reader: RingReader, n_records: int, size: int) -> numpy.ndarray:
    """Push a record, wait for its answer, and so on; returns the nanoseconds of each round trip."""
    cdef char payload[LONGEST]
    cdef RingWriter there = writer
    cdef RingReader back = reader
    cdef RingRecord record
    cdef int64_t n = n_records, length = min(size, LONGEST), i, begin
    cdef int status = 1
    trips = numpy.zeros(n, numpy.int64)
    cdef int64_t[::1] out = trips
    memset(payload, 0x5A, LONGEST)
    with nogil:
        for i in range(n):
            begin = monotonic_ns()
            there.push(1, begin, payload, length)
            status = wait_for(back, &record)
            if status != 1 or record.sequence != i + 1 or record.time_ns != begin:
                status = -1
                break
            out[i] = monotonic_ns() - begin
    if status != 1:
        raise RuntimeError(f"the answer to record {i + 1} is wrong or missing")
    return trips


def pong(reader: RingReader, writer: RingWriter, n_records: int) -> int:
    """Answer each record with itself; returns the number of answers."""
    cdef RingReader there = reader
    cdef RingWriter back = writer
    cdef RingRecord record
    cdef int64_t n = n_records, i = 0
    with nogil:
        while i < n and wait_for(there, &record) == 1:
            back.push(record.kind, record.time_ns, record.payload, record.size)
            i += 1
    return i

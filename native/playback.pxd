"""Contents page of playback: frames into event-file records, and records through a market."""

from libc.stdint cimport int64_t, uint32_t

from native.market cimport Market

# hot
cdef uint32_t run_reads(Market market, const char* data, int64_t* at, int64_t end) noexcept nogil

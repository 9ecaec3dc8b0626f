"""Contents page of the broadcast ring: the protocol in C11 atomics, then the writer and the reader.

The C block is the whole protocol and needs nothing but the C library: a test compiles it alone under the thread
sanitizer. Positions are byte counts since the start of the ring and only grow; `position & (capacity - 1)` is the place
in the file. Every shared byte is moved by an atomic access of 8 bytes (relaxed: plain moves on x86 and ARM), so a
reader that is overrun meanwhile reads old or new words, never undefined ones, and then throws them away.
"""

from cython cimport final
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <stdatomic.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if ATOMIC_LLONG_LOCK_FREE != 2
    #error "the ring needs lock-free atomics of 8 bytes"
    #endif
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the layout of the ring is little-endian"
    #endif

    enum {
        REMORA_RING_HEADER = 4096,   // bytes before the first record
        REMORA_RING_SLOTS = 16,
        REMORA_RING_MARKS = 16,
        REMORA_RING_RECORD = 24,     // bytes of a record before its payload
        REMORA_RING_CHUNK = 65536,   // bytes a reader copies at once, unless one record is longer
    };
    #define REMORA_RING_PADDING (1ULL << 48)

    typedef struct {
        _Alignas(64) _Atomic int64_t cursor;     // all before it has been dealt with
        _Atomic int64_t next_sequence;           // of the record at the cursor
        _Atomic int64_t is_durable;
        int64_t pid;
        char name[24];                           // empty: the slot is free
    } remora_ring_slot;

    typedef struct {
        char magic[8];
        uint32_t layout;
        uint32_t header_size;
        uint64_t schema;
        int64_t epoch;
        int64_t capacity;
        int64_t writer_pid;
        char instance[16];
        char boot_id[40];
        _Alignas(64) _Atomic int64_t reserved;   // bytes before reserved - capacity may be overwritten
        _Alignas(64) _Atomic int64_t committed;  // records before it are whole
        _Alignas(64) _Atomic int64_t is_closed;
        // The first record that begins in each sixteenth of the ring: where a reader can go on after an overrun.
        _Alignas(64) _Atomic int64_t marks[REMORA_RING_MARKS];
        _Alignas(64) remora_ring_slot slots[REMORA_RING_SLOTS];
    } remora_ring_header;
    _Static_assert(sizeof(remora_ring_slot) == 64, "one cache line a slot");
    _Static_assert(offsetof(remora_ring_header, reserved) == 128, "layout 1");
    _Static_assert(offsetof(remora_ring_header, slots) == 448, "layout 1");
    _Static_assert(sizeof(remora_ring_header) <= REMORA_RING_HEADER, "the header fits its page");

    typedef struct {
        remora_ring_header* header;
        _Atomic uint64_t* data;
        int64_t capacity;
        int64_t max_payload;      // -1 once closed: every record is refused
        int64_t position;         // as committed, without reading it back
        int64_t sequence;         // of the last record
        int64_t next_mark;        // the first record at or after this position gets a mark
    } remora_ring_writer;

    typedef struct {
        const remora_ring_header* header;
        const _Atomic uint64_t* data;
        int64_t capacity;
        int64_t cursor;           // of the next record to give
        int64_t next_sequence;    // expected there; 0: unknown
        int64_t is_adrift;        // the next record may have any sequence: it tells what was lost
        int64_t n_overruns;
        int64_t n_lost;
        int64_t n_failures;       // overruns in a row, nothing copied between them
        int64_t lost_from;        // the cursor before the first of them
        uint64_t* scratch;        // holds the bytes from scratch_start to scratch_end, proven untouched
        int64_t scratch_start;
        int64_t scratch_end;
    } remora_ring_reader;

    typedef struct {
        int64_t sequence;
        int64_t time_ns;
        const char* payload;      // in the scratch: until the next call
        int64_t size;
        uint32_t kind;
    } remora_ring_record;

    static inline void remora_ring_put(_Atomic uint64_t* place, uint64_t word) {
        atomic_store_explicit(place, word, memory_order_relaxed);
    }

    static inline int64_t remora_ring_see(const _Atomic int64_t* counter) {
        return atomic_load_explicit(counter, memory_order_acquire);
    }

    static inline int64_t remora_ring_max_payload(int64_t capacity) { return capacity / 8; }

    // The sequence of the record, -1 if it is refused. A writer killed anywhere in here has committed it or not.
    static inline int64_t remora_ring_push(remora_ring_writer* ring, uint32_t kind, int64_t time_ns,
                                           const void* payload, int64_t size) {
        if (size < 0 || size > ring->max_payload || kind > 0xFFFF) return -1;
        remora_ring_header* header = ring->header;
        const int64_t mask = ring->capacity - 1;
        const int64_t span = (REMORA_RING_RECORD + size + 7) & ~7LL;
        const int64_t tail = ring->capacity - (ring->position & mask);
        int64_t start = ring->position;
        const int64_t end = start + span + (span > tail ? tail : 0);
        atomic_store_explicit(&header->reserved, end, memory_order_relaxed);
        // No word below may be seen before `reserved`: it pairs with the acquire fence of remora_ring_fill.
        atomic_thread_fence(memory_order_release);
        if (span > tail) {
            remora_ring_put(&ring->data[(start & mask) >> 3], (uint64_t)tail | REMORA_RING_PADDING);
            start += tail;
        }
        if (start >= ring->next_mark) {
            const int64_t part = ring->capacity / REMORA_RING_MARKS;
            atomic_store_explicit(&header->marks[(start & mask) / part], start, memory_order_relaxed);
            ring->next_mark = (start / part + 1) * part;
        }
        _Atomic uint64_t* word = &ring->data[(start & mask) >> 3];
        const int64_t sequence = ++ring->sequence;
        remora_ring_put(word++, (uint64_t)(REMORA_RING_RECORD + size) | (uint64_t)kind << 32);
        remora_ring_put(word++, (uint64_t)sequence);
        remora_ring_put(word++, (uint64_t)time_ns);
        const char* from = (const char*)payload;
        uint64_t bytes;
        for (; size >= 8; size -= 8, from += 8) {
            memcpy(&bytes, from, 8);
            remora_ring_put(word++, bytes);
        }
        if (size) {
            bytes = 0;
            memcpy(&bytes, from, (size_t)size);
            remora_ring_put(word, bytes);
        }
        atomic_store_explicit(&header->committed, end, memory_order_release);
        ring->position = end;
        return sequence;
    }

    // Worst lag of the durable readers in bytes.
    static inline int64_t remora_ring_durable_lag(const remora_ring_header* header, int64_t position) {
        int64_t worst = 0;
        for (int i = 0; i < REMORA_RING_SLOTS; i++) {
            const remora_ring_slot* slot = &header->slots[i];
            if (!remora_ring_see(&slot->is_durable)) continue;
            const int64_t lag = position - remora_ring_see(&slot->cursor);
            worst = lag > worst ? lag : worst;
        }
        return worst;
    }

    // Go on at the oldest mark that is still whole and has so much room before the writer; at the newest if none.
    static inline void remora_ring_resume(remora_ring_reader* ring, int64_t room) {
        const int64_t committed = remora_ring_see(&ring->header->committed);
        const int64_t oldest = remora_ring_see(&ring->header->reserved) - ring->capacity + room;
        int64_t best = committed;
        for (int i = 0; i < REMORA_RING_MARKS; i++) {
            const int64_t mark = remora_ring_see(&ring->header->marks[i]);
            if (mark > ring->lost_from && mark >= oldest && mark < best) best = mark;
        }
        ring->cursor = ring->scratch_start = ring->scratch_end = best;
        ring->is_adrift = 1;
    }

    // Overrun again before a record could be copied: leave more room each time, until only the newest is left.
    static inline void remora_ring_overrun(remora_ring_reader* ring) {
        const int64_t n = ring->n_failures++;
        if (n == 0) {
            ring->n_overruns++;
            ring->lost_from = ring->cursor;
        }
        remora_ring_resume(ring, n == 0 ? 0 : n > 3 ? ring->capacity : ring->capacity >> (4 - n));
    }

    // Begin at the newest mark, the nearest sound place before the end.
    static inline void remora_ring_seek_newest(remora_ring_reader* ring, int64_t committed) {
        for (int i = 0; i < REMORA_RING_MARKS; i++) {
            const int64_t mark = remora_ring_see(&ring->header->marks[i]);
            if (mark > ring->cursor && mark <= committed) ring->cursor = mark;
        }
        ring->scratch_start = ring->scratch_end = ring->cursor;
    }

    // Copy at least `need` bytes at the cursor, if there are any: 1 copied, 0 nothing there, -1 no ring can be so.
    static inline int remora_ring_fill(remora_ring_reader* ring, int64_t need) {
        for (int is_rewound = 0;;) {
            const int64_t cursor = ring->cursor;
            const int64_t committed = remora_ring_see(&ring->header->committed);
            const int64_t available = committed - cursor;
            if (available == 0) {
                if (ring->n_failures == 0 || is_rewound) return 0;
                // The writer rests, or was killed: what was skipped to get away from it can be read after all.
                is_rewound = 1;
                ring->n_failures = 1;
                remora_ring_resume(ring, 0);
                continue;
            }
            if (available > ring->capacity) {
                remora_ring_overrun(ring);
                need = 8;
                continue;
            }
            if (available < need) return -1;
            const int64_t place = cursor & (ring->capacity - 1);
            int64_t size = need > REMORA_RING_CHUNK ? need : REMORA_RING_CHUNK;
            if (size > available) size = available;
            if (size > ring->capacity - place) size = ring->capacity - place;
            const _Atomic uint64_t* word = &ring->data[place >> 3];
            for (int64_t i = 0; i < size >> 3; i++)
                ring->scratch[i] = atomic_load_explicit(word + i, memory_order_relaxed);
            // If one of these words is newer than wanted, `reserved` below is new enough to tell.
            atomic_thread_fence(memory_order_acquire);
            if (atomic_load_explicit(&ring->header->reserved, memory_order_relaxed) - cursor > ring->capacity) {
                remora_ring_overrun(ring);
                need = 8;
                continue;
            }
            ring->scratch_start = cursor;
            ring->scratch_end = cursor + size;
            ring->n_failures = 0;
            return 1;
        }
    }

    // The next record: 1 given, 0 none yet, -1 the ring is damaged.
    static inline int remora_ring_next(remora_ring_reader* ring, remora_ring_record* record) {
        for (;;) {
            const int64_t held = ring->scratch_end - ring->cursor;
            int64_t span = 8;
            if (held > 0) {
                const uint64_t* word = ring->scratch + ((ring->cursor - ring->scratch_start) >> 3);
                const int64_t size = (int64_t)(word[0] & 0xFFFFFFFFULL);
                const int64_t tail = ring->capacity - (ring->cursor & (ring->capacity - 1));
                span = (size + 7) & ~7LL;
                if (word[0] & REMORA_RING_PADDING) {
                    if (size != tail) return -1;
                    ring->cursor += tail;
                    if (ring->cursor > ring->scratch_end) ring->scratch_end = ring->cursor;
                    continue;
                }
                if (size < REMORA_RING_RECORD || span > tail
                    || size - REMORA_RING_RECORD > remora_ring_max_payload(ring->capacity)) return -1;
                if (span <= held) {
                    const int64_t sequence = (int64_t)word[1];
                    if (sequence != ring->next_sequence) {
                        if (sequence < 1 || !ring->is_adrift) return -1;
                        if (ring->next_sequence && sequence > ring->next_sequence)
                            ring->n_lost += sequence - ring->next_sequence;
                    }
                    ring->is_adrift = 0;
                    ring->next_sequence = sequence + 1;
                    record->sequence = sequence;
                    record->time_ns = (int64_t)word[2];
                    record->kind = (uint32_t)(word[0] >> 32) & 0xFFFF;
                    record->payload = (const char*)(word + 3);
                    record->size = size - REMORA_RING_RECORD;
                    ring->cursor += span;
                    return 1;
                }
            }
            const int filled = remora_ring_fill(ring, span);
            if (filled <= 0) return filled;
        }
    }

    // The sequence goes first: a reader killed between the two stores finds records that it knows, and loses none.
    static inline void remora_ring_mark_read(remora_ring_slot* slot, int64_t cursor, int64_t next_sequence) {
        atomic_store_explicit(&slot->next_sequence, next_sequence, memory_order_relaxed);
        atomic_store_explicit(&slot->cursor, cursor, memory_order_release);
    }

    static inline void remora_ring_set(_Atomic int64_t* counter, int64_t value) {
        atomic_store_explicit(counter, value, memory_order_release);
    }
    """
    ctypedef struct AtomicInt64 "_Atomic int64_t":
        pass
    ctypedef struct AtomicUint64 "_Atomic uint64_t":
        pass

    enum:
        RING_HEADER "REMORA_RING_HEADER"
        RING_SLOTS "REMORA_RING_SLOTS"
        RING_RECORD "REMORA_RING_RECORD"
        RING_CHUNK "REMORA_RING_CHUNK"

    ctypedef struct RingSlot "remora_ring_slot":
        AtomicInt64 cursor
        AtomicInt64 next_sequence
        AtomicInt64 is_durable
        int64_t pid
        char name[24]

    ctypedef struct RingHeader "remora_ring_header":
        char magic[8]
        uint32_t layout
        uint32_t header_size
        uint64_t schema
        int64_t epoch
        int64_t capacity
        int64_t writer_pid
        char instance[16]
        char boot_id[40]
        AtomicInt64 reserved
        AtomicInt64 committed
        AtomicInt64 is_closed
        RingSlot slots[16]

    ctypedef struct RingWriterState "remora_ring_writer":
        RingHeader* header
        AtomicUint64* data
        int64_t capacity
        int64_t max_payload
        int64_t position
        int64_t sequence

    ctypedef struct RingReaderState "remora_ring_reader":
        const RingHeader* header
        const AtomicUint64* data
        int64_t capacity
        int64_t cursor
        int64_t next_sequence
        int64_t is_adrift
        int64_t n_overruns
        int64_t n_lost
        uint64_t* scratch
        int64_t scratch_start
        int64_t scratch_end

    ctypedef struct RingRecord "remora_ring_record":
        int64_t sequence
        int64_t time_ns
        const char* payload
        int64_t size
        uint32_t kind

    # hot
    int64_t ring_push "remora_ring_push"(RingWriterState* ring, uint32_t kind, int64_t time_ns, const void* payload,
                                         int64_t size) noexcept nogil
    int64_t ring_see "remora_ring_see"(const AtomicInt64* counter) noexcept nogil
    void ring_set "remora_ring_set"(AtomicInt64* counter, int64_t value) noexcept nogil
    int64_t ring_durable_lag "remora_ring_durable_lag"(const RingHeader* header, int64_t position) noexcept nogil
    int64_t ring_max_payload "remora_ring_max_payload"(int64_t capacity) noexcept nogil
    int ring_next "remora_ring_next"(RingReaderState* ring, RingRecord* record) noexcept nogil
    void ring_seek_newest "remora_ring_seek_newest"(RingReaderState* ring, int64_t committed) noexcept nogil
    void ring_mark_read "remora_ring_mark_read"(RingSlot* slot, int64_t cursor, int64_t next_sequence) noexcept nogil


@final
cdef class RingWriter:
    cdef RingWriterState _ring
    cdef int _file                    # holds the lock that says: the writer lives
    cdef readonly str path
    cdef readonly int64_t capacity
    cdef readonly int64_t max_payload

    # hot
    cdef int64_t push(self, uint32_t kind, int64_t time_ns, const void* payload, int64_t size) noexcept nogil
    cdef double worst_durable_lag(self) noexcept nogil


@final
cdef class RingReader:
    cdef RingReaderState _ring
    cdef RingHeader* _header          # writable with a name, for the slot; the records are mapped read-only
    cdef RingSlot* _slot              # NULL without a name
    cdef int _file                    # holds the lock of the slot
    cdef readonly str path
    cdef readonly str name
    cdef readonly bint is_durable
    cdef readonly int64_t capacity
    cdef readonly int64_t epoch
    cdef readonly uint64_t schema
    cdef readonly str instance
    cdef readonly str boot_id
    cdef readonly int64_t writer_pid

    # hot
    cdef int next(self, RingRecord* record) noexcept nogil

    # cold
    cdef void _leave(self) noexcept
    cdef int _map(self) except -1
    cdef int _check(self, int64_t size, object schema) except -1
    cdef int _go_to_end(self) except -1
    cdef int _take_slot(self) except -1

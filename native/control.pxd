"""Contents page of the control page: 4,096 bytes in shared memory that say whether the engine lives and may trade.

The C block is the layout and its protocol; `engine.control` knows the same layout through the standard library, and a
test holds both together. Every shared word is 8 bytes, aligned, and has one writer: the engine, or the owner of a slot.
A slot holds state and time in one word (``time_ns << 2 | state``), so that no reader sees one without the other; only
`remora_control_clear` writes into the slots of others, and only over the word that it has seen.
"""

from cython cimport final
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <stdatomic.h>
    #include <stddef.h>
    #include <stdint.h>

    #if ATOMIC_LLONG_LOCK_FREE != 2
    #error "the control page needs lock-free atomics of 8 bytes"
    #endif
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the layout of the control page is little-endian"
    #endif

    enum {
        REMORA_CONTROL_SIZE = 4096,
        REMORA_CONTROL_LAYOUT = 1,
        REMORA_CONTROL_CHECKED = 96,     // bytes before the checksum
        REMORA_CONTROL_SLOTS = 4,
        REMORA_CONTROL_HALTED = 2,
    };
    #define REMORA_CONTROL_MAGIC 0x45474150434D4552ULL   // REMCPAGE

    typedef struct {
        _Alignas(64) _Atomic uint64_t word;
    } remora_control_slot;

    typedef struct {
        _Atomic uint64_t magic;              // 0 while the page is being made
        uint32_t layout;
        uint32_t size;
        char instance[16];
        int64_t epoch;
        int64_t pid;
        int64_t start_ns;
        char boot_id[40];
        uint32_t checksum;                   // CRC-32 of all before it
        _Alignas(64) _Atomic int64_t heartbeat_count;
        _Atomic int64_t heartbeat_ns;
        _Alignas(64) _Atomic int64_t breaker;
        _Atomic int64_t size_factor;         // 10^-6
        _Atomic int64_t sides;
        _Atomic int64_t is_paused;
        remora_control_slot slots[REMORA_CONTROL_SLOTS];
    } remora_control_page;
    _Static_assert(offsetof(remora_control_page, epoch) == 32, "layout 1");
    _Static_assert(offsetof(remora_control_page, checksum) == REMORA_CONTROL_CHECKED, "layout 1");
    _Static_assert(offsetof(remora_control_page, heartbeat_count) == 128, "layout 1");
    _Static_assert(offsetof(remora_control_page, breaker) == 192, "layout 1");
    _Static_assert(offsetof(remora_control_page, slots) == 256, "layout 1");
    _Static_assert(sizeof(remora_control_page) <= REMORA_CONTROL_SIZE, "it fits the page");

    static inline int remora_control_is_whole(const remora_control_page* page) {
        return atomic_load_explicit(&page->magic, memory_order_acquire) == REMORA_CONTROL_MAGIC
            && page->layout == REMORA_CONTROL_LAYOUT && page->size == REMORA_CONTROL_SIZE;
    }

    // The strictest of the slots; HALTED if there is no page, or none that can be trusted.
    static inline int remora_control_wanted(const remora_control_page* page) {
        if (!page || !remora_control_is_whole(page)) return REMORA_CONTROL_HALTED;
        uint64_t wanted = 0;
        for (int i = 0; i < REMORA_CONTROL_SLOTS; i++) {
            const uint64_t state = atomic_load_explicit(&page->slots[i].word, memory_order_acquire) & 3;
            if (state > wanted) wanted = state;
        }
        return wanted > REMORA_CONTROL_HALTED ? REMORA_CONTROL_HALTED : (int)wanted;
    }

    static inline void remora_control_beat(remora_control_page* page, int64_t now_ns) {
        if (!page) return;
        // The time goes first: who sees the count sees a time at least as new.
        const int64_t count = atomic_load_explicit(&page->heartbeat_count, memory_order_relaxed);
        atomic_store_explicit(&page->heartbeat_ns, now_ns, memory_order_relaxed);
        atomic_store_explicit(&page->heartbeat_count, count + 1, memory_order_release);
    }

    // Never lowers: a milder state than the slot's leaves the state and renews the time.
    static inline void remora_control_raise(remora_control_page* page, int slot, int state, int64_t now_ns) {
        if (!page) return;
        _Atomic uint64_t* word = &page->slots[slot].word;
        uint64_t seen = atomic_load_explicit(word, memory_order_relaxed), wanted;
        do {
            wanted = (uint64_t)state > (seen & 3) ? (uint64_t)state : (seen & 3);
        } while (!atomic_compare_exchange_weak_explicit(word, &seen, (uint64_t)now_ns << 2 | wanted,
                                                        memory_order_acq_rel, memory_order_relaxed));
    }

    // A slot that is raised between the look and the exchange stays raised.
    static inline void remora_control_clear(remora_control_page* page) {
        if (!page) return;
        for (int i = 0; i < REMORA_CONTROL_SLOTS; i++) {
            uint64_t seen = atomic_load_explicit(&page->slots[i].word, memory_order_acquire);
            if (seen & 3)
                atomic_compare_exchange_strong_explicit(&page->slots[i].word, &seen, 0, memory_order_acq_rel,
                                                        memory_order_relaxed);
        }
    }

    static inline int64_t remora_control_see(const _Atomic int64_t* word) {
        return atomic_load_explicit(word, memory_order_acquire);
    }

    static inline void remora_control_set(_Atomic int64_t* word, int64_t value) {
        atomic_store_explicit(word, value, memory_order_release);
    }

    static inline uint64_t remora_control_slot_word(const remora_control_page* page, int slot) {
        return atomic_load_explicit(&page->slots[slot].word, memory_order_acquire);
    }

    // Between these two the page reads as HALTED to everybody.
    static inline void remora_control_unmake(remora_control_page* page) {
        atomic_store_explicit(&page->magic, 0, memory_order_seq_cst);
        atomic_thread_fence(memory_order_seq_cst);
    }

    static inline void remora_control_make(remora_control_page* page) {
        atomic_store_explicit(&page->magic, REMORA_CONTROL_MAGIC, memory_order_release);
    }
    """
    ctypedef struct ControlWord "_Atomic int64_t":
        pass

    enum:
        CONTROL_SIZE "REMORA_CONTROL_SIZE"
        CONTROL_LAYOUT "REMORA_CONTROL_LAYOUT"
        CONTROL_CHECKED "REMORA_CONTROL_CHECKED"
        CONTROL_SLOTS "REMORA_CONTROL_SLOTS"
        CONTROL_MAGIC "REMORA_CONTROL_MAGIC"

    ctypedef struct ControlBytes "remora_control_page":
        uint32_t layout
        uint32_t size
        char instance[16]
        int64_t epoch
        int64_t pid
        int64_t start_ns
        char boot_id[40]
        uint32_t checksum
        ControlWord heartbeat_count
        ControlWord heartbeat_ns
        ControlWord breaker
        ControlWord size_factor
        ControlWord sides
        ControlWord is_paused

    # hot
    bint control_is_whole "remora_control_is_whole"(const ControlBytes* page) noexcept nogil
    int control_wanted "remora_control_wanted"(const ControlBytes* page) noexcept nogil
    void control_beat "remora_control_beat"(ControlBytes* page, int64_t now_ns) noexcept nogil
    void control_raise "remora_control_raise"(ControlBytes* page, int slot, int state, int64_t now_ns) noexcept nogil
    void control_clear "remora_control_clear"(ControlBytes* page) noexcept nogil
    int64_t control_see "remora_control_see"(const ControlWord* word) noexcept nogil
    void control_set "remora_control_set"(ControlWord* word, int64_t value) noexcept nogil
    uint64_t control_slot_word "remora_control_slot_word"(const ControlBytes* page, int slot) noexcept nogil
    void control_unmake "remora_control_unmake"(ControlBytes* page) noexcept nogil
    void control_make "remora_control_make"(ControlBytes* page) noexcept nogil


cpdef enum Wanted:
    """What the engine shall do; anyone may raise it, only a command lowers it."""
    WANTED_ACTIVE = 0
    WANTED_REDUCING = 1       # nothing but orders that reduce
    WANTED_HALTED = 2         # likewise, until `resume`


cpdef enum ControlSlot:
    """Who raises; each writes into its own slot."""
    SLOT_ENGINE = 0
    SLOT_OPERATOR = 1
    SLOT_GUARD = 2
    SLOT_KILL = 3


@final
cdef class ControlPage:
    cdef ControlBytes* _page          # NULL once closed: reads as HALTED
    cdef readonly str path
    cdef readonly bint was_damaged    # what `create` found at the path could not be trusted

    # hot
    cpdef int wanted(self) noexcept nogil
    cpdef void beat(self, int64_t now_ns) noexcept nogil
    cdef void raise_slot(self, int slot, int state, int64_t now_ns) noexcept nogil

    # cold
    cdef int _map(self, int file) except -1
    cdef int _fill(self, str instance, int64_t epoch, str boot_id, int64_t start_ns) except -1
    cdef ControlBytes* _open(self) except NULL

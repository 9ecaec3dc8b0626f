/* Drives the C block of native/ring.pxd, which is put before this text when it is compiled.
 *
 *   ring_driver write RING ACKNOWLEDGED   append without end; store each sequence when push has returned
 *   ring_driver threads CAPACITY RECORDS READERS   one writer and readers in one process, for the thread sanitizer
 *   ring_driver rest CAPACITY RECORDS FAILURES   a reader that has been overrun so often, of a writer that rests
 *
 * Kind, time, size and bytes of a record follow from its sequence, so that a reader can tell a torn one.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POOL = 1 << 20 };
static unsigned char pool[POOL];

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ x >> 27) * 0x94D049BB133111EBULL;
    return x ^ x >> 31;
}

static void fill_pool(void) {
    for (uint64_t i = 0; i < POOL; i += 8) {
        const uint64_t word = mix(i + 1);
        memcpy(pool + i, &word, 8);
    }
}

static int64_t size_of(uint64_t sequence, int64_t max_payload) {
    /* One in four may be as long as allowed, the others are short. */
    return (int64_t)(mix(sequence) % (uint64_t)((sequence & 3 ? max_payload / 16 : max_payload) + 1));
}

static const unsigned char* bytes_of(uint64_t sequence, int64_t size) {
    return pool + mix(~sequence) % (uint64_t)(POOL - size);
}

static int64_t push_next(remora_ring_writer* ring) {
    const uint64_t sequence = (uint64_t)ring->sequence + 1;
    const int64_t size = size_of(sequence, ring->max_payload);
    return remora_ring_push(ring, sequence & 0xFFFF, (int64_t)(sequence * 1000), bytes_of(sequence, size), size);
}

static void* mapped(const char* path, size_t* size) {
    struct stat found;
    const int file = open(path, O_RDWR);
    if (file < 0 || fstat(file, &found) != 0) exit(3);
    *size = (size_t)found.st_size;
    void* memory = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (memory == MAP_FAILED) exit(3);
    return memory;
}

static remora_ring_writer writer_of(void* memory, int64_t capacity) {
    remora_ring_writer ring = {0};
    ring.header = memory;
    ring.data = (_Atomic uint64_t*)((char*)memory + REMORA_RING_HEADER);
    ring.capacity = capacity;
    ring.max_payload = remora_ring_max_payload(capacity);
    return ring;
}

static void write_without_end(const char* path, const char* acknowledged_path) {
    size_t size, page;
    void* memory = mapped(path, &size);
    _Atomic int64_t* acknowledged = mapped(acknowledged_path, &page);
    remora_ring_writer ring = writer_of(memory, (int64_t)size - REMORA_RING_HEADER);
    for (;;) atomic_store_explicit(acknowledged, push_next(&ring), memory_order_release);
}

static void* memory;
static int64_t capacity, n_records;

static void* write_all(void* nothing) {
    remora_ring_writer ring = writer_of(memory, capacity);
    while (ring.sequence < n_records) push_next(&ring);
    remora_ring_set(&ring.header->is_closed, 1);
    return nothing;
}

static int64_t n_failures;

static void* read_all(void* result) {
    remora_ring_reader ring = {0};
    ring.n_failures = n_failures;
    remora_ring_record record;
    int64_t n_given = 0, last = 0;
    ring.header = memory;
    ring.data = (const _Atomic uint64_t*)((char*)memory + REMORA_RING_HEADER);
    ring.capacity = capacity;
    ring.next_sequence = ring.is_adrift = 1;
    ring.scratch = malloc(capacity > REMORA_RING_CHUNK ? (size_t)capacity : REMORA_RING_CHUNK);
    for (;;) {
        const int64_t is_closed = remora_ring_see(&ring.header->is_closed);
        const int status = remora_ring_next(&ring, &record);
        if (status < 0) exit(4);
        if (status == 0 && is_closed) break;
        if (status == 0) continue;
        const uint64_t sequence = (uint64_t)record.sequence;
        if (record.sequence <= last || record.kind != (sequence & 0xFFFF) || record.time_ns != record.sequence * 1000
            || record.size != size_of(sequence, remora_ring_max_payload(capacity))
            || memcmp(record.payload, bytes_of(sequence, record.size), (size_t)record.size) != 0) exit(5);
        last = record.sequence;
        n_given++;
    }
    free(ring.scratch);
    if (last != n_records || n_given + ring.n_lost != n_records) exit(6);
    int64_t* counts = result;
    counts[0] = n_given;
    counts[1] = ring.n_overruns;
    return result;
}

static int run_threads(int n_readers) {
    pthread_t writer, readers[8];
    int64_t counts[8][2];
    memory = aligned_alloc(4096, (size_t)(REMORA_RING_HEADER + capacity));
    memset(memory, 0, (size_t)(REMORA_RING_HEADER + capacity));
    for (int i = 0; i < n_readers; i++) pthread_create(&readers[i], NULL, read_all, counts[i]);
    pthread_create(&writer, NULL, write_all, NULL);
    pthread_join(writer, NULL);
    for (int i = 0; i < n_readers; i++) pthread_join(readers[i], NULL);
    for (int i = 0; i < n_readers; i++) printf("%lld %lld\n", (long long)counts[i][0], (long long)counts[i][1]);
    return 0;
}

static int run_rest(void) {
    int64_t counts[2];
    memory = aligned_alloc(4096, (size_t)(REMORA_RING_HEADER + capacity));
    memset(memory, 0, (size_t)(REMORA_RING_HEADER + capacity));
    write_all(NULL);
    read_all(counts);
    printf("%lld\n", (long long)counts[0]);
    return 0;
}

int main(int n_words, char** words) {
    fill_pool();
    if (n_words == 4 && strcmp(words[1], "write") == 0) write_without_end(words[2], words[3]);
    if (n_words != 5) return 2;
    capacity = atoll(words[2]);
    n_records = atoll(words[3]);
    if (strcmp(words[1], "rest") == 0) {
        n_failures = atoll(words[4]);
        return run_rest();
    }
    if (strcmp(words[1], "threads") != 0) return 2;
    return run_threads(atoi(words[4]));
}

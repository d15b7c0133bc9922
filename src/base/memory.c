/* Aligned, zeroed, counted memory. A header of one cache line before each block keeps its size. The
 * counters are atomic: a checkpoint is written by a thread of its own. */
#include "lockstep/memory.h"
#include "lockstep/error.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Tells the address sanitizer where a block ends; without it nothing happens. */
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

#define HEADER 64
#define HUGE_PAGE ((size_t)2 << 20)

typedef struct Header {
    void *base;
    size_t bytes;
    size_t mapped; /* bytes from mmap; 0: base is malloc's */
} Header;

static _Atomic size_t blocks, bytes_alive, peak_bytes, allocations;
static bool reserving;

void mem_reserve(bool on)
{
    reserving = on;
}

bool mem_reserving(void)
{
    return reserving;
}

void mem_count(size_t bytes)
{
    size_t now = atomic_fetch_add(&bytes_alive, bytes) + bytes;
    size_t peak = peak_bytes;
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now))
        ; /* peak is what another thread has left there */
}

void mem_discount(size_t bytes)
{
    size_t before = atomic_fetch_sub(&bytes_alive, bytes);
    expect(before >= bytes);
}

/* Zeros that take no memory yet; small pages, so that the header's does not bring 2 MiB. */
static void *map(size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    madvise(base, bytes, MADV_NOHUGEPAGE);
    return base;
}

void *mem_alloc(size_t bytes)
{
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : HEADER;
    size_t total = bytes + HEADER + align;
    bool mapped = reserving && bytes >= HUGE_PAGE;
    void *base = total <= bytes ? NULL : mapped ? map(total) : malloc(total);
    if (!base)
        die(EXIT_USAGE, "out of memory: %zu bytes wanted, %zu in use", bytes, mem_use().bytes);
    uintptr_t start = ((uintptr_t)base + HEADER + align - 1) / align * align;
    void *block = (void *)start;
    if (bytes >= HUGE_PAGE && !mapped)
        madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    if (!mapped)
        memset(block, 0, bytes);
    Header *header = (Header *)(start - HEADER);
    *header = (Header){ .base = base, .bytes = bytes, .mapped = mapped ? total : 0 };
    if (!mapped)
        ASAN_POISON_MEMORY_REGION((char *)block + bytes, (uintptr_t)base + total - start - bytes);
    blocks++;
    allocations++;
    mem_count(bytes);
    return block;
}

void mem_free(void *pointer)
{
    if (!pointer)
        return;
    Header *header = (Header *)((uintptr_t)pointer - HEADER);
    size_t before = blocks--;
    expect(before > 0);
    mem_discount(header->bytes);
    if (header->mapped)
        munmap(header->base, header->mapped);
    else
        free(header->base);
}

char *mem_string(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(mem_alloc(bytes), text, bytes);
}

void mem_grow(void *array_pointer, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity)
        return;
    void *old;
    memcpy(&old, array_pointer, sizeof old);
    size_t wanted = *capacity ? 2 * *capacity : 8;
    void *grown = mem_alloc(wanted * bytes);
    if (old)
        memcpy(grown, old, count * bytes);
    mem_free(old);
    memcpy(array_pointer, &grown, sizeof grown);
    *capacity = wanted;
}

MemUse mem_use(void)
{
    return (MemUse){
        .blocks = blocks, .bytes = bytes_alive, .peak_bytes = peak_bytes, .allocations = allocations
    };
}

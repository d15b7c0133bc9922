/* Memory: 64-byte aligned, zeroed, counted. No allocation happens inside a training step.
 * Out of memory is fatal (die), so callers never test for NULL. */
#ifndef LOCKSTEP_MEMORY_H
#define LOCKSTEP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* `bytes` zeroed bytes, aligned to 64; blocks of 2 MiB and more are aligned to and advised for huge
 * pages. Owned by the caller, freed with mem_free. bytes may be 0. */
void *mem_alloc(size_t bytes);
void mem_free(void *pointer); /* NULL is fine */

/* A copy of a C string, freed with mem_free. */
char *mem_string(const char *text);

/* Grows *array (elements of `bytes` each) so that at least count + 1 fit; *capacity is updated.
 * Doubles, so appending n elements costs O(n). New memory is zeroed. */
void mem_grow(void *array_pointer, size_t count, size_t *capacity, size_t bytes);

#define mem_new(type) ((type *)mem_alloc(sizeof(type)))
#define mem_array(type, count) ((type *)mem_alloc(sizeof(type) * (size_t)(count)))

/* From now on blocks are counted as ever, but take address space only: pages become memory when
 * they are written. So a dry run does what a run does and knows how much that would take. */
void mem_reserve(bool on);
bool mem_reserving(void);

/* Counts memory that came from elsewhere (a rank's part of a shared window), and forgets it. */
void mem_count(size_t bytes);
void mem_discount(size_t bytes);

/* Blocks alive, bytes alive now, most bytes alive at once, blocks allocated since the program
 * started. The tests check that a run ends at 0. */
typedef struct MemUse {
    size_t blocks, bytes, peak_bytes, allocations;
} MemUse;
MemUse mem_use(void);

#endif

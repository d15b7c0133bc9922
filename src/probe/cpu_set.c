/* Sets of CPUs, and how people write them. */
#include "facts.h"

#include "lockstep/text.h"

#include <string.h>

static bool has(const CpuSet *set, int cpu)
{
    return cpu < FACT_CPUS && set->words[cpu / 64] >> (cpu % 64) & 1;
}

void cpu_set_add(CpuSet *set, int cpu)
{
    if (cpu >= 0 && cpu < FACT_CPUS)
        set->words[cpu / 64] |= (uint64_t)1 << (cpu % 64);
}

void cpu_set_join(CpuSet *set, const CpuSet *other)
{
    for (int i = 0; i < FACT_WORDS; i++)
        set->words[i] |= other->words[i];
}

int cpu_set_count(const CpuSet *set)
{
    int count = 0;
    for (int i = 0; i < FACT_WORDS; i++)
        count += __builtin_popcountll(set->words[i]);
    return count;
}

bool cpu_set_equal(const CpuSet *a, const CpuSet *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *cpu_set_text(char *buffer, size_t size, const CpuSet *set)
{
    buffer[0] = '\0';
    for (int cpu = 0; cpu < FACT_CPUS; cpu++) {
        int first = cpu;
        if (!has(set, cpu))
            continue;
        while (has(set, cpu + 1))
            cpu++;
        text_append(buffer, size, "%s%d", buffer[0] ? "," : "", first);
        if (cpu > first)
            text_append(buffer, size, "-%d", cpu);
    }
    return buffer;
}

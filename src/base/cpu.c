/* What this CPU can do, and which kernels OpenBLAS runs on it. The OpenBLAS symbols are declared
 * here and weak: they are exported by Debian's DYNAMIC_ARCH build and may be absent elsewhere. */
#include "lockstep/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

extern char *openblas_get_corename(void) __attribute__((weak));
extern void openblas_set_num_threads(int count) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

static Isa isa_in_use = ISA_COUNT; /* ISA_COUNT: not chosen yet */
static char inherited_core[32];

#ifdef __x86_64__

/* Parts of x86-64-v3 that not every compiler's __builtin_cpu_supports knows by name. */
static bool has_f16c_movbe_lzcnt(void)
{
    unsigned a, b, c, d, extended;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && (c & bit_MOVBE) &&
           __get_cpuid(0x80000001, &a, &b, &extended, &d) && (extended & bit_LZCNT);
}

static bool has_v2(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
           __builtin_cpu_supports("popcnt");
}

static bool has_v3(void)
{
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           has_f16c_movbe_lzcnt();
}

static bool has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

Isa cpu_isa_best(void)
{
    __builtin_cpu_init();
    return has_v4() ? ISA_V4 : has_v3() ? ISA_V3 : ISA_V2;
}

bool cpu_is_supported(Err *err)
{
    __builtin_cpu_init();
    return has_v2() ||
           err_set(err, "%s: a CPU with x86-64-v2 (SSE 4.2, POPCNT; 2009) is needed", cpu_model());
}

#else

Isa cpu_isa_best(void)
{
    return ISA_V2;
}

bool cpu_is_supported(Err *err)
{
    (void)err;
    return true;
}

#endif

Isa cpu_isa(void)
{
    if (isa_in_use == ISA_COUNT)
        isa_in_use = cpu_isa_best();
    return isa_in_use;
}

const char *cpu_isa_name(Isa isa)
{
#ifdef __x86_64__
    static const char *const names[ISA_COUNT] = { "x86-64-v2", "x86-64-v3", "x86-64-v4" };
    return names[isa];
#else
    (void)isa;
    return "portable";
#endif
}

bool cpu_set_isa(const char *name, Err *err)
{
    static const char *const levels[ISA_COUNT] = { "v2", "v3", "v4" };
    Isa best = cpu_isa_best();
    if (strcmp(name, "auto") == 0) {
        isa_in_use = best;
        return true;
    }
    for (Isa isa = ISA_V2; isa < ISA_COUNT; isa++) {
        if (strcmp(name, levels[isa]) != 0)
            continue;
        if (isa > best)
            return err_set(err, "compute.isa: %s is not to be had, this CPU or build offers %s",
                           name, cpu_isa_name(best));
        isa_in_use = isa;
        return true;
    }
    return err_set(err, "compute.isa: \"%s\" is not one of auto, v2, v3, v4", name);
}

const char *cpu_model(void)
{
    static char model[128];
    if (model[0])
        return model;
    snprintf(model, sizeof model, "unknown CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            line[strcspn(line, "\n")] = 0;
            snprintf(model, sizeof model, "%s", colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
    return model;
}

const char *cpu_blas_core(void)
{
    return openblas_get_corename ? openblas_get_corename() : "unknown";
}

const char *cpu_blas_inherited(void)
{
    return inherited_core[0] ? inherited_core : cpu_blas_core();
}

/* OpenBLAS families by the width of the kernels they hold: 4 AVX-512, 3 AVX2 + FMA, 2 AVX, 1 less.
 * A family this list does not know is taken to be as good as the CPU. */
static int core_strength(const char *core)
{
    static const struct {
        const char *name;
        int strength;
    } cores[] = {
        { "SkylakeX", 4 },   { "Cooperlake", 4 },   { "SapphireRapids", 4 }, { "Haswell", 3 },
        { "Zen", 3 },        { "Excavator", 3 },    { "Sandybridge", 2 },    { "Bulldozer", 2 },
        { "Piledriver", 2 }, { "Steamroller", 2 },  { "Nehalem", 1 },        { "Prescott", 1 },
        { "Core2", 1 },      { "Penryn", 1 },       { "Dunnington", 1 },     { "Atom", 1 },
        { "Opteron", 1 },    { "Opteron_SSE3", 1 }, { "Barcelona", 1 },      { "Bobcat", 1 },
        { "Nano", 1 },       { "Katmai", 1 },       { "Coppermine", 1 },     { "Northwood", 1 },
        { "Banias", 1 },
    };
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (strcasecmp(core, cores[i].name) == 0)
            return cores[i].strength;
    return 4;
}

static void use_core(const char *name)
{
    gotoblas_dynamic_quit();
    if (name)
        setenv("OPENBLAS_CORETYPE", name, 1);
    else
        unsetenv("OPENBLAS_CORETYPE");
    gotoblas_dynamic_init();
}

/* Lets OpenBLAS choose for itself (an inherited choice dropped); if that is still too weak, because
 * the library is older than the CPU, names the strongest family that every CPU of this level can
 * run. */
static void use_strongest(int wanted)
{
    use_core(NULL);
    if (core_strength(cpu_blas_core()) < wanted)
        use_core(wanted == 4 ? "SkylakeX" : "Haswell");
}

bool cpu_blas_setup(const char *mode, Err *err)
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    if (!inherited_core[0])
        snprintf(inherited_core, sizeof inherited_core, "%s", cpu_blas_core());
    if (strcmp(mode, "keep") == 0)
        return true;
    bool can_change = gotoblas_dynamic_init && gotoblas_dynamic_quit && openblas_get_corename;
    if (strcmp(mode, "auto") == 0) {
        int wanted = cpu_isa_best() == ISA_V4 ? 4 : cpu_isa_best() == ISA_V3 ? 3 : 1;
        if (can_change && core_strength(cpu_blas_core()) < wanted)
            use_strongest(wanted);
    } else {
        if (!can_change)
            return err_set(err,
                           "compute.blas_core: this OpenBLAS (%s) cannot change its kernel family",
                           cpu_blas_core());
        if (cpu_isa_best() < ISA_V4 && core_strength(mode) == 4)
            return err_set(err, "compute.blas_core: this CPU cannot run the kernels of \"%s\"",
                           mode);
        use_core(mode);
        if (strcasecmp(cpu_blas_core(), mode) != 0)
            return err_set(err, "compute.blas_core: OpenBLAS does not know \"%s\", it took %s",
                           mode, cpu_blas_core());
    }
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    return true;
}

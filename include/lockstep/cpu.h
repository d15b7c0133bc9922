/* The CPU: instruction-set level of our own kernels, and the kernel family ("core") OpenBLAS uses.
 * Both decide bits, so both are part of a run's identity and are compared across ranks at start.
 *
 * Every file below src/base/kernels, src/nn/kernels, src/nn/layers, src/nn/losses, src/opt/methods
 * and src/opt/wrappers is compiled once per level with -DLOCKSTEP_ISA=v2|v3|v4 (x86-64-v2/v3/v4;
 * only `v2` elsewhere, meaning portable C). Its public objects are named with ISA_NAME, and the
 * family's registry picks by cpu_isa(). */
#ifndef LOCKSTEP_CPU_H
#define LOCKSTEP_CPU_H

#include "lockstep/error.h"

#include <stdbool.h>

typedef enum Isa { ISA_V2, ISA_V3, ISA_V4, ISA_COUNT } Isa;

#define ISA_PASTE2(name, level) name##_##level
#define ISA_PASTE(name, level) ISA_PASTE2(name, level)
#define ISA_NAME(name) ISA_PASTE(name, LOCKSTEP_ISA)

/* The level in use: the best this CPU and this build have, unless cpu_set_isa lowered it. */
Isa cpu_isa(void);
const char *cpu_isa_name(Isa isa); /* "x86-64-v4", ... */

/* The best level this CPU and build offer. */
Isa cpu_isa_best(void);

/* False if this CPU cannot run even the lowest level. */
bool cpu_is_supported(Err *err);

/* "auto", "v2", "v3" or "v4"; false if the CPU or the build lacks it. Before any model is built. */
bool cpu_set_isa(const char *name, Err *err);

/* The model name from the kernel, e.g. "AMD EPYC ..."; borrowed, never NULL. */
const char *cpu_model(void);

/* OpenBLAS. `mode` is "auto" (the strongest family for this CPU if the current one is weaker, e.g.
 * because OPENBLAS_CORETYPE=Haswell was inherited), "keep", or a family name such as "SkylakeX".
 * Re-initialises the library in process (weak gotoblas_dynamic_quit/init; a build without them is
 * kept and reported), pins it to one thread. Before the first gemm. */
bool cpu_blas_setup(const char *mode, Err *err);
const char *cpu_blas_core(void);      /* in use now, e.g. "SkylakeX" */
const char *cpu_blas_inherited(void); /* at start, before cpu_blas_setup */

#endif

/* The methods and wrappers, at the ISA level in use. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <string.h>

#define OPTIMIZER(name) extern const OptimizerType optimizer_##name##_v2;
#define WRAPPER(name) extern const WrapperType wrapper_##name##_v2;
#include "optimizers.def"
#include "wrappers.def"
#undef OPTIMIZER
#undef WRAPPER
#define OPTIMIZER(name) &optimizer_##name##_v2,
#define WRAPPER(name) &wrapper_##name##_v2,
static const OptimizerType *const methods_v2[] = {
#include "optimizers.def"
};
static const WrapperType *const wrappers_v2[] = {
#include "wrappers.def"
};
#undef OPTIMIZER
#undef WRAPPER

#ifdef __x86_64__
#define OPTIMIZER(name) extern const OptimizerType optimizer_##name##_v3, optimizer_##name##_v4;
#define WRAPPER(name) extern const WrapperType wrapper_##name##_v3, wrapper_##name##_v4;
#include "optimizers.def"
#include "wrappers.def"
#undef OPTIMIZER
#undef WRAPPER
#define OPTIMIZER(name) &optimizer_##name##_v3,
#define WRAPPER(name) &wrapper_##name##_v3,
static const OptimizerType *const methods_v3[] = {
#include "optimizers.def"
};
static const WrapperType *const wrappers_v3[] = {
#include "wrappers.def"
};
#undef OPTIMIZER
#undef WRAPPER
#define OPTIMIZER(name) &optimizer_##name##_v4,
#define WRAPPER(name) &wrapper_##name##_v4,
static const OptimizerType *const methods_v4[] = {
#include "optimizers.def"
};
static const WrapperType *const wrappers_v4[] = {
#include "wrappers.def"
};
#undef OPTIMIZER
#undef WRAPPER
static const OptimizerType *const *const methods[ISA_COUNT] = { methods_v2, methods_v3,
                                                                methods_v4 };
static const WrapperType *const *const wrappers[ISA_COUNT] = { wrappers_v2, wrappers_v3,
                                                               wrappers_v4 };
#else
static const OptimizerType *const *const methods[ISA_COUNT] = { methods_v2 };
static const WrapperType *const *const wrappers[ISA_COUNT] = { wrappers_v2 };
#endif

enum {
    METHOD_COUNT = sizeof methods_v2 / sizeof *methods_v2,
    WRAPPER_COUNT = sizeof wrappers_v2 / sizeof *wrappers_v2,
};

const OptimizerType *const *optimizer_all(int *count)
{
    *count = METHOD_COUNT;
    return methods[cpu_isa()];
}

const WrapperType *const *wrapper_all(int *count)
{
    *count = WRAPPER_COUNT;
    return wrappers[cpu_isa()];
}

const OptimizerType *optimizer_find(const char *name)
{
    for (int i = 0; i < METHOD_COUNT; i++)
        if (strcmp(methods[cpu_isa()][i]->name, name) == 0)
            return methods[cpu_isa()][i];
    return NULL;
}

const WrapperType *wrapper_find(const char *name)
{
    for (int i = 0; i < WRAPPER_COUNT; i++)
        if (strcmp(wrappers[cpu_isa()][i]->name, name) == 0)
            return wrappers[cpu_isa()][i];
    return NULL;
}

/* Picks the kernels of the ISA level in use. */
#include "lockstep/kernels.h"

extern const Kernels kernels_passes_v2;
extern const PeakKernels kernels_peak_v2;
#ifdef __x86_64__
extern const Kernels kernels_passes_v3, kernels_passes_v4;
extern const PeakKernels kernels_peak_v3, kernels_peak_v4;
#endif

const Kernels *kernels(void)
{
#ifdef __x86_64__
    if (cpu_isa() == ISA_V4)
        return &kernels_passes_v4;
    if (cpu_isa() == ISA_V3)
        return &kernels_passes_v3;
#endif
    return &kernels_passes_v2;
}

const PeakKernels *peak_kernels(Isa isa)
{
#ifdef __x86_64__
    static const PeakKernels *const levels[ISA_COUNT] = { &kernels_peak_v2, &kernels_peak_v3,
                                                          &kernels_peak_v4 };
    return levels[isa];
#else
    (void)isa;
    return &kernels_peak_v2;
#endif
}

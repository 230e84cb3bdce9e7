// What the launchers call: kernels on raw pointers, free of any torch header, so that the device compiler never reads
// one and the host kernels can be compiled for several instruction sets.
#pragma once

#include "core.h"

namespace sarigan {

// begin, end: this thread's share, of elements, of parts, and of rows of output [outer * h.out].
struct CpuKernels {
  void (*bias_act)(const BiasActArgs&, int64_t begin, int64_t end);
  void (*bias_act_derivative)(const BiasActArgs&, int64_t begin, int64_t end);
  void (*upfirdn2d)(const UpfirdnArgs&, int64_t begin, int64_t end);
};

const CpuKernels& cpu_kernels_baseline(Type type);
const CpuKernels& cpu_kernels_avx2(Type type);

}  // namespace sarigan

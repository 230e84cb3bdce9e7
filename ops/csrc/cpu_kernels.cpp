// The host kernels, compiled once for each instruction set (SARIGAN_ISA: baseline, avx2).
#include "cpu_bias_act.h"
#include "cpu_upfirdn2d.h"
#include "cpu_short_filter.h"

namespace sarigan {

#define SARIGAN_JOIN(a, b) a##b
#define SARIGAN_NAME(a, b) SARIGAN_JOIN(a, b)

const CpuKernels& SARIGAN_NAME(cpu_kernels_, SARIGAN_ISA)(Type type) {
  static const CpuKernels tables[] = {
      {bias_act<Half>, bias_act_derivative<Half>, upfirdn2d<Half>},
      {bias_act<BFloat16>, bias_act_derivative<BFloat16>, upfirdn2d<BFloat16>},
      {bias_act<float>, bias_act_derivative<float>, upfirdn2d<float>},
      {bias_act<double>, bias_act_derivative<double>, upfirdn2d<double>},
  };
  return tables[static_cast<int>(type)];
}

}  // namespace sarigan

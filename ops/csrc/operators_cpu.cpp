// The CPU's side of operators.cpp: threads, the instruction set of this machine, and memory in large pages.
#include <ATen/Parallel.h>

#include <cstdlib>
#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "launch.h"

namespace sarigan::launch {
namespace {

// ATEN_CPU_CAPABILITY=default, which holds PyTorch's own kernels to the baseline, holds these too.
bool held_to_baseline() {
  const char* capability = std::getenv("ATEN_CPU_CAPABILITY");
  return capability && std::strcmp(capability, "default") == 0;
}

const CpuKernels& kernels(Type type) {
#ifdef __x86_64__
  static const bool avx2 = !held_to_baseline() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                           __builtin_cpu_supports("f16c");
  if (avx2) return cpu_kernels_avx2(type);
#endif
  return cpu_kernels_baseline(type);
}

// Elements that pay for waking another thread.
constexpr int64_t kGrain = 32768;

}  // namespace

const int64_t part_elements = 16384;
const int64_t min_channels = 64;

// Fresh memory is mapped page by page on first touch, which for 4 KiB pages costs as much as the operator itself.
void prepare_memory(void* memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t page = 2 << 20;
  uintptr_t start = reinterpret_cast<uintptr_t>(memory), end = (start + bytes) / page * page;
  start = (start + page - 1) / page * page;
  if (start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
#endif
}

void bias_act(int, Type type, const BiasActArgs& args) {
  const CpuKernels& k = kernels(type);
  at::parallel_for(0, args.numel, kGrain, [&](int64_t begin, int64_t end) { k.bias_act(args, begin, end); });
}

void bias_act_derivative(int, Type type, const BiasActArgs& args) {
  const CpuKernels& k = kernels(type);
  const Parts parts = parts_of(args);
  const int64_t grain = parts.count * kGrain / args.numel + 1;
  at::parallel_for(0, parts.count, grain, [&](int64_t begin, int64_t end) { k.bias_act_derivative(args, begin, end); });
}

void upfirdn2d(int, Type type, const UpfirdnArgs& args) {
  const CpuKernels& k = kernels(type);
  const int64_t grain = kGrain / (args.w.out * args.inner) + 1;
  at::parallel_for(0, args.outer * args.h.out, grain, [&](int64_t begin, int64_t end) { k.upfirdn2d(args, begin, end); });
}

}  // namespace sarigan::launch

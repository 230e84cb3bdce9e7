// Which device program serves a call. Runner: the CUDA launcher, or the host loop that stands in for it in the tests; it has
//   elements(program, count)   program(k) for 0 <= k < count
//   blocks(program)            program.run<phase>(block, thread, ...) phase by phase, with a barrier between phases
#pragma once

#include "device_bias_act.h"
#include "device_upfirdn2d.h"

namespace sarigan {

constexpr int64_t kSmallIndex = int64_t(1) << 30;  // up to here 32-bit indices, a grid's stride added, do not overflow

// Whether packs of V elements starting at multiples of V are aligned in every tensor of the call.
template <class T, int V>
bool aligned(const BiasActArgs& a) {
  auto misplaced = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % (sizeof(T) * V) != 0; };
  return !misplaced(a.x) && !misplaced(a.y) && !misplaced(a.out);
}

template <class T, int V, bool Derivative, class Runner>
void run_elements(Runner& runner, const BiasActArgs& a) {
  const int64_t count = (a.numel + V - 1) / V;
  if (a.numel <= kSmallIndex)
    runner.elements(BiasActElements<T, uint32_t, V, Derivative>(a), count);
  else
    runner.elements(BiasActElements<T, int64_t, V, Derivative>(a), count);
}

template <class T, class Runner>
void run_bias_act(Runner& runner, const BiasActArgs& a, bool derivative) {
  constexpr int V = 16 / sizeof(T);
  const bool packs = aligned<T, V>(a);
  if (derivative && a.partial_sums) {
    if (packs && (a.inner == 1 ? a.channels : a.inner) % V == 0)
      runner.blocks(BiasActSums<T, V>(a));
    else
      runner.blocks(BiasActSums<T, 1>(a));
  } else if (derivative) {
    packs ? run_elements<T, V, true>(runner, a) : run_elements<T, 1, true>(runner, a);
  } else {
    packs ? run_elements<T, V, false>(runner, a) : run_elements<T, 1, false>(runner, a);
  }
}

template <class Runner>
void run_bias_act(Runner& runner, Type type, const BiasActArgs& a, bool derivative) {
  switch (type) {
    case Type::float16: return run_bias_act<Half>(runner, a, derivative);
    case Type::bfloat16: return run_bias_act<BFloat16>(runner, a, derivative);
    case Type::float32: return run_bias_act<float>(runner, a, derivative);
    case Type::float64: return run_bias_act<double>(runner, a, derivative);
  }
}

template <class T, int Up, int Down, class Runner>
void run_tiles(Runner& runner, const UpfirdnArgs& a) {
  if (a.h.taps <= 4)
    runner.blocks(UpfirdnTiles<T, Up, Down, 4>(a));
  else
    runner.blocks(UpfirdnTiles<T, Up, Down, 8>(a));
}

template <class T, class Runner>
void run_upfirdn2d(Runner& runner, const UpfirdnArgs& a) {
  const int64_t outputs = a.outer * a.h.out * a.w.out * a.inner;
  const auto factors = [&](int64_t up, int64_t down) {
    return a.h.up == up && a.w.up == up && a.h.down == down && a.w.down == down;
  };
  if (a.separable && a.h.taps <= 8 && outputs / 16 < kSmallIndex) {  // a tile holds 16 outputs and more, or all of a plane
    if (factors(1, 1)) return run_tiles<T, 1, 1>(runner, a);
    if (factors(2, 1)) return run_tiles<T, 2, 1>(runner, a);
    if (factors(1, 2)) return run_tiles<T, 1, 2>(runner, a);
  }
  runner.elements(UpfirdnElements<T>(a), outputs);
}

template <class Runner>
void run_upfirdn2d(Runner& runner, Type type, const UpfirdnArgs& a) {
  switch (type) {
    case Type::float16: return run_upfirdn2d<Half>(runner, a);
    case Type::bfloat16: return run_upfirdn2d<BFloat16>(runner, a);
    case Type::float32: return run_upfirdn2d<float>(runner, a);
    case Type::float64: return run_upfirdn2d<double>(runner, a);
  }
}

}  // namespace sarigan

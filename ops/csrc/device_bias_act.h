// bias_act as the threads of a GPU run it, as functions of the thread's index: the CUDA kernels call them on the device,
// the tests run them on the host for every index in turn (operators_emulation.cpp).
#pragma once

#include "core.h"

namespace sarigan {

// V elements that one instruction loads or stores.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T at[V];
};

// Thread k computes elements [V*k, V*k + V) of the output or of the derivative. I: uint32_t where it suffices.
template <class T, class I, int V, bool Derivative>
struct BiasActElements {
  using A = acc_t<T>;
  using Index = I;
  const T *x, *y;
  const A* bias;
  T* out;
  Activation<A> act;
  Index numel, channels, inner;

  explicit BiasActElements(const BiasActArgs& a)
      : x(static_cast<const T*>(a.x)), y(static_cast<const T*>(a.y)), bias(static_cast<const A*>(a.bias)),
        out(static_cast<T*>(a.out)), act(activation_of<T>(a)), numel(Index(a.numel)), channels(Index(a.channels)),
        inner(Index(a.inner)) {}

  SARIGAN_METHOD void operator()(Index k) const {
    const Index first = k * V;
    Index plane = first / inner, place = first - plane * inner, channel = plane - plane / channels * channels;
    const auto element = [&](T input, T output) {
      A v = widen(input) + (bias ? bias[channel] : A(0));
      if (++place == inner) {
        place = 0;
        if (++channel == channels) channel = 0;
      }
      return narrow<T>(Derivative ? act.derivative(v, y ? A(widen(output)) : A(0)) : act.value(v));
    };
    if (numel - first >= V) {
      Pack<T, V> input = *reinterpret_cast<const Pack<T, V>*>(x + first), output = input;
      if (Derivative && y) output = *reinterpret_cast<const Pack<T, V>*>(y + first);
#pragma unroll
      for (int j = 0; j < V; ++j) input.at[j] = element(input.at[j], output.at[j]);
      *reinterpret_cast<Pack<T, V>*>(out + first) = input;
    } else {
      for (Index i = first; i < numel; ++i) out[i] = element(x[i], Derivative && y ? y[i] : x[i]);
    }
  }
};

// The derivative with its sums over channels. A block takes one part (see Parts), or up to 32 packs of channels of it;
// its threads add up what they computed, then the block adds up its threads in a fixed order.
template <class T, int V>
struct BiasActSums {
  using A = acc_t<T>;
  static constexpr int kPhases = 3, kThreads = 256, kFold = 16, kLanes = 32;
  BiasActArgs a;
  Activation<A> act;
  Parts parts;
  int64_t packs;  // of a row of channels, if inner is 1

  explicit BiasActSums(const BiasActArgs& args)
      : a(args), act(activation_of<T>(args)), parts(parts_of(args)), packs(args.channels / V) {}

  int64_t num_blocks() const { return parts.count * (parts.per_plane ? 1 : (packs + kLanes - 1) / kLanes); }
  int num_threads() const { return kThreads; }
  int64_t shared_elements() const { return parts.per_plane ? kThreads + kFold : kThreads * V; }

  template <int Phase>
  SARIGAN_METHOD void run(uint32_t block, int thread, int, A* shared) const {
    if (parts.per_plane)
      Phase == 0 ? plane(block, thread, shared) : add_plane<Phase>(block, thread, shared);
    else
      Phase == 0 ? rows(block, thread, shared) : add_rows<Phase>(block, thread, shared);
  }

 private:
  // Derivative of the pack at `first`; adds it to sums[0 .. V).
  SARIGAN_METHOD void pack(int64_t first, const A* bias, int bias_step, A* sums) const {
    using P = Pack<T, V>;
    P t = *reinterpret_cast<const P*>(static_cast<const T*>(a.x) + first), y = t;
    if (a.y) y = *reinterpret_cast<const P*>(static_cast<const T*>(a.y) + first);
    for (int j = 0; j < V; ++j) {
      A v = act.derivative(A(widen(t.at[j]) + (bias ? bias[j * bias_step] : A(0))), a.y ? A(widen(y.at[j])) : A(0));
      sums[j] += v;
      t.at[j] = narrow<T>(v);
    }
    *reinterpret_cast<P*>(static_cast<T*>(a.out) + first) = t;
  }

  SARIGAN_METHOD void plane(uint32_t block, int thread, A* shared) const {
    const Range range = elements_of(a, parts, block);
    const A* bias = a.bias ? static_cast<const A*>(a.bias) + block / parts.per_plane % a.channels : nullptr;
    A sums[V] = {};
    for (int64_t i = range.first + thread * V; i < range.stop; i += kThreads * V) pack(i, bias, 0, sums);
    for (int j = 1; j < V; ++j) sums[0] += sums[j];
    shared[thread] = sums[0];
  }

  template <int Phase>
  SARIGAN_METHOD void add_plane(uint32_t block, int thread, A* shared) const {
    const int stride = kThreads / kFold;
    A sum = 0;
    if (Phase == 1 && thread < kFold) {
      for (int j = 0; j < stride; ++j) sum += shared[j * kFold + thread];
      shared[kThreads + thread] = sum;
    } else if (Phase == 2 && thread == 0) {
      for (int j = 0; j < kFold; ++j) sum += shared[kThreads + j];
      static_cast<A*>(a.partial_sums)[block] = sum;
    }
  }

  struct Slice {
    int64_t part, first_pack;
    int lanes;
  };
  SARIGAN_METHOD Slice slice_of(uint32_t block) const {
    int64_t slices = (packs + kLanes - 1) / kLanes, part = block / slices, first = (block - part * slices) * kLanes;
    return Slice{part, first, int(packs - first < kLanes ? packs - first : kLanes)};
  }

  SARIGAN_METHOD void rows(uint32_t block, int thread, A* shared) const {
    const Slice slice = slice_of(block);
    const Range range = elements_of(a, parts, slice.part);
    const int row = thread / slice.lanes, step = kThreads / slice.lanes;
    const int64_t channel = (slice.first_pack + thread - row * slice.lanes) * V;
    const A* bias = a.bias ? static_cast<const A*>(a.bias) + channel : nullptr;
    A sums[V] = {};
    if (row < step)
      for (int64_t i = range.first + row * a.channels; i < range.stop; i += step * a.channels)
        pack(i + channel, bias, 1, sums);
    for (int j = 0; j < V; ++j) shared[thread * V + j] = sums[j];
  }

  template <int Phase>
  SARIGAN_METHOD void add_rows(uint32_t block, int thread, A* shared) const {
    const Slice slice = slice_of(block);
    for (int column = Phase == 1 ? thread : slice.lanes * V; column < slice.lanes * V; column += kThreads) {
      A sum = 0;
      for (int row = 0; row < kThreads / slice.lanes; ++row) sum += shared[row * slice.lanes * V + column];
      static_cast<A*>(a.partial_sums)[slice.part * a.channels + slice.first_pack * V + column] = sum;
    }
  }
};

}  // namespace sarigan

// bias_act and its derivative on the host, a run of elements of one bias value (or of consecutive channels) at a time.
#pragma once

#include "cpu_vector.h"
#include "kernels.h"

namespace sarigan {
namespace {

// Calls run(first, count, channel) for the stretches of [begin, end) within one channel, or one row of channels.
template <class Run>
SARIGAN_FN void for_each_run(const BiasActArgs& a, int64_t begin, int64_t end, Run run) {
  int64_t length = a.inner == 1 ? a.channels : a.inner;
  int64_t row = begin / length, channel = a.inner == 1 ? 0 : row % a.channels;
  while (begin < end) {
    int64_t stop = (row + 1) * length < end ? (row + 1) * length : end;
    run(begin, stop - begin, a.inner == 1 ? begin - row * length : channel);
    begin = stop;
    ++row;
    if (++channel == a.channels) channel = 0;
  }
}

template <class T>
void bias_act(const BiasActArgs& a, int64_t begin, int64_t end) {
  using A = acc_t<T>;
  const Activation<A> act = activation_of<T>(a);
  const A* bias = static_cast<const A*>(a.bias);
  const bool per_element = bias && a.inner == 1;
  for_each_run(a, begin, end, [&](int64_t first, int64_t count, int64_t channel) {
    const T* x = static_cast<const T*>(a.x) + first;
    T* y = static_cast<T*>(a.out) + first;
    const A* b = bias ? bias + channel : nullptr;
    const A constant = b && !per_element ? *b : A(0);
    int64_t j = 0;
    if (per_element)
      for (; j + kLanes<A> <= count; j += kLanes<A>) store(y + j, act.value(load(x + j) + load(b + j)));
    else
      for (; j + kLanes<A> <= count; j += kLanes<A>) store(y + j, act.value(load(x + j) + constant));
    for (; j < count; ++j) y[j] = narrow<T>(act.value(widen(x[j]) + (per_element ? b[j] : constant)));
  });
}

// sums: of one plane (a single value in lane order) or, per element, of consecutive channels; null if not wanted.
template <bool WithY, bool PerElement, class T, class A>
SARIGAN_FN void derivative_run(const Activation<A>& act, const T* t, const A* b, const T* y, T* out, A* sums,
                               int64_t count) {
  const A constant = b && !PerElement ? *b : A(0);
  Vector<A> total{};
  A rest = 0;
  int64_t j = 0;
  for (; j + kLanes<A> <= count; j += kLanes<A>) {
    Vector<A> v = load(t + j);
    if (PerElement) {
      if (b) v += load(b + j);
    } else {
      v += constant;
    }
    v = act.derivative(v, WithY ? load(y + j) : Vector<A>{});
    store(out + j, v);
    if (PerElement) {
      if (sums) store(sums + j, load(sums + j) + v);
    } else {
      total += v;
    }
  }
  for (; j < count; ++j) {
    A v = widen(t[j]) + (PerElement ? (b ? b[j] : A(0)) : constant);
    v = act.derivative(v, WithY ? A(widen(y[j])) : A(0));
    out[j] = narrow<T>(v);
    if (!PerElement)
      rest += v;
    else if (sums)
      sums[j] += v;
  }
  if (!PerElement && sums) *sums += sum_lanes<A>(total) + rest;
}

template <class T>
void bias_act_derivative(const BiasActArgs& a, int64_t begin, int64_t end) {
  using A = acc_t<T>;
  const Activation<A> act = activation_of<T>(a);
  const Parts parts = parts_of(a);
  const A* bias = static_cast<const A*>(a.bias);
  const T* y = static_cast<const T*>(a.y);
  for (int64_t part = begin; part < end; ++part) {
    const Range range = elements_of(a, parts, part);
    A* sums = static_cast<A*>(a.partial_sums);
    if (sums) {
      int64_t width = parts.per_plane ? 1 : a.channels;
      sums += part * width;
      for (int64_t c = 0; c < width; ++c) sums[c] = 0;
    }
    for_each_run(a, range.first, range.stop, [&](int64_t from, int64_t count, int64_t channel) {
      const T* t = static_cast<const T*>(a.x) + from;
      T* out = static_cast<T*>(a.out) + from;
      const A* b = bias ? bias + channel : nullptr;
      const T* output = y ? y + from : nullptr;
      A* s = sums && !parts.per_plane ? sums + channel : sums;
      if (parts.per_plane)
        y ? derivative_run<true, false>(act, t, b, output, out, s, count)
          : derivative_run<false, false>(act, t, b, output, out, s, count);
      else
        y ? derivative_run<true, true>(act, t, b, output, out, s, count)
          : derivative_run<false, true>(act, t, b, output, out, s, count);
    });
  }
}

}  // namespace
}  // namespace sarigan

// Weighted sums of rows of numbers, and rows split into every n-th element and put together again.
#pragma once

#include "cpu_vector.h"

namespace sarigan {
namespace {

// dst[j] = sum_r taps[r] * src[r][j], or += it.
template <int R, bool Add, class D, class S, class A>
void combine_few(D* dst, const S* const* sources, const A* factors, int64_t n) {
  const int64_t lanes = kLanes<A>;
  const S* src[R];  // copies, which a store to dst cannot change
  A taps[R];
  for (int r = 0; r < R; ++r) src[r] = sources[r], taps[r] = factors[r];
  auto at = [&](int64_t j) {
    Vector<A> sum = load(src[0] + j) * taps[0];
    for (int r = 1; r < R; ++r) sum += load(src[r] + j) * taps[r];
    return sum;
  };
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    Vector<A> sum = at(j);
    if constexpr (Add) sum += load(dst + j);
    store(dst + j, sum);
  }
  if (!Add && j < n && n >= lanes) {  // the last vector overlaps the one before
    store(dst + n - lanes, at(n - lanes));
    return;
  }
  for (; j < n; ++j) {
    A sum = widen(src[0][j]) * taps[0];
    for (int r = 1; r < R; ++r) sum += widen(src[r][j]) * taps[r];
    if constexpr (Add) sum += dst[j];
    dst[j] = narrow<D>(sum);
  }
}

template <bool Add, class D, class S, class A>
void combine_up_to_four(D* dst, const S* const* src, const A* taps, int64_t count, int64_t n) {
  switch (count) {
    case 1: return combine_few<1, Add>(dst, src, taps, n);
    case 2: return combine_few<2, Add>(dst, src, taps, n);
    case 3: return combine_few<3, Add>(dst, src, taps, n);
    default: return combine_few<4, Add>(dst, src, taps, n);
  }
}

template <class S, class A>
void combine(A* dst, const S* const* src, const A* taps, int64_t count, int64_t n, bool add) {
  if (count == 0 && !add) memset(dst, 0, n * sizeof(A));
  for (int64_t r = 0; r < count; r += 4, add = true) {
    int64_t few = count - r < 4 ? count - r : 4;
    add ? combine_up_to_four<true>(dst, src + r, taps + r, few, n)
        : combine_up_to_four<false>(dst, src + r, taps + r, few, n);
  }
}

template <class A>
void store_row(A* dst, const A* src, int64_t n) {
  memcpy(dst, src, n * sizeof(A));
}
template <class T>
void store_row(T* dst, const acc_t<T>* src, int64_t n) {
  const acc_t<T> one = 1;
  combine_few<1, false>(dst, &src, &one, n);
}

// packed[p][q, s] = line[stride * q + p, s], for the first n samples of a line of `inner` elements each; pitch: from
// packed[p] to packed[p + 1]. Two neighbours at a time where the elements lie singly, which the compiler turns into shuffles.
template <class A>
void deinterleave(A* __restrict packed, const A* __restrict line, int64_t n, int64_t stride, int64_t inner, int64_t pitch) {
  const int64_t pairs = inner == 1 && stride == 2 ? n / 2 : 0;
  A* __restrict second = packed + pitch;
  for (int64_t q = 0; q < pairs; ++q) {
    packed[q] = line[2 * q];
    second[q] = line[2 * q + 1];
  }
  for (int64_t i = 2 * pairs, q = pairs; i < n; ++q)
    for (int64_t p = 0; p < stride && i < n; ++p, ++i)
      for (int64_t s = 0; s < inner; ++s) packed[p * pitch + q * inner + s] = line[i * inner + s];
}

// The other way round.
template <class A>
void interleave(A* __restrict line, const A* __restrict packed, int64_t n, int64_t stride, int64_t inner, int64_t pitch) {
  const int64_t pairs = inner == 1 && stride == 2 ? n / 2 : 0;
  const A* __restrict second = packed + pitch;
  for (int64_t q = 0; q < pairs; ++q) {
    line[2 * q] = packed[q];
    line[2 * q + 1] = second[q];
  }
  for (int64_t i = 2 * pairs, q = pairs; i < n; ++q)
    for (int64_t p = 0; p < stride && i < n; ++p, ++i)
      for (int64_t s = 0; s < inner; ++s) line[i * inner + s] = packed[p * pitch + q * inner + s];
}

}  // namespace
}  // namespace sarigan

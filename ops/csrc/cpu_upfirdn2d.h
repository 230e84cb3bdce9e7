// upfirdn2d on the host, one row of output at a time: the rows that reach it are combined by the vertical taps into a
// zero-padded window, and shifted copies of the window by the horizontal taps. With up = u, output m = u*q + r is a plain
// correlation of phase r at q; with down = d the window is split so that every d-th input lies side by side. All inner
// loops then run over consecutive memory, over columns when contiguous and over columns and channels when channels_last.
#pragma once

#include <new>

#include "cpu_vector.h"
#include "kernels.h"

namespace sarigan {
namespace {

// dst[j] = sum_r taps[r] * src[r][j], or += it.
template <int R, bool Add, class D, class S, class A>
void combine_few(D* dst, const S* const* src, const A* taps, int64_t n) {
  const int64_t lanes = kLanes<A>;
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

// packed[q, s] = strided[stride * q, s] for q < n and s < inner, and the other way round.
template <class A>
void gather(A* packed, const A* strided, int64_t n, int64_t stride, int64_t inner) {
  if (inner == 1 && stride == 2)
    for (int64_t q = 0; q < n; ++q) packed[q] = strided[2 * q];
  else
    for (int64_t q = 0; q < n; ++q)
      for (int64_t s = 0; s < inner; ++s) packed[q * inner + s] = strided[q * stride * inner + s];
}
template <class A>
void scatter(A* strided, const A* packed, int64_t n, int64_t stride, int64_t inner) {
  if (inner == 1 && stride == 2)
    for (int64_t q = 0; q < n; ++q) strided[2 * q] = packed[q];
  else
    for (int64_t q = 0; q < n; ++q)
      for (int64_t s = 0; s < inner; ++s) strided[q * stride * inner + s] = packed[q * inner + s];
}

template <class T>
class RowFilter {
  using A = acc_t<T>;

 public:
  explicit RowFilter(const UpfirdnArgs& args) : a(args), h(args.h), w(args.w), inner(args.inner) {
    // About 16 KiB of window: it and the rows of a phase stay in the first-level cache.
    int64_t tile = int64_t(16384 / sizeof(A)) / inner * w.up / w.down / w.up, most = (w.out + w.up - 1) / w.up;
    quotients = tile < 1 ? 1 : tile < most ? tile : most;
    lead = -floor_div(w.taps - 1 - w.offset, w.up);
    window = w.down * (quotients - 1) + floor_div(w.down * (w.up - 1) + w.offset, w.up) - lead + 1;
    pitch = (window + w.down - 1) / w.down * inner;
    reach = (w.taps - 1) / w.up + 1;

    shifts = allocate<int64_t>(w.up * reach);
    counts = allocate<int64_t>(w.up);
    taps = allocate<A>((a.separable ? 1 : h.taps) * w.up * reach);
    vertical_taps = allocate<A>(h.taps);
    rows = allocate<const T*>(h.taps);
    columns = allocate<const A*>(reach);
    flat = allocate<A>(window * inner);
    split = w.down > 1 ? allocate<A>(w.down * pitch) : flat;
    packed = allocate<A>(w.up * quotients * inner);
    line = allocate<A>(w.up * quotients * inner);
    prepare_taps();
  }
  ~RowFilter() {
    while (num_allocations > 0) ::operator delete(allocations[--num_allocations]);
  }
  RowFilter(const RowFilter&) = delete;

  void run(int64_t row) {
    const Sources from = sources(h, row % h.out);
    const T* x = static_cast<const T*>(a.x) + (row / h.out * h.in + from.first) * w.in * inner;
    T* y = static_cast<T*>(a.y) + row * w.out * inner;
    for (int64_t q = 0; q * w.up < w.out; q += quotients) {
      int64_t left = w.out - q * w.up, out = left < quotients * w.up ? left : quotients * w.up;
      a.separable ? separable_tile(x, from, q, out, y) : full_tile(x, from, q, out, y);
      y += out * inner;
    }
  }

 private:
  template <class E>
  E* allocate(int64_t count) {
    return static_cast<E*>(allocations[num_allocations++] = ::operator new((count + 1) * sizeof(E)));
  }

  A filter_tap(int64_t k, int64_t length) const { return static_cast<const A*>(a.filter)[a.flip ? length - 1 - k : k]; }

  // Output u*q + r meets input d*q + floor((d*r + offset) / u) - j at tap (d*r + offset) mod u + u*j.
  void prepare_taps() {
    for (int64_t r = 0; r < w.up; ++r) {
      const int64_t t = w.down * r + w.offset;
      int64_t count = 0;
      for (int64_t tap = floor_mod(t, w.up); tap < w.taps; tap += w.up, ++count) {
        shifts[r * reach + count] = floor_div(t, w.up) - count - lead;
        for (int64_t k = 0; k < (a.separable ? 1 : h.taps); ++k)
          taps[(k * w.up + r) * reach + count] =
              A(a.gain) * (a.separable ? filter_tap(tap, w.taps) : filter_tap(k * w.taps + tap, h.taps * w.taps));
      }
      counts[r] = count;
    }
  }

  void separable_tile(const T* x, const Sources& from, int64_t q, int64_t out, T* y) {
    for (int64_t j = 0; j < from.count; ++j) {
      rows[j] = x + j * w.in * inner;
      vertical_taps[j] = filter_tap(from.tap - j * h.up, h.taps);
    }
    stage(q, from.count);
    if (w.up == 1 && counts[0] > 0 && counts[0] <= 4) {  // straight into the output
      combine_up_to_four<false>(y, columns_of(0), taps, counts[0], out * inner);
      return;
    }
    correlate(taps, out, false);
    finish(out, y);
  }

  void full_tile(const T* x, const Sources& from, int64_t q, int64_t out, T* y) {
    if (from.count == 0) memset(packed, 0, w.up * quotients * inner * sizeof(A));
    for (int64_t j = 0; j < from.count; ++j) {
      rows[0] = x + j * w.in * inner;
      vertical_taps[0] = 1;
      stage(q, 1);
      correlate(taps + (from.tap - j * h.up) * w.up * reach, out, j > 0);
    }
    finish(out, y);
  }

  // window = sum_r vertical_taps[r] * rows[r], from input d*q + lead on, zero where there is no input.
  void stage(int64_t q, int64_t count) {
    const int64_t origin = w.down * q + lead;
    int64_t first = origin < 0 ? -origin : 0, last = w.in - origin < window ? w.in - origin : window;
    first = first < window ? first : window;
    last = last < first ? first : last;
    memset(flat, 0, first * inner * sizeof(A));
    memset(flat + last * inner, 0, (window - last) * inner * sizeof(A));
    if (first < last) {
      for (int64_t r = 0; r < count; ++r) rows[r] += (origin + first) * inner;
      combine(flat + first * inner, rows, vertical_taps, count, (last - first) * inner, false);
    }
    for (int64_t p = 0; w.down > 1 && p < w.down && p < window; ++p)
      gather(split + p * pitch, flat + p * inner, (window - p + w.down - 1) / w.down, w.down, inner);
  }

  const A* const* columns_of(int64_t r) {
    for (int64_t j = 0; j < counts[r]; ++j) {
      int64_t shift = shifts[r * reach + j];
      columns[j] = split + shift % w.down * pitch + shift / w.down * inner;
    }
    return columns;
  }

  void correlate(const A* row_taps, int64_t out, bool add) {
    for (int64_t r = 0; r < w.up && r < out; ++r)
      combine(packed + r * quotients * inner, columns_of(r), row_taps + r * reach, counts[r],
              (out - r + w.up - 1) / w.up * inner, add);
  }

  void finish(int64_t out, T* y) {
    if (w.up == 1) return store_row(y, packed, out * inner);
    for (int64_t r = 0; r < w.up && r < out; ++r)
      scatter(line + r * inner, packed + r * quotients * inner, (out - r + w.up - 1) / w.up, w.up, inner);
    store_row(y, line, out * inner);
  }

  const UpfirdnArgs& a;
  const Axis &h, &w;
  const int64_t inner;
  int64_t quotients, lead, window, pitch, reach;  // reach: most taps of one phase; quotients: its outputs in a tile
  int64_t *shifts, *counts;
  A *taps, *vertical_taps, *flat, *split, *packed, *line;
  const T** rows;
  const A** columns;
  void* allocations[10];
  int num_allocations = 0;
};

template <class T>
void upfirdn2d(const UpfirdnArgs& a, int64_t begin, int64_t end) {
  RowFilter<T> filter(a);
  for (int64_t row = begin; row < end; ++row) filter.run(row);
}

}  // namespace
}  // namespace sarigan

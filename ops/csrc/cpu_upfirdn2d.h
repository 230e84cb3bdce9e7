// upfirdn2d on the host, one row of output at a time: the rows that reach it are combined by the vertical taps into a
// zero-padded window, and shifted copies of the window by the horizontal taps. With up = u, output m = u*q + r is a plain
// correlation of phase r at q; with down = d the window is split so that every d-th input lies side by side. All inner
// loops then run over consecutive memory, over columns when contiguous and over columns and channels when channels_last.
#pragma once

#include <new>

#include "cpu_rows.h"
#include "kernels.h"

namespace sarigan {
namespace {

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
    reach = (w.taps - 1) / w.up + 1;
    window_pitch = (window + w.down - 1) / w.down * inner;
    phase_pitch = quotients * inner;

    from = allocate<Sources>(h.out);
    counts = allocate<int64_t>(w.up);
    taps = allocate<A>((a.separable ? 1 : h.taps) * w.up * reach);
    vertical_taps = allocate<A>(h.taps);
    rows = allocate<const T*>(h.taps);
    columns = allocate<const A*>(w.up * reach);
    flat = allocate<A>(window * inner);
    split = w.down > 1 ? allocate<A>(w.down * window_pitch) : flat;
    packed = allocate<A>(w.up * phase_pitch);
    line = allocate<A>(w.up * phase_pitch);
    for (int64_t m = 0; m < h.out; ++m) from[m] = sources(h, m);
    prepare_taps();
  }
  ~RowFilter() {
    while (num_allocations > 0) ::operator delete(allocations[--num_allocations]);
  }
  RowFilter(const RowFilter&) = delete;

  void run(int64_t begin, int64_t end) {
    int64_t plane = begin / h.out, m = begin % h.out;
    T* y = static_cast<T*>(a.y) + begin * w.out * inner;
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(a.x) + (plane * h.in + from[m].first) * w.in * inner;
      for (int64_t q = 0; q * w.up < w.out; q += quotients) {
        int64_t left = w.out - q * w.up, out = left < quotients * w.up ? left : quotients * w.up;
        a.separable ? separable_tile(x, from[m], q, out, y) : full_tile(x, from[m], q, out, y);
        y += out * inner;
      }
      if (++m == h.out) m = 0, ++plane;
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
        int64_t shift = floor_div(t, w.up) - count - lead;
        columns[r * reach + count] = split + shift % w.down * window_pitch + shift / w.down * inner;
        for (int64_t k = 0; k < (a.separable ? 1 : h.taps); ++k)
          taps[(k * w.up + r) * reach + count] =
              A(a.gain) * (a.separable ? filter_tap(tap, w.taps) : filter_tap(k * w.taps + tap, h.taps * w.taps));
      }
      counts[r] = count;
    }
  }

  void separable_tile(const T* x, const Sources& source, int64_t q, int64_t out, T* y) {
    for (int64_t j = 0; j < source.count; ++j) {
      rows[j] = x + j * w.in * inner;
      vertical_taps[j] = filter_tap(source.tap - j * h.up, h.taps);
    }
    stage(q, source.count);
    if (w.up == 1 && counts[0] > 0 && counts[0] <= 4)  // straight into the output
      return combine_up_to_four<false>(y, columns, taps, counts[0], out * inner);
    correlate(taps, out, false);
    finish(out, y);
  }

  void full_tile(const T* x, const Sources& source, int64_t q, int64_t out, T* y) {
    if (source.count == 0) memset(packed, 0, w.up * phase_pitch * sizeof(A));
    for (int64_t j = 0; j < source.count; ++j) {
      rows[0] = x + j * w.in * inner;
      vertical_taps[0] = 1;
      stage(q, 1);
      correlate(taps + (source.tap - j * h.up) * w.up * reach, out, j > 0);
    }
    finish(out, y);
  }

  // window = sum_r vertical_taps[r] * rows[r], from input d*q + lead on, zero where there is no input.
  void stage(int64_t q, int64_t count) {
    const int64_t origin = w.down * q + lead;
    if (q != staged) {
      first = origin < 0 ? -origin : 0;
      first = first < window ? first : window;
      last = w.in - origin < window ? w.in - origin : window;
      last = last < first ? first : last;
      memset(flat, 0, first * inner * sizeof(A));
      memset(flat + last * inner, 0, (window - last) * inner * sizeof(A));
      staged = q;
    }
    if (first < last) {
      for (int64_t r = 0; r < count; ++r) rows[r] += (origin + first) * inner;
      combine(flat + first * inner, rows, vertical_taps, count, (last - first) * inner, false);
    }
    if (w.down > 1) deinterleave(split, flat, window, w.down, inner, window_pitch);
  }

  void correlate(const A* row_taps, int64_t out, bool add) {
    for (int64_t r = 0; r < w.up && r < out; ++r)
      combine(packed + r * phase_pitch, columns + r * reach, row_taps + r * reach, counts[r],
              (out - r + w.up - 1) / w.up * inner, add);
  }

  void finish(int64_t out, T* y) {
    if (w.up == 1) return store_row(y, packed, out * inner);
    if constexpr (sizeof(T) == sizeof(A)) {
      interleave(y, packed, out, w.up, inner, phase_pitch);
    } else {
      interleave(line, packed, out, w.up, inner, phase_pitch);
      store_row(y, line, out * inner);
    }
  }

  const UpfirdnArgs& a;
  const Axis &h, &w;
  const int64_t inner;
  int64_t quotients, reach;        // outputs of one phase in a tile, most taps of one phase
  int64_t lead, window;            // a tile from output u*q on needs `window` inputs from d*q + lead on,
  int64_t first, last;             // of which those in [first, last) exist
  int64_t staged = -1;             // the q that first, last and the zeros around them hold for
  int64_t window_pitch, phase_pitch;
  Sources* from;                   // of each output row
  int64_t* counts;
  A *taps, *vertical_taps, *flat, *split, *packed, *line;
  const T** rows;
  const A** columns;               // where in the window each tap of each phase starts
  void* allocations[10];
  int num_allocations = 0;
};

}  // namespace
}  // namespace sarigan

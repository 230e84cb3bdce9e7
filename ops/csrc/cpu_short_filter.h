// upfirdn2d on the host for the filters that matter most: separable, at most four taps, factors (1,1), (2,1) or (1,2) along
// both axes. Four rows of output are made together, because they share most of the rows of input they need, with the taps
// that meet known when compiling, as in device_upfirdn2d.h: counted from an output where down*m + offset is a multiple of Up,
// output o takes input Down*o / Up - j at tap Down*o mod Up + Up*j.
#pragma once

#include <new>

#include "cpu_rows.h"
#include "kernels.h"

namespace sarigan {
namespace {

template <class T, int Up, int Down>
class ShortFilter {
  using A = acc_t<T>;
  static constexpr int kTaps = 4, kRows = 4, kReach = (kTaps - 1) / Up, kWindow = Down * (kRows - 1) / Up + kReach + 1;

 public:
  static bool serves(const UpfirdnArgs& a) {
    const auto fits = [](const Axis& axis) { return axis.taps <= kTaps && axis.up == Up && axis.down == Down; };
    // Pixels of a few channels are too short for loops within a pixel and too long for shuffles.
    return a.separable && fits(a.h) && fits(a.w) && (Up * Down == 1 || a.inner == 1 || a.inner >= kLanes<A>);
  }

  explicit ShortFilter(const UpfirdnArgs& args) : a(args), h(args.h), w(args.w), inner(args.inner) {
    const int64_t count = h.taps;
    for (int64_t k = 0; k < kTaps; ++k)
      taps[k] = k < count ? static_cast<const A*>(a.filter)[a.flip ? count - 1 - k : k] : A(0);
    for (int64_t k = 0; k < kTaps; ++k) scaled[k] = A(a.gain) * taps[k];
    shift = floor_mod(w.offset, Up);
    // Windows of about 8 KiB; a pixel of many channels makes them larger. Short ones come in batches, since what was just
    // stored is slow to load again at another alignment.
    int64_t room = 8192 / int64_t(sizeof(A)) / inner, most = (w.out + shift + Up - 1) / Up * Up;
    width = (room < 8 ? 8 : room) * Up / Down / Up * Up;
    width = width < most ? width : most;
    pitch = window_of(width) * inner;
    batch = kRows * (1 + 16384 / int64_t(sizeof(A)) / (kRows * pitch));
    windows = static_cast<A*>(::operator new(batch * pitch * sizeof(A)));
    zeros = static_cast<T*>(::operator new(pitch * sizeof(T)));
    memset(static_cast<void*>(zeros), 0, pitch * sizeof(T));
  }
  ~ShortFilter() {
    ::operator delete(windows);
    ::operator delete(zeros);
  }
  ShortFilter(const ShortFilter&) = delete;

  void run(int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t plane = begin / h.out, m = begin - plane * h.out, start = m - floor_mod(m * Down + h.offset, Up);
      int64_t stop = start + batch < h.out ? start + batch : h.out;
      stop = stop < m + end - begin ? stop : m + end - begin;
      for (int64_t x = -shift; x < w.out; x += width) tile(plane, m, start, stop, x);
      begin += stop - m;
    }
  }

 private:
  static int64_t window_of(int64_t outputs) { return Down * (outputs - 1) / Up + kReach + 1; }

  // Outputs [m, stop) x [x, x + width); the rows of windows count from `start`.
  void tile(int64_t plane, int64_t m, int64_t start, int64_t stop, int64_t x) {
    const int64_t outputs = w.out - x < width ? w.out - x : width;
    const int64_t left = (Down * x + w.offset) / Up - kReach;
    if (x != edged) set_edges(left, window_of(outputs));
    edged = x;
    for (int64_t group = start; group < stop; group += kRows) {
      const int64_t top = (Down * group + h.offset) / Up - kReach;
      const T* rows[kWindow];
      for (int r = 0; r < kWindow; ++r) {
        const bool inside = top + r >= 0 && top + r < h.in && first < last;
        const int64_t place = ((plane * h.in + top + r) * w.in + left + first) * inner;
        rows[r] = inside ? static_cast<const T*>(a.x) + place : zeros;
      }
      down(rows, windows + (group - start) * pitch + first * inner, (last - first) * inner);
    }
    T* y = static_cast<T*>(a.y) + ((plane * h.out + m) * w.out + x) * inner;
    across(windows + (m - start) * pitch, y, stop - m, x < 0 ? -x : 0, outputs);
  }

  // Of a window of `needed` inputs from `left` on, those in [first, last) exist; the others stay zero.
  void set_edges(int64_t left, int64_t needed) {
    first = left < 0 ? -left : 0;
    first = first < needed ? first : needed;
    last = w.in - left < needed ? w.in - left : needed;
    last = last < first ? first : last;
    for (int64_t row = 0; row < batch; ++row) {
      memset(windows + row * pitch, 0, first * inner * sizeof(A));
      memset(windows + row * pitch + last * inner, 0, (needed - last) * inner * sizeof(A));
    }
  }

  void down(const T* const* sources, A* into, int64_t n) {
    const T* rows[kWindow];
    for (int r = 0; r < kWindow; ++r) rows[r] = sources[r];
    const A f[kTaps] = {taps[0], taps[1], taps[2], taps[3]};
    const int64_t step = pitch;
    const auto at = [&](int64_t j) {
      Vector<A> sums[kRows] = {};
#pragma GCC unroll 16
      for (int r = 0; r < kWindow; ++r) {
        const Vector<A> v = load(rows[r] + j);
#pragma GCC unroll 4
        for (int o = 0; o < kRows; ++o) {
          const int back = Down * o / Up + kReach - r, tap = Down * o % Up + Up * back;
          if (back >= 0 && tap < kTaps) sums[o] += v * f[tap & (kTaps - 1)];
        }
      }
#pragma GCC unroll 4
      for (int o = 0; o < kRows; ++o) store(into + o * step + j, sums[o]);
    };
    int64_t j = 0;
    for (; j + kLanes<A> <= n; j += kLanes<A>) at(j);
    if (j == n) return;
    if (n >= kLanes<A>) return at(n - kLanes<A>);  // overlaps the vector before
    for (; j < n; ++j)
      for (int o = 0; o < kRows; ++o) {
        A sum = 0;
        for (int back = 0; Down * o % Up + Up * back < kTaps; ++back)
          sum += f[Down * o % Up + Up * back] * widen(rows[Down * o / Up + kReach - back][j]);
        into[o * step + j] = sum;
      }
  }

  // Rows [0, count) of windows to rows of y, of which outputs [first, outputs) are wanted and the others not to be touched.
  // The rows share the loops below: short rows would be all overhead otherwise.
  void across(const A* window, T* y, int64_t count, int64_t first, int64_t outputs) {
    const int64_t step = pitch, out_step = w.out * inner;
    for (int64_t row = 0; row < count; ++row, window += step, y += out_step) {
      if constexpr (Up == 1 && Down == 1)
        plain(window, y, outputs * inner);
      else if (inner > 1)
        pixels(window, y, first, outputs);
      else if constexpr (Down == 2)
        halve(window, y, outputs);
      else
        twice(window, y, first, outputs);
    }
  }

  SARIGAN_METHOD void plain(const A* p, T* y, int64_t n) const {
    const int64_t one = inner, lanes = kLanes<A>;
    const A *p1 = p + one, *p2 = p1 + one, *p3 = p2 + one;
    const A f0 = scaled[0], f1 = scaled[1], f2 = scaled[2], f3 = scaled[3];
    const auto at = [&](int64_t j) {
      store(y + j, load(p3 + j) * f0 + load(p2 + j) * f1 + load(p1 + j) * f2 + load(p + j) * f3);
    };
    int64_t j = 0;
    for (; j + lanes <= n; j += lanes) at(j);
    if (j < n && n >= lanes) return at(n - lanes);  // overlaps the vector before
    for (; j < n; ++j) y[j] = narrow<T>(p3[j] * f0 + p2[j] * f1 + p1[j] * f2 + p[j] * f3);
  }

  SARIGAN_METHOD void halve(const A* p, T* y, int64_t n) const {
    const int64_t lanes = kLanes<A>;
    const A f0 = scaled[0], f1 = scaled[1], f2 = scaled[2], f3 = scaled[3];
    const auto at = [&](int64_t j) {
      const A* q = p + 2 * j;
      const Vector<A> a = load(q), b = load(q + lanes), c = load(q + 2), d = load(q + 2 + lanes);
      store(y + j, odds(c, d) * f0 + evens(c, d) * f1 + odds(a, b) * f2 + evens(a, b) * f3);
    };
    int64_t j = 0;
    for (; j + lanes <= n; j += lanes) at(j);
    if (j < n && n >= lanes) return at(n - lanes);
    for (; j < n; ++j) y[j] = narrow<T>(p[2 * j + 3] * f0 + p[2 * j + 2] * f1 + p[2 * j + 1] * f2 + p[2 * j] * f3);
  }

  SARIGAN_METHOD void twice(const A* p, T* y, int64_t first, int64_t n) const {
    const int64_t lanes = kLanes<A>;
    const A f0 = scaled[0], f1 = scaled[1], f2 = scaled[2], f3 = scaled[3];
    const auto single = [&](int64_t o) {
      const A* q = p + o / 2;
      y[o] = narrow<T>(o % 2 ? q[1] * f1 + q[0] * f3 : q[1] * f0 + q[0] * f2);
    };
    const auto at = [&](int64_t q) {
      const Vector<A> before = load(p + q), after = load(p + q + 1);
      const Vector<A> even = after * f0 + before * f2, odd = after * f1 + before * f3;
      store(y + 2 * q, zip_low(even, odd));
      store(y + 2 * q + lanes, zip_high(even, odd));
    };
    int64_t o = first;
    if (o % 2) single(o++);
    for (; o + 2 * lanes <= n; o += 2 * lanes) at(o / 2);
    if (o < n && n / 2 - lanes >= (first + 1) / 2) {
      at(n / 2 - lanes);
      o = n / 2 * 2;
    }
    for (; o < n; ++o) single(o);
  }

  // Pixels of many channels: loops within a pixel.
  void pixels(const A* window, T* y, int64_t first, int64_t outputs) const {
    for (int64_t o = first; o < outputs; ++o) {
      const A *p = window + Down * o / Up * inner, *columns[kReach + 1];
      A f[kReach + 1];
      for (int j = 0; j <= kReach; ++j) columns[j] = p + (kReach - j) * inner, f[j] = scaled[Down * o % Up + Up * j];
      combine_few<kReach + 1, false>(y + o * inner, columns, f, inner);
    }
  }

  const UpfirdnArgs& a;
  const Axis &h, &w;
  const int64_t inner;
  A taps[kTaps], scaled[kTaps];
  int64_t shift, width, pitch, batch;  // the first tile starts at output -shift; a tile's columns, window, and rows
  int64_t first, last, edged = -2;     // the inputs of a window that exist, at a tile that starts at output `edged`
  A* windows;
  T* zeros;
};

template <class T>
void upfirdn2d(const UpfirdnArgs& a, int64_t begin, int64_t end) {
  if (ShortFilter<T, 1, 1>::serves(a)) return ShortFilter<T, 1, 1>(a).run(begin, end);
  if (ShortFilter<T, 2, 1>::serves(a)) return ShortFilter<T, 2, 1>(a).run(begin, end);
  if (ShortFilter<T, 1, 2>::serves(a)) return ShortFilter<T, 1, 2>(a).run(begin, end);
  RowFilter<T>(a).run(begin, end);
}

}  // namespace
}  // namespace sarigan

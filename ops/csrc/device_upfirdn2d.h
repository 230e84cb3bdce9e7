// upfirdn2d as the threads of a GPU run it, as functions of the block's and the thread's index (see device_bias_act.h).
#pragma once

#include "core.h"

namespace sarigan {

// Thread k gathers output element k. Any factors, any filter.
template <class T>
struct UpfirdnElements {
  using A = acc_t<T>;
  using Index = int64_t;
  UpfirdnArgs a;

  explicit UpfirdnElements(const UpfirdnArgs& args) : a(args) {}

  SARIGAN_METHOD void operator()(int64_t k) const {
    int64_t rest = k / a.inner, s = k - rest * a.inner;
    const int64_t row = rest / a.w.out, column = rest - row * a.w.out, plane = row / a.h.out;
    const Sources down = sources(a.h, row - plane * a.h.out), across = sources(a.w, column);
    const T* x = static_cast<const T*>(a.x) + s;
    A total = 0;
    for (int64_t i = 0; i < down.count; ++i) {
      const T* p = x + ((plane * a.h.in + down.first + i) * a.w.in + across.first) * a.inner;
      const int64_t tap_y = down.tap - i * a.h.up;
      A sum = 0;
      for (int64_t j = 0; j < across.count; ++j) {
        const int64_t tap_x = across.tap - j * a.w.up;
        sum += (a.separable ? tap(tap_x, a.w.taps) : tap(tap_y * a.w.taps + tap_x, a.h.taps * a.w.taps)) *
               widen(p[j * a.inner]);
      }
      total += a.separable ? tap(tap_y, a.h.taps) * sum : sum;
    }
    static_cast<T*>(a.y)[k] = narrow<T>(A(a.gain) * total);
  }

  SARIGAN_METHOD A tap(int64_t k, int64_t length) const {
    return static_cast<const A*>(a.filter)[a.flip ? length - 1 - k : k];
  }
};

// A separable filter of at most Taps taps and the same factors along both axes. A block computes a tile of outputs in two
// phases: down the columns of the inputs it needs, from memory into registers into shared memory, then across the rows.
// Tiles start where down*m + offset is a multiple of Up, so that within a tile the taps that meet are known when compiling:
// output o takes input Down*o / Up - j (counted from that of o = 0) at tap Down*o mod Up + Up*j.
template <class T, int Up, int Down, int Taps>
struct UpfirdnTiles {
  static_assert(Up == 1 || Down == 1, "the start of a tile is found for these only");
  using A = acc_t<T>;
  static constexpr int kPhases = 2, kRows = 8;                            // outputs of a thread in the first phase
  static constexpr int kReach = (Taps - 1) / Up;                          // inputs before the current one that meet a tap
  static constexpr int kWindow = Down * (kRows - 1) / Up + kReach + 1;    // inputs for kRows outputs

  UpfirdnArgs a;
  int groups, width, depth;           // a tile: kRows*groups rows, `width` columns, `depth` of the inner index
  int columns, out_columns, threads;  // (inputs across a tile) * depth, width * depth
  int shift_y, shift_x;               // the first tile starts at output -shift
  uint32_t tiles_y, tiles_x, tiles_s;

  explicit UpfirdnTiles(const UpfirdnArgs& args) : a(args) {
    shift_y = int(floor_mod(a.h.offset, Up));
    shift_x = int(floor_mod(a.w.offset, Up));
    depth = a.inner < 16 ? int(a.inner) : 16;
    width = smallest((depth == 1 ? 64 : 256 / depth) / 2 * 2 * Up / Down, (a.w.out + shift_x + Up - 1) / Up * Up);
    groups = smallest(depth == 1 ? 4 : 2, (a.h.out + shift_y + kRows - 1) / kRows);
    columns = (Down * (width - 1) / Up + kReach + 1) * depth;
    out_columns = width * depth;
    threads = smallest(1024, largest(columns * groups < 320 ? columns * groups : (columns * groups + 1) / 2, out_columns));
    threads = (threads + 31) / 32 * 32;
    tiles_y = tiles(a.h.out + shift_y, kRows * groups);
    tiles_x = tiles(a.w.out + shift_x, width);
    tiles_s = tiles(a.inner, depth);
  }

  static int smallest(int64_t x, int64_t y) { return int(x < y ? x : y); }
  static int largest(int64_t x, int64_t y) { return int(x < y ? y : x); }
  static uint32_t tiles(int64_t length, int64_t tile) { return uint32_t((length + tile - 1) / tile); }

  int64_t num_blocks() const { return a.outer * tiles_y * tiles_x * tiles_s; }
  int num_threads() const { return threads; }
  int64_t shared_elements() const { return int64_t(kRows) * groups * columns; }

  struct Tile {
    int64_t plane, row, column, s;  // outputs; row and column may be -shift
  };
  SARIGAN_METHOD Tile tile_of(uint32_t block) const {
    uint32_t rest = block / tiles_s, s = block - rest * tiles_s;
    uint32_t rows = rest / tiles_x, x = rest - rows * tiles_x, plane = rows / tiles_y, y = rows - plane * tiles_y;
    return Tile{plane, int64_t(y) * kRows * groups - shift_y, int64_t(x) * width - shift_x, int64_t(s) * depth};
  }

  // The filter, reversed if asked, padded with zeros to Taps.
  SARIGAN_METHOD void load_taps(A* taps) const {
    const int count = int(a.h.taps);
    for (int k = 0; k < Taps; ++k)
      taps[k] = k < count ? static_cast<const A*>(a.filter)[a.flip ? count - 1 - k : k] : A(0);
  }

  template <int Phase>
  SARIGAN_METHOD void run(uint32_t block, int thread, int num_threads, A* shared) const {
    Phase == 0 ? down(tile_of(block), thread, num_threads, shared) : across(tile_of(block), thread, num_threads, shared);
  }

 private:
  SARIGAN_METHOD void down(const Tile& tile, int thread, int num_threads, A* shared) const {
    A taps[Taps];
    load_taps(taps);
    const int64_t top = (Down * tile.row + a.h.offset) / Up - kReach, left = (Down * tile.column + a.w.offset) / Up - kReach;
    const int64_t stride = a.w.in * a.inner;
    for (int item = thread; item < columns * groups; item += num_threads) {
      const int group = item / columns, column = item - group * columns, place = column / depth;
      const int64_t x = left + place, s = tile.s + (column - place * depth), y = top + group * (Down * kRows / Up);
      const bool inside = x >= 0 && x < a.w.in && s < a.inner;
      const T* p = static_cast<const T*>(a.x) + (tile.plane * a.h.in + y) * stride + x * a.inner + s;
      A window[kWindow];
#pragma unroll
      for (int i = 0; i < kWindow; ++i)
        window[i] = inside && y + i >= 0 && y + i < a.h.in ? A(widen(p[i * stride])) : A(0);
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        A sum = 0;
#pragma unroll
        for (int j = 0; Up * j + Down * o % Up < Taps; ++j)
          sum += taps[Down * o % Up + Up * j] * window[Down * o / Up + kReach - j];
        shared[(group * kRows + o) * columns + column] = sum;
      }
    }
  }

  SARIGAN_METHOD void across(const Tile& tile, int thread, int num_threads, const A* shared) const {
    A taps[Taps];
    load_taps(taps);
    const int first_row = thread / out_columns, step = num_threads / out_columns;
    const int column = thread - first_row * out_columns, o = column / depth, s = column - o * depth;
    const int64_t x = tile.column + o;
    if (first_row >= step || x < 0 || x >= a.w.out || tile.s + s >= a.inner) return;
    const int phase = Down * o % Up;
    const A* row = shared + (Down * o / Up + kReach) * depth + s;
    T* out = static_cast<T*>(a.y) + (tile.plane * a.h.out * a.w.out + x) * a.inner + tile.s + s;
    for (int r = first_row; r < kRows * groups; r += step) {
      const int64_t y = tile.row + r;
      A sum = 0;
#pragma unroll
      for (int j = 0; Up * j < Taps; ++j) {
        A tap = taps[Up * j];
#pragma unroll
        for (int other = 1; other < Up; ++other)
          if (phase == other) tap = Up * j + other < Taps ? taps[(Up * j + other) % Taps] : A(0);
        sum += tap * row[r * columns - j * depth];
      }
      if (y >= 0 && y < a.h.out) out[y * a.w.out * a.inner] = narrow<T>(A(a.gain) * sum);
    }
  }
};

}  // namespace sarigan

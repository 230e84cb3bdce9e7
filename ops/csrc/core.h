// The arithmetic and the indexing of both operators, element by element: one text for the host and the device compiler.
//
// bias_act    y = clamp(gain * act(x + b)),  act(v) = v for v >= 0, slope * v below.
// upfirdn2d   y[m] = gain * sum_i x[i] f[down*m + offset - up*i] along each axis: insert zeros, pad, convolve, keep every
//             down-th sample (Crochiere & Rabiner 1983). With padding p in front and K taps, offset = K - 1 - p.
//             Its adjoint is the same sum with up and down exchanged, f reversed and offset K - 1 - offset.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define SARIGAN_FN static __host__ __device__ __forceinline__
#define SARIGAN_METHOD __host__ __device__ __forceinline__
#else
// Internal linkage: the file is compiled for several instruction sets, and the linker must not mix their copies.
#define SARIGAN_FN static inline __attribute__((always_inline))
#define SARIGAN_METHOD inline __attribute__((always_inline))
#endif

namespace sarigan {

enum class Type : int { float16, bfloat16, float32, float64 };

// ---- Storage types. Arithmetic runs in float for the 16-bit types and float, in double for double.

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <class T>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <class T>
using acc_t = typename Accumulator<T>::type;

template <class To, class From>
SARIGAN_FN To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

SARIGAN_FN float widen(float value) { return value; }
SARIGAN_FN double widen(double value) { return value; }
SARIGAN_FN float widen(BFloat16 value) { return bit_cast<float>(uint32_t(value.bits) << 16); }

SARIGAN_FN float widen(Half value) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(value.bits));
#else
  // Placing the fields 13 bits up leaves the exponent 112 too small; the product corrects it, subnormals included.
  uint32_t magnitude = uint32_t(value.bits & 0x7fff) << 13;
  float number = bit_cast<float>(magnitude) * bit_cast<float>(uint32_t(254 - 15) << 23);
  if (magnitude >= (uint32_t(31) << 23)) number = bit_cast<float>(magnitude | (uint32_t(255) << 23));
  return bit_cast<float>(bit_cast<uint32_t>(number) | (uint32_t(value.bits & 0x8000) << 16));
#endif
}

SARIGAN_FN uint16_t round_to_bfloat16(float value) {
  uint32_t bits = bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 0x40);  // NaN stays NaN
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);                 // to nearest, ties to even
}

SARIGAN_FN uint16_t round_to_half(float value) {
#ifdef __CUDA_ARCH__
  return __half_as_ushort(__float2half_rn(value));
#else
  uint32_t bits = bit_cast<uint32_t>(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);                        // NaN
  if (magnitude >= (uint32_t(127 + 16) << 23)) return uint16_t(sign | 0x7c00);       // 2^16 and more: infinity
  if (magnitude < (uint32_t(127 - 14) << 23)) {                                      // subnormal: steps of 2^-24
    float shifted = bit_cast<float>(magnitude) + 0.5f;                               // step of a float at 0.5: 2^-24
    return uint16_t(sign | (bit_cast<uint32_t>(shifted) - bit_cast<uint32_t>(0.5f)));
  }
  magnitude -= uint32_t(127 - 15) << 23;
  return uint16_t(sign | ((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13));     // may carry into infinity
#endif
}

template <class T>
SARIGAN_FN T narrow(acc_t<T> value) {
  return T(value);
}
template <>
SARIGAN_METHOD Half narrow<Half>(float value) {
  return Half{round_to_half(value)};
}
template <>
SARIGAN_METHOD BFloat16 narrow<BFloat16>(float value) {
  return BFloat16{round_to_bfloat16(value)};
}

// ---- bias_act

// A: float or double. The methods also take a vector of A (a compiler extension with elementwise operators).
template <class A>
struct Activation {
  A slope, gain, bound;  // bound < 0: no clamp. It is rounded to the storage type, so that y == bound marks a clamped y.

  template <class V>
  SARIGAN_METHOD V value(V v) const {
    V low = slope == A(0) ? V{} : V(slope * v);  // relu(-inf) is 0, not 0 * inf
    V y = gain * (v < A(0) ? low : v);
    if (bound >= A(0)) {
      V top = V{} + bound, bottom = V{} - bound;
      y = y > top ? top : y;
      y = y < bottom ? bottom : y;
    }
    return y;
  }

  // t * d value / d v, recovered from y = value(v): the sign of v is the sign of y / gain.
  template <class V>
  SARIGAN_METHOD V derivative(V t, V y) const {
    V high = gain * t, low = slope == A(0) ? V{} : V((gain * slope) * t);
    V result = gain < A(0) ? (y < A(0) ? high : low) : (y > A(0) ? high : low);
    if (bound >= A(0)) {
      V top = V{} + bound, bottom = V{} - bound;
      result = y < top ? result : V{};  // written so that y = NaN gives 0, as torch.clamp does
      result = y > bottom ? result : V{};
    }
    return result;
  }
};

// x seen as [..., channels, inner]: inner is H*W when contiguous, 1 when channels_last or of rank 2.
struct BiasActArgs {
  const void* x;        // T: the input, or the gradient with respect to y
  const void* bias;     // acc_t<T> [channels] or null, added to x
  const void* y;        // T: the output, derivative only; null when the derivative does not depend on it
  void* out;            // T
  void* partial_sums;   // acc_t<T>: the result summed over part of each channel, derivative only; or null
  int64_t numel, channels, inner, part_elements;
  double slope, gain, bound;
};

template <class T>
SARIGAN_FN Activation<acc_t<T>> activation_of(const BiasActArgs& a) {
  using A = acc_t<T>;
  return {A(a.slope), A(a.gain), a.bound < 0 ? A(-1) : widen(narrow<T>(A(a.bound)))};
}

// The derivative also sums its result over each channel. It is cut into parts of about `part_elements`, whatever the number
// of threads, and so are the partial sums: [planes * parts of a plane], or [parts, channels] if inner is 1.
struct Parts {
  int64_t size;       // elements of a part; the last part of a plane (or of the tensor) may be shorter
  int64_t per_plane;  // 0 if inner is 1
  int64_t count;
};

SARIGAN_FN Parts parts_of(const BiasActArgs& a) {
  if (a.inner > 1) {
    int64_t per_plane = (a.inner + a.part_elements - 1) / a.part_elements;
    return Parts{a.part_elements, per_plane, a.numel / a.inner * per_plane};
  }
  int64_t rows = a.part_elements / a.channels, size = a.channels * (rows < 64 ? 64 : rows);
  return Parts{size, 0, (a.numel + size - 1) / size};
}

struct Range {
  int64_t first, stop;
};

SARIGAN_FN Range elements_of(const BiasActArgs& a, const Parts& parts, int64_t part) {
  int64_t first = part * parts.size, stop = a.numel;
  if (parts.per_plane) {
    int64_t plane = part / parts.per_plane;
    first = plane * a.inner + (part - plane * parts.per_plane) * parts.size;
    stop = (plane + 1) * a.inner;
  }
  return Range{first, first + parts.size < stop ? first + parts.size : stop};
}

// ---- upfirdn2d

SARIGAN_FN int64_t floor_div(int64_t a, int64_t b) { return b == 1 ? a : a / b - (a % b < 0); }
SARIGAN_FN int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }

struct Axis {
  int64_t in, out, offset;
  int64_t taps, up, down;
};

// The inputs x[first .. first + count) that reach one output, and the tap that x[first] meets; x[first + j]
// meets tap - j * up.
struct Sources {
  int64_t first, count, tap;
};

SARIGAN_FN Sources sources(const Axis& axis, int64_t m) {
  int64_t t = axis.down * m + axis.offset;
  int64_t first = -floor_div(axis.taps - 1 - t, axis.up), last = floor_div(t, axis.up);
  first = first > 0 ? first : 0;
  last = last < axis.in ? last : axis.in - 1;
  return Sources{first, last < first ? 0 : last - first + 1, t - axis.up * first};
}

// x seen as [outer, h.in, w.in, inner] and y as [outer, h.out, w.out, inner]: outer is N*C and inner 1 when contiguous,
// N and C when channels_last.
struct UpfirdnArgs {
  const void* x;       // T
  const void* filter;  // acc_t<T>: [taps] when separable, else [h.taps, w.taps]
  void* y;             // T
  int64_t outer, inner;
  Axis h, w;
  bool separable, flip;  // flip: tap k is filter[taps - 1 - k]
  double gain;
};

}  // namespace sarigan

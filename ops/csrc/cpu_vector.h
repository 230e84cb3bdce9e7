// 32-byte vectors of the accumulation type, loaded from and stored to any storage type (compiler vector extensions:
// the same text gives SSE, AVX2 or NEON code).
#pragma once

#include "core.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace sarigan {
namespace {

typedef float Float8 __attribute__((vector_size(32)));
typedef double Double4 __attribute__((vector_size(32)));
typedef uint32_t UInt8x32 __attribute__((vector_size(32)));
typedef int32_t Int8x32 __attribute__((vector_size(32)));
typedef uint16_t UInt8x16 __attribute__((vector_size(16)));

template <class A>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = Float8;
};
template <>
struct VectorOf<double> {
  using type = Double4;
};
template <class A>
using Vector = typename VectorOf<A>::type;
template <class A>
constexpr int64_t kLanes = 32 / sizeof(A);

SARIGAN_FN Float8 load(const float* p) {
  Float8 v;
  memcpy(&v, p, sizeof(v));
  return v;
}
SARIGAN_FN Double4 load(const double* p) {
  Double4 v;
  memcpy(&v, p, sizeof(v));
  return v;
}
SARIGAN_FN Float8 load(const BFloat16* p) {
#ifdef __AVX2__
  return (Float8)((UInt8x32)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)) << 16);
#else
  UInt8x16 bits;
  memcpy(&bits, p, sizeof(bits));
  return (Float8)(__builtin_convertvector(bits, UInt8x32) << 16);
#endif
}
SARIGAN_FN Float8 load(const Half* p) {
#ifdef __F16C__
  return (Float8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#else
  Float8 v;
  for (int j = 0; j < 8; ++j) v[j] = widen(p[j]);
  return v;
#endif
}

SARIGAN_FN void store(float* p, Float8 v) { memcpy(p, &v, sizeof(v)); }
SARIGAN_FN void store(double* p, Double4 v) { memcpy(p, &v, sizeof(v)); }
SARIGAN_FN void store(BFloat16* p, Float8 v) {
  UInt8x32 bits = (UInt8x32)v;
  UInt8x32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = (bits >> 16) | 0x40;
  Int8x32 is_nan = v != v;
  UInt8x16 low = __builtin_convertvector(is_nan ? nan : rounded, UInt8x16);
  memcpy(p, &low, sizeof(low));
}
SARIGAN_FN void store(Half* p, Float8 v) {
#ifdef __F16C__
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int j = 0; j < 8; ++j) p[j] = narrow<Half>(v[j]);
#endif
}

#ifdef __clang__
#define SARIGAN_SHUFFLE4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SARIGAN_SHUFFLE8(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int64_t Int4x64 __attribute__((vector_size(32)));
#define SARIGAN_SHUFFLE4(a, b, ...) __builtin_shuffle(a, b, Int4x64{__VA_ARGS__})
#define SARIGAN_SHUFFLE8(a, b, ...) __builtin_shuffle(a, b, Int8x32{__VA_ARGS__})
#endif

// Every other element of a followed by b, from the first or the second on.
SARIGAN_FN Float8 evens(Float8 a, Float8 b) { return SARIGAN_SHUFFLE8(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
SARIGAN_FN Float8 odds(Float8 a, Float8 b) { return SARIGAN_SHUFFLE8(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
SARIGAN_FN Double4 evens(Double4 a, Double4 b) { return SARIGAN_SHUFFLE4(a, b, 0, 2, 4, 6); }
SARIGAN_FN Double4 odds(Double4 a, Double4 b) { return SARIGAN_SHUFFLE4(a, b, 1, 3, 5, 7); }

// a and b taken in turns: the first and the second half.
SARIGAN_FN Float8 zip_low(Float8 a, Float8 b) { return SARIGAN_SHUFFLE8(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
SARIGAN_FN Float8 zip_high(Float8 a, Float8 b) { return SARIGAN_SHUFFLE8(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
SARIGAN_FN Double4 zip_low(Double4 a, Double4 b) { return SARIGAN_SHUFFLE4(a, b, 0, 4, 1, 5); }
SARIGAN_FN Double4 zip_high(Double4 a, Double4 b) { return SARIGAN_SHUFFLE4(a, b, 2, 6, 3, 7); }

template <class A>
SARIGAN_FN A sum_lanes(Vector<A> v) {
  A total = 0;
  for (int j = 0; j < kLanes<A>; ++j) total += v[j];
  return total;
}

}  // namespace
}  // namespace sarigan

// The numbers of one parameter of P replicas, side by side, and the sums over the examples of a vector. Lane l of a vector
// is example l / P of replica l % P, so a number is repeated LANES / P times in a vector. With P = 1 a number is a float.
// Functions are applied to each replica's float by the function on floats of lanes.h: the same bits for every P. So are the
// updates of weights and the functions on numbers alone: between ROUNDED_EACH and ROUNDED_AS_BEFORE, products and sums are
// rounded one by one. Else the compiler joins some, and not the same for every P: in a sum of two products it has the choice.
#pragma once
#include "lanes.h"

#if defined(__clang__)
#define ROUNDED_EACH _Pragma("float_control(push)") _Pragma("clang fp contract(off)")
#define ROUNDED_AS_BEFORE _Pragma("float_control(pop)")
#else
#define ROUNDED_EACH _Pragma("GCC push_options") _Pragma("GCC optimize(\"fp-contract=off\")")
#define ROUNDED_AS_BEFORE _Pragma("GCC pop_options")
#endif

template <int P> struct NumberOf {
  typedef float type __attribute__((vector_size(4 * P)));
  typedef int32_t truth __attribute__((vector_size(4 * P)));
};
template <> struct NumberOf<1> {
  typedef float type;
  typedef bool truth;
};
template <int P> using Number = typename NumberOf<P>::type;
template <class N> constexpr int replicas = sizeof(N) / sizeof(float);
template <class N> using Truth = typename NumberOf<replicas<N>>::truth;

// All: the same float for each replica. of_truth: truth values as the numbers 1 and 0.
template <class N> INLINE N all(float a) {
  if constexpr (replicas<N> == 1) return a;
  else return a - N{};
}
template <class N> INLINE N all(N a) { return a; }
INLINE float of_truth(bool a) { return a; }

// The functions that a generated program may apply to numbers. P = LANES is left out: those would be the vectors themselves.
#define NUMBERS_1(P, name) \
  INLINE Number<P> name(Number<P> a) { Number<P> r; for (int i = 0; i < P; i++) r[i] = name((float)a[i]); return r; }
#define NUMBERS_2(P, name) \
  INLINE Number<P> name(Number<P> a, Number<P> b) { \
    Number<P> r; for (int i = 0; i < P; i++) r[i] = name((float)a[i], (float)b[i]); return r; }
#define NUMBERS(P) \
  INLINE Number<P> vselect(Truth<Number<P>> m, Number<P> a, Number<P> b) { return m ? a : b; } \
  INLINE Truth<Number<P>> vnot(Truth<Number<P>> m) { return ~m; } \
  INLINE Number<P> of_truth(Truth<Number<P>> m) { return m ? all<Number<P>>(1.f) : all<Number<P>>(0.f); } \
  INLINE vi M(Truth<Number<P>> m) { return (vi)S((Number<P>)m); } \
  NUMBERS_2(P, vmax) NUMBERS_2(P, vmin) NUMBERS_1(P, vabs) NUMBERS_1(P, vrelu) NUMBERS_1(P, vsign) \
  NUMBERS_1(P, vreciprocal) NUMBERS_1(P, vsqrt) NUMBERS_1(P, vfloor) NUMBERS_1(P, vceil) NUMBERS_1(P, vtrunc) \
  NUMBERS_1(P, vround) NUMBERS_1(P, vsin) NUMBERS_1(P, vcos) NUMBERS_1(P, vtan) NUMBERS_1(P, vasin) NUMBERS_1(P, vacos) \
  NUMBERS_1(P, vatan) NUMBERS_1(P, vsinh) NUMBERS_1(P, vcosh) NUMBERS_1(P, vasinh) NUMBERS_1(P, vacosh) \
  NUMBERS_1(P, vatanh) NUMBERS_1(P, verf) NUMBERS_1(P, verfc) NUMBERS_1(P, vexp2) NUMBERS_1(P, vlog2) \
  NUMBERS_1(P, vlog10) NUMBERS_2(P, vpow) NUMBERS_2(P, vatan2) NUMBERS_2(P, vfmod) NUMBERS_1(P, vexp) \
  NUMBERS_1(P, vexpm1) NUMBERS_1(P, vsigmoid) NUMBERS_1(P, vtanh) NUMBERS_1(P, vlog) NUMBERS_1(P, vlog1p)

// S of numbers. Two are one load of 64 bits, which the machine can repeat; gcc repeats more of them by its builtins only.
typedef int64_t vl __attribute__((vector_size(4 * LANES)));
INLINE vf S(Number<2> a) {
  int64_t both;
  memcpy(&both, &a, sizeof both);
  return (vf)(both - (vl){});
}
NUMBERS(2)
#if LANES == 8
#if defined(__clang__)
INLINE vf S(Number<4> a) { return SHUFFLE(a, a, 0, 1, 2, 3, 0, 1, 2, 3); }
#else
INLINE vf S(Number<4> a) { return __builtin_ia32_vbroadcastf128_ps256(&a); }
#endif
NUMBERS(4)
#elif LANES == 16
#if defined(__clang__)
INLINE vf S(Number<4> a) { return SHUFFLE(a, a, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3); }
INLINE vf S(Number<8> a) { return SHUFFLE(a, a, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7); }
#else
INLINE vf S(Number<4> a) { return __builtin_ia32_broadcastf32x4_512(a, (vf){}, -1); }
INLINE vf S(Number<8> a) { return __builtin_ia32_broadcastf32x8_512_mask(a, (vf){}, -1); }
#endif
NUMBERS(4)
NUMBERS(8)
#endif

// ----------------------------------------------------------------------------------------------- sums over the examples
// Halves are added, then quarters, and so on until one example is left: for every P the same sums in the same order.
template <class N> INLINE N example_sum(vf v) {
  float s[LANES];
  memcpy(s, &v, sizeof s);
  for (int half = LANES / 2; half >= replicas<N>; half /= 2)
    for (int i = 0; i < half; i++) s[i] += s[i + half];
  N sum;
  memcpy(&sum, s, sizeof sum);
  return sum;
}
// The sums of LANES vectors, two vectors at a time: one summand keeps every other part in its place, which is cheaper than
// to move it. The k-th number is the sum of vector term_at<N>(k); of more vectors,
// LANES at a time.
template <class N> constexpr int term_at(int k) {
  constexpr int P = replicas<N>, examples = LANES / P;
  return k / LANES * LANES + k % LANES % examples * P + k % LANES / examples;
}
template <class N> INLINE void example_sums(const vf *v, N *sums) {
  constexpr int P = replicas<N>;
  vf out[P];
#if LANES == 16
  vf x[8], y[4], z[2];
  for (int i = 0; i < 8; i++)
    x[i] = SHUFFLE(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31) +
           SHUFFLE(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
  for (int i = 0; i < 4; i++)
    y[i] = SHUFFLE(x[i], x[i + 4], 0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31) +
           SHUFFLE(x[i], x[i + 4], 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
  for (int i = 0; i < 2; i++)
    z[i] = SHUFFLE(y[i], y[i + 2], 0, 1, 18, 19, 4, 5, 22, 23, 8, 9, 26, 27, 12, 13, 30, 31) +
           SHUFFLE(y[i], y[i + 2], 2, 3, 16, 17, 6, 7, 20, 21, 10, 11, 24, 25, 14, 15, 28, 29);
  vf last = SHUFFLE(z[0], z[1], 0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31) +
            SHUFFLE(z[0], z[1], 1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30);
  for (int i = 0; i < P; i++) out[i] = P == 8 ? x[i] : P == 4 ? y[i % 4] : P == 2 ? z[i % 2] : last;
#elif LANES == 8
  vf x[4], y[2];
  for (int i = 0; i < 4; i++)
    x[i] = SHUFFLE(v[i], v[i + 4], 0, 1, 2, 3, 12, 13, 14, 15) + SHUFFLE(v[i], v[i + 4], 4, 5, 6, 7, 8, 9, 10, 11);
  for (int i = 0; i < 2; i++)
    y[i] = SHUFFLE(x[i], x[i + 2], 0, 1, 10, 11, 4, 5, 14, 15) + SHUFFLE(x[i], x[i + 2], 2, 3, 8, 9, 6, 7, 12, 13);
  vf last = SHUFFLE(y[0], y[1], 0, 9, 2, 11, 4, 13, 6, 15) + SHUFFLE(y[0], y[1], 1, 8, 3, 10, 5, 12, 7, 14);
  for (int i = 0; i < P; i++) out[i] = P == 4 ? x[i % 4] : P == 2 ? y[i % 2] : last;
#else
  vf x[2];
  for (int i = 0; i < 2; i++) x[i] = SHUFFLE(v[i], v[i + 2], 0, 1, 6, 7) + SHUFFLE(v[i], v[i + 2], 2, 3, 4, 5);
  vf last = SHUFFLE(x[0], x[1], 0, 5, 2, 7) + SHUFFLE(x[0], x[1], 1, 4, 3, 6);
  for (int i = 0; i < P; i++) out[i] = P == 2 ? x[i % 2] : last;
#endif
  memcpy(sums, out, sizeof out);
}

// --------------------------------------------------------------------------------------------------- rows side by side
// Two vectors become one sequence that takes from each in turn; and back.
INLINE void zip(vf a, vf b, vf &low, vf &high) {
#if LANES == 16
  low = SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  high = SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif LANES == 8
  low = SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  high = SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  low = SHUFFLE(a, b, 0, 4, 1, 5);
  high = SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}
INLINE void unzip(vf low, vf high, vf &a, vf &b) {
#if LANES == 16
  a = SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  b = SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif LANES == 8
  a = SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
  b = SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  a = SHUFFLE(low, high, 0, 2, 4, 6);
  b = SHUFFLE(low, high, 1, 3, 5, 7);
#endif
}
// from[r][i], one array of `count` floats per replica, become the numbers to[i]; the arrays need no alignment.
template <class N> static void side_by_side(const float *const *from, N *to, long count) {
  constexpr int P = replicas<N>;
  long i = 0;
  for (; i + LANES <= count; i += LANES) {
    vf v[P];
    for (int r = 0; r < P; r++) memcpy(&v[r], from[r] + i, sizeof(vf));
    // each round zips vector j with vector j + P / 2: after log2(P) rounds the replicas lie side by side
    for (int round = 1; round < P; round *= 2) {
      vf w[P];
      for (int j = 0; j < P / 2; j++) zip(v[j], v[j + P / 2], w[2 * j], w[2 * j + 1]);
      memcpy(v, w, sizeof v);
    }
    memcpy(to + i, v, sizeof v);
  }
  for (; i < count; i++)
    for (int r = 0; r < P; r++) ((float *)(to + i))[r] = from[r][i];
}
// The numbers from[i] become the arrays to[r][i]; arrays that are null are left out. `count` is whole vectors.
template <class N> static void apart(const N *from, float *const *to, long count) {
  constexpr int P = replicas<N>;
  for (long i = 0; i < count; i += LANES) {
    vf v[P];
    memcpy(v, from + i, sizeof v);
    for (int round = 1; round < P; round *= 2) {
      vf w[P];
      for (int j = 0; j < P / 2; j++) unzip(v[2 * j], v[2 * j + 1], w[j], w[j + P / 2]);
      memcpy(v, w, sizeof v);
    }
    for (int r = 0; r < P; r++)
      if (to[r]) memcpy(to[r] + i, &v[r], sizeof(vf));
  }
}

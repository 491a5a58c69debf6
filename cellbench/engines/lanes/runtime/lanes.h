// One vector of lanes: each lane is one example of the batch. Functions on vectors, and the same for single floats, which
// serve what depends on parameters alone. The tests of these functions say how accurate each of them is.
#pragma once
#include <stdint.h>
#include <string.h>
// Functions of math.h are called by the names that the compiler has for them: in C++ the header is so large that reading it
// takes a tenth of a program's time.
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
// The programs count in 64 bits, as the arrays that they are given do; the long of Windows has 32. The system's headers
// come before this line.
#define long int64_t

#ifndef LANES  // as wide as the machine's own registers: compilers make slow code of wider vectors
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

// S: one number in all lanes; M: one truth value in all lanes, where true is -1 and false is 0.
INLINE vf S(float a) { return a - (vf){}; }
INLINE vi M(bool a) { return (a ? -1 : 0) - (vi){}; }
INLINE vf vselect(vi m, vf a, vf b) { return m ? a : b; }
INLINE float vselect(bool m, float a, float b) { return m ? a : b; }
INLINE vi vnot(vi m) { return ~m; }
INLINE bool vnot(bool m) { return !m; }

// If one operand is NaN, the result is, as in torch.
INLINE vf vmax(vf a, vf b) { return (a > b) | (a != a) ? a : b; }
INLINE vf vmin(vf a, vf b) { return (a < b) | (a != a) ? a : b; }
INLINE float vmax(float a, float b) { return a > b || a != a ? a : b; }
INLINE float vmin(float a, float b) { return a < b || a != a ? a : b; }
INLINE vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
INLINE float vabs(float a) { return __builtin_fabsf(a); }
INLINE vf vrelu(vf a) { return a < 0.f ? S(0.f) : a; }
INLINE float vrelu(float a) { return a < 0.f ? 0.f : a; }
INLINE vf vsign(vf a) { return a > 0.f ? S(1.f) : a < 0.f ? S(-1.f) : a; }
INLINE float vsign(float a) { return a > 0.f ? 1.f : a < 0.f ? -1.f : a; }
INLINE vf vreciprocal(vf a) { return 1.f / a; }
INLINE float vreciprocal(float a) { return 1.f / a; }
INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }  // rounded once where the machine can: -ffp-contract=fast

// The compilers turn these loops into the machine's vector instructions.
#define EACH_LANE(name, of_one) \
  INLINE vf name(vf a) { vf r; for (int i = 0; i < LANES; i++) r[i] = of_one(a[i]); return r; } \
  INLINE float name(float a) { return of_one(a); }
#define EACH_LANE_2(name, of_one) \
  INLINE vf name(vf a, vf b) { vf r; for (int i = 0; i < LANES; i++) r[i] = of_one(a[i], b[i]); return r; } \
  INLINE float name(float a, float b) { return of_one(a, b); }
EACH_LANE(vsqrt, __builtin_sqrtf)
EACH_LANE(vfloor, __builtin_floorf)
EACH_LANE(vceil, __builtin_ceilf)
EACH_LANE(vtrunc, __builtin_truncf)
EACH_LANE(vround, __builtin_rintf)
// Recurrent cells rarely use these, so they are the C library's, lane by lane.
EACH_LANE(vsin, __builtin_sinf)
EACH_LANE(vcos, __builtin_cosf)
EACH_LANE(vtan, __builtin_tanf)
EACH_LANE(vasin, __builtin_asinf)
EACH_LANE(vacos, __builtin_acosf)
EACH_LANE(vatan, __builtin_atanf)
EACH_LANE(vsinh, __builtin_sinhf)
EACH_LANE(vcosh, __builtin_coshf)
EACH_LANE(vasinh, __builtin_asinhf)
EACH_LANE(vacosh, __builtin_acoshf)
EACH_LANE(vatanh, __builtin_atanhf)
EACH_LANE(verf, __builtin_erff)
EACH_LANE(verfc, __builtin_erfcf)
EACH_LANE(vexp2, __builtin_exp2f)
EACH_LANE(vlog2, __builtin_log2f)
EACH_LANE(vlog10, __builtin_log10f)
EACH_LANE_2(vpow, __builtin_powf)
EACH_LANE_2(vatan2, __builtin_atan2f)
EACH_LANE_2(vfmod, __builtin_fmodf)

// ------------------------------------------------------------------------------------------- exp and its relatives
// V is a vector, or several (several.h): then each operation is done for all of them before the next one, so that none
// waits for the result of the one before it. A vector's bits are the same.
template <class V> struct IntsOf;  // whole numbers in as many lanes
template <> struct IntsOf<vf> {
  typedef vi type;
};
template <class V> using Ints = typename IntsOf<V>::type;

// NaN stays NaN: for NaN, the comparison and the machine's instruction both return their second operand.
#if LANES == 8 && defined(__AVX2__)
INLINE vf at_least(vf x, float low) { return __builtin_ia32_maxps256(S(low), x); }
INLINE vf at_most(vf x, float high) { return __builtin_ia32_minps256(S(high), x); }
#elif LANES == 16 && defined(__AVX512F__) && !defined(__clang__)
INLINE vf at_least(vf x, float low) { return __builtin_ia32_maxps512_mask(S(low), x, x, -1, 4); }
INLINE vf at_most(vf x, float high) { return __builtin_ia32_minps512_mask(S(high), x, x, -1, 4); }
#else
INLINE vf at_least(vf x, float low) { return S(low) > x ? S(low) : x; }
INLINE vf at_most(vf x, float high) { return S(high) < x ? S(high) : x; }
#endif

// e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2, with ln 2 in two parts (Cody & Waite). e^r is a polynomial of
// degree 6, minimax for the relative error (0.05 ulp; fitted by reweighted least squares).
template <class V> struct Reduced {
  V r;
  Ints<V> n;  // shifted to the exponent bits of a float
};
template <class V> INLINE Reduced<V> reduced(V x) {
  const vf magic = S(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer, which is then in the lowest bits
  V z = x * 1.44269504088896341f + magic, n = z - magic;
  V r = x - n * 0.693359375f;
  return {r - n * -2.12194440e-4f, (Ints<V>)z << 23};
}
// e^r - 1; in pairs of terms (Estrin's scheme), so that fewer instructions wait for each other
template <class V> INLINE V expm1_reduced(V r) {
  V square = r * r;
  V low = r * 1.6666520399e-01f + 4.9999993433e-01f, high = r * 8.3687451636e-03f + 4.1668390561e-02f;
  high = square * 1.3814557684e-03f + high;
  return (high * square + low) * square + r;
}
template <class V, class I> INLINE V power_of_2(I n) { return (V)(n + (vi)S(1.f)); }

// Results below 2^-125 become 0.
template <class V> INLINE V vexp(V x) {
  const float low = -86.64339f, high = 88.72284f;
  Reduced<V> q = reduced(at_most(at_least(x, low), high));
  V half = power_of_2<V>(q.n - (1 << 23));  // half the power, since 2^128 is not a float
  V y = (expm1_reduced(q.r) * half + half) * 2.f;
  y = vselect(x > high, V(S(INFINITY)), y);
  return vselect(x < low, V(S(0.f)), y);
}
// e^x for x <= 0; results are never below 2^-125.
template <class V> INLINE V exp_negative(V x) {
  Reduced<V> q = reduced(at_least(x, -86.64339f));
  V power = power_of_2<V>(q.n);
  return expm1_reduced(q.r) * power + power;
}
template <class V> INLINE V vexpm1(V x) {
  const float high = 88.72284f;
  Reduced<V> q = reduced(at_most(at_least(x, -20.f), high));
  V half = power_of_2<V>(q.n - (1 << 23));
  V y = (expm1_reduced(q.r) * half + (half - 0.5f)) * 2.f;
  return vselect(x > high, V(S(INFINITY)), y);
}
template <class V> INLINE V vsigmoid(V x) {
  Reduced<V> q = reduced(-at_least(at_most(x, 86.64339f), -88.f));
  V power = power_of_2<V>(q.n);
  return 1.f / (expm1_reduced(q.r) * power + (power + 1.f));
}
// With E = e^-2|x| - 1, exact near 0: tanh |x| = -E / (E + 2).
template <class V> INLINE V vtanh(V x) {
  const vi sign = (int32_t)0x80000000 - (vi){};
  Ints<V> flip = ~(Ints<V>)x & sign;
  V half = at_least((V)((Ints<V>)x | sign), -10.f);
  Reduced<V> q = reduced(half * 2.f);
  V power = power_of_2<V>(q.n), e = expm1_reduced(q.r);
  return (V)((Ints<V>)((e * power + (power - 1.f)) / (e * power + (power + 1.f))) ^ flip);
}

// --------------------------------------------------------------------------------------------- log and its relatives
// log(x + c) for c below half an ulp of x, given the correction c / x. This is Cephes' logf on m in [sqrt(1/2), sqrt(2)).
INLINE vf log_corrected(vf x, vf correction) {
  vi tiny = x < 1.17549435e-38f;  // subnormal
  vf y = tiny ? x * 8388608.f : x;
  vi bits = (vi)y;
  vi e = ((bits >> 23) - 126) - (tiny & 23);
  vf m = (vf)((bits & 0x007fffff) | 0x3f000000);  // in [1/2, 1)
  vi low = m < 0.707106781f;
  e = e + low;
  m = low ? m + m - 1.f : m - 1.f;
  vf z = m * m, n = __builtin_convertvector(e, vf);
  vf p = S(7.0376836292E-2f);
  p = p * m + -1.1514610310E-1f;
  p = p * m + 1.1676998740E-1f;
  p = p * m + -1.2420140846E-1f;
  p = p * m + 1.4249322787E-1f;
  p = p * m + -1.6668057665E-1f;
  p = p * m + 2.0000714765E-1f;
  p = p * m + -2.4999993993E-1f;
  p = p * m + 3.3333331174E-1f;
  vf small = p * m * z + (n * -2.12194440e-4f - 0.5f * z) + correction;
  vf r = (small + m) + n * 0.693359375f;
  r = x == 0.f ? S(-INFINITY) : r;
  r = x == INFINITY ? x : r;
  return (x < 0.f) | (x != x) ? S(NAN) : r;
}
INLINE vf vlog(vf x) { return log_corrected(x, S(0.f)); }
INLINE vf vlog1p(vf x) {
  vf u = 1.f + x;
  // the rounding error of 1 + x, exactly (Fast2Sum: the larger summand is subtracted first)
  vf lost = vabs(x) < 1.f ? x - (u - 1.f) : 1.f - (u - x);
  vi fine = (u > 0.f) & (u < INFINITY);
  vf correction = fine ? lost / u : S(0.f);
  return x == 0.f ? x : log_corrected(u, correction);
}

// Cross-entropy of a logit, max(z, 0) - z y + log(1 + t) with t = e^-|z|. Its last term, with t in [0, 1], is
// 2 atanh(t / (2 + t)): s times a polynomial of degree 4 in s^2, minimax for the relative error (0.04 ulp).
template <class V> INLINE V cross_entropy(V z, V y, V t) {
  V s = t / (t + 2.f), w = s * s;
  V p = w * 0.2817833423614502f + 0.27960601449012756f;
  p = p * w + 0.40024909377098083f;
  p = p * w + 0.6666631698608398f;
  p = p * w + 2.f;
  return p * s + (vmax(z, V(S(0.f))) - z * y);
}
template <class V> INLINE V cross_entropy(V z, V y) { return cross_entropy(z, y, exp_negative(-vabs(z))); }
// Its derivative by the logit, sigmoid(z) - y.
template <class V> INLINE V cross_entropy_gradient(V z, V y, V t) {
  V share = 1.f / (t + 1.f);
  return vselect(z < 0.f, t * share, share) - y;
}

// ------------------------------------------------------------------------------------------------- for single floats
INLINE float vexp(float x) { return __builtin_expf(x); }
INLINE float vexpm1(float x) { return __builtin_expm1f(x); }
INLINE float vsigmoid(float x) { return 1.f / (1.f + __builtin_expf(-x)); }
INLINE float vtanh(float x) { return __builtin_tanhf(x); }
INLINE float vlog(float x) { return __builtin_logf(x); }
INLINE float vlog1p(float x) { return __builtin_log1pf(x); }

// A vector of chosen elements of two.
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

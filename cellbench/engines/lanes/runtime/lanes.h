// One vector of lanes: each lane is one example of the batch. Functions on vectors, and the same for single floats, which
// serve what depends on parameters alone. The tests of these functions say how accurate each of them is.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

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
INLINE float vabs(float a) { return fabsf(a); }
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
EACH_LANE(vsin, sinf)
EACH_LANE(vcos, cosf)
EACH_LANE(vtan, tanf)
EACH_LANE(vasin, asinf)
EACH_LANE(vacos, acosf)
EACH_LANE(vatan, atanf)
EACH_LANE(vsinh, sinhf)
EACH_LANE(vcosh, coshf)
EACH_LANE(vasinh, asinhf)
EACH_LANE(vacosh, acoshf)
EACH_LANE(vatanh, atanhf)
EACH_LANE(verf, erff)
EACH_LANE(verfc, erfcf)
EACH_LANE(vexp2, exp2f)
EACH_LANE(vlog2, log2f)
EACH_LANE(vlog10, log10f)
EACH_LANE_2(vpow, powf)
EACH_LANE_2(vatan2, atan2f)
EACH_LANE_2(vfmod, fmodf)

// ------------------------------------------------------------------------------------------- exp and its relatives
// e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2, with ln 2 in two parts (Cody & Waite). e^r is a polynomial of
// degree 6, minimax for the relative error (0.05 ulp; fitted by reweighted least squares).

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

struct Reduced {
  vf r;
  vi n;  // shifted to the exponent bits of a float
};
INLINE Reduced reduced(vf x) {
  const vf magic = S(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer, which is then in the lowest bits
  vf z = x * 1.44269504088896341f + magic, n = z - magic;
  vf r = x - n * 0.693359375f;
  return {r - n * -2.12194440e-4f, (vi)z << 23};
}
// e^r - 1; in pairs of terms (Estrin's scheme), so that fewer instructions wait for each other
INLINE vf expm1_reduced(vf r) {
  vf square = r * r;
  vf low = r * 1.6666520399e-01f + 4.9999993433e-01f, high = r * 8.3687451636e-03f + 4.1668390561e-02f;
  high = square * 1.3814557684e-03f + high;
  return (high * square + low) * square + r;
}
INLINE vf power_of_2(vi n) { return (vf)((vi)S(1.f) + n); }

// Results below 2^-125 become 0.
INLINE vf vexp(vf x) {
  const float low = -86.64339f, high = 88.72284f;
  Reduced q = reduced(at_most(at_least(x, low), high));
  vf half = power_of_2(q.n - (1 << 23));  // half the power, since 2^128 is not a float
  vf y = (expm1_reduced(q.r) * half + half) * 2.f;
  y = x > high ? S(INFINITY) : y;
  return x < low ? S(0.f) : y;
}
// e^x for x <= 0; results are never below 2^-125.
INLINE vf exp_negative(vf x) {
  Reduced q = reduced(at_least(x, -86.64339f));
  vf power = power_of_2(q.n);
  return expm1_reduced(q.r) * power + power;
}
INLINE vf vexpm1(vf x) {
  const float high = 88.72284f;
  Reduced q = reduced(at_most(at_least(x, -20.f), high));
  vf half = power_of_2(q.n - (1 << 23));
  vf y = (expm1_reduced(q.r) * half + (half - 0.5f)) * 2.f;
  return x > high ? S(INFINITY) : y;
}
INLINE vf vsigmoid(vf x) {
  Reduced q = reduced(-at_least(at_most(x, 86.64339f), -88.f));
  vf power = power_of_2(q.n);
  return 1.f / (expm1_reduced(q.r) * power + (power + 1.f));
}
// With E = e^-2|x| - 1, exact near 0: tanh |x| = -E / (E + 2).
INLINE vf vtanh(vf x) {
  const vi sign = (int32_t)0x80000000 - (vi){}, flip = ~(vi)x & sign;
  vf half = at_least((vf)((vi)x | sign), -10.f);
  Reduced q = reduced(half * 2.f);
  vf power = power_of_2(q.n), e = expm1_reduced(q.r);
  return (vf)((vi)((e * power + (power - 1.f)) / (e * power + (power + 1.f))) ^ flip);
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

// Cross-entropy of a logit, max(z, 0) - z y + log(1 + e^-|z|). Its last term, log(1 + t) with t in [0, 1], is
// 2 atanh(t / (2 + t)): s times a polynomial of degree 4 in s^2, minimax for the relative error (0.04 ulp).
INLINE vf cross_entropy(vf z, vf y) {
  vf t = exp_negative(-vabs(z)), s = t / (t + 2.f), w = s * s;
  vf p = S(0.2817833423614502f);
  p = p * w + 0.27960601449012756f;
  p = p * w + 0.40024909377098083f;
  p = p * w + 0.6666631698608398f;
  p = p * w + 2.f;
  return p * s + (vmax(z, S(0.f)) - z * y);
}

// ------------------------------------------------------------------------------------------------- for single floats
INLINE float vexp(float x) { return expf(x); }
INLINE float vexpm1(float x) { return expm1f(x); }
INLINE float vsigmoid(float x) { return 1.f / (1.f + expf(-x)); }
INLINE float vtanh(float x) { return tanhf(x); }
INLINE float vlog(float x) { return logf(x); }
INLINE float vlog1p(float x) { return log1pf(x); }

// ------------------------------------------------------------------------------------------------ sums over the lanes
INLINE float lane_sum(vf v) {
  float s[LANES];
  memcpy(s, &v, sizeof s);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) s[i] += s[i + half];
  return s[0];
}
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif
// The sums of LANES vectors over their lanes, as one vector: halves are added, then quarters, two vectors at a time.
INLINE vf lane_sums(const vf *v) {
#if LANES == 16
  vf x[8], y[4], z[2];
  for (int i = 0; i < 8; i++)
    x[i] = SHUFFLE(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           SHUFFLE(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  for (int i = 0; i < 4; i++)
    y[i] = SHUFFLE(x[i], x[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           SHUFFLE(x[i], x[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  for (int i = 0; i < 2; i++)
    z[i] = SHUFFLE(y[i], y[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           SHUFFLE(y[i], y[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  return SHUFFLE(z[0], z[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
         SHUFFLE(z[0], z[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
#elif LANES == 8
  vf x[4], y[2];
  for (int i = 0; i < 4; i++)
    x[i] = SHUFFLE(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  for (int i = 0; i < 2; i++)
    y[i] = SHUFFLE(x[i], x[i + 2], 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(x[i], x[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  return SHUFFLE(y[0], y[1], 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(y[0], y[1], 1, 9, 3, 11, 5, 13, 7, 15);
#else
  vf x[2];
  for (int i = 0; i < 2; i++) x[i] = SHUFFLE(v[i], v[i + 2], 0, 1, 4, 5) + SHUFFLE(v[i], v[i + 2], 2, 3, 6, 7);
  return SHUFFLE(x[0], x[1], 0, 4, 2, 6) + SHUFFLE(x[0], x[1], 1, 5, 3, 7);
#endif
}

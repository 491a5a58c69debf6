// One vector of lanes: each lane is one example of the batch. Functions on vectors, each within 2 ulp of the true value
// where tests/test_lanes_functions.py says so, with the same for single floats (what depends on parameters only).
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef LANES  // as wide as the machine's own registers: compilers lower wider vectors badly
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

INLINE vf S(float a) { return a - (vf){}; }
INLINE vi M(bool a) { return (a ? -1 : 0) - (vi){}; }
INLINE vf vselect(vi m, vf a, vf b) { return m ? a : b; }
INLINE float vselect(bool m, float a, float b) { return m ? a : b; }
INLINE vi vnot(vi m) { return ~m; }
INLINE bool vnot(bool m) { return !m; }

// A NaN on either side comes out, as in torch.
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
INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }  // one rounding where the machine has it: -ffp-contract=fast

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
// No recurrent cell in use leans on these: the C library's, lane by lane.
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
// exp(x) = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts (Cody & Waite), e^r by Cephes' polynomial.

struct Reduced { vf r, n; };
INLINE Reduced reduced(vf x) {
  const vf magic = S(12582912.f);  // 1.5 * 2^23: adding it rounds to a whole number
  vf n = (x * 1.44269504088896341f + magic) - magic;
  vf r = x - n * 0.693359375f;
  return {r - n * -2.12194440e-4f, n};
}
// (e^r - 1 - r) / r^2
INLINE vf exp_tail(vf r) {
  vf p = S(1.9875691500E-4f);
  p = p * r + 1.3981999507E-3f;
  p = p * r + 8.3334519073E-3f;
  p = p * r + 4.1665795894E-2f;
  p = p * r + 1.6666665459E-1f;
  return p * r + 5.0000001201E-1f;
}
INLINE vf scaled(vf p, vf n) { return (vf)((vi)p + (__builtin_convertvector(n, vi) << 23)); }  // p * 2^n, p near 1

// Results below 2^-125 become 0.
INLINE vf vexp(vf x) {
  const float low = -86.64339f, high = 88.72284f;
  vf inside = x < low ? S(low) : x;
  inside = inside > high ? S(high) : inside;  // in this order a NaN stays
  Reduced q = reduced(inside);
  vf p = exp_tail(q.r) * (q.r * q.r) + (q.r + 1.f);
  vf y = scaled(p, q.n - 1.f) * 2.f;  // 2^128 is no float
  y = x > high ? S(INFINITY) : y;
  y = x < low ? S(0.f) : y;
  return x != x ? x : y;
}
// For x <= 0 or NaN.
INLINE vf exp_negative(vf x) {
  const float low = -86.64339f;
  vf inside = x < low ? S(low) : x;
  Reduced q = reduced(inside);
  vf y = scaled(exp_tail(q.r) * (q.r * q.r) + (q.r + 1.f), q.n);
  return x < low ? S(0.f) : y;  // comparisons with NaN are false, and NaN + n is NaN
}
INLINE vf vexpm1(vf x) {
  const float low = -20.f, high = 88.72284f;
  vf inside = x < low ? S(low) : x;
  inside = inside > high ? S(high) : inside;
  Reduced q = reduced(inside);
  vf p = exp_tail(q.r) * (q.r * q.r) + q.r;
  vf half = scaled(S(1.f), q.n - 1.f);
  vf y = (p * half + (half - 0.5f)) * 2.f;
  y = x > high ? S(INFINITY) : y;
  return x != x ? x : y;
}
INLINE vf vsigmoid(vf x) {
  vf e = exp_negative(-vabs(x));
  return (x < 0.f ? e : S(1.f)) / (1.f + e);
}
// Odd rational minimax approximation; +-1 beyond the point where the float nearest to tanh is 1.
INLINE vf vtanh(vf x) {
  const float most = 9.010913f;
  vf inside = x > most ? S(most) : x;
  inside = inside < -most ? S(-most) : inside;
  vf q = inside * inside;
  vf a = S(-2.76076847742355e-16f);
  a = a * q + 2.00018790482477e-13f;
  a = a * q + -8.60467152213735e-11f;
  a = a * q + 5.12229709037114e-08f;
  a = a * q + 1.48572235717979e-05f;
  a = a * q + 6.37261928875436e-04f;
  a = a * q + 4.89352455891786e-03f;
  vf b = S(1.19825839466702e-06f);
  b = b * q + 1.18534705686654e-04f;
  b = b * q + 2.26843463243900e-03f;
  b = b * q + 4.89352518554385e-03f;
  return inside * a / b;
}

// --------------------------------------------------------------------------------------------- log and its relatives
// log(x + c) for c below half an ulp of x: Cephes' logf on m in [sqrt(1/2), sqrt(2)), the correction c / x added last.
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
  // what rounding took from 1 + x; from the smaller of the two, which is exact (Fast2Sum)
  vf lost = vabs(x) < 1.f ? x - (u - 1.f) : 1.f - (u - x);
  vi fine = (u > 0.f) & (u < INFINITY);
  vf correction = fine ? lost / u : S(0.f);
  return x == 0.f ? x : log_corrected(u, correction);
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
// The sums of LANES vectors, as one vector: halves are added, then quarters, each time of two vectors at once.
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

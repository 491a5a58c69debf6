// The floor: an LSTM with readout, cross-entropy, clipping and Adam written by hand for one purpose and one hidden size,
// with the vector type and kernels of the lanes engine. Compiled cells can hope to be as fast as this.
//
// Parameters in the order of torch: weight_ih (4H, I), weight_hh (4H, H), bias_ih, bias_hh, readout weight, readout bias.
#include <type_traits>  // before lanes.h, which gives a word of C++ another meaning

#include "several.h"

#ifndef H
#define H 20
#endif
enum : long { I = 2, G = 4 * H, WI = 0, WH = WI + G * I, BI = WH + G * H, BH = BI + G, WO = BH + G, BO = WO + H, N = BO + 1 };
enum : long { P = (N + 15) / 16 * 16 };

typedef std::conditional<(LANES < 16), Wide, vf>::type V;  // 16 examples, the least that keeps the machine busy
enum : long { WIDTH = sizeof(V) / sizeof(float) };

struct Memory {
  V *h, *c, *gate, *squashed, *dgate, *dz;
  float *g;
  Memory(float *start, long T) {
    g = start;
    h = (V *)(g + P);
    c = h + (T + 1) * H;
    gate = c + (T + 1) * H;
    squashed = gate + T * G;
    dgate = squashed + T * H;
    dz = dgate + T * G;
  }
};

static float gradient(const float *p, const V *x, const V *y, long T, long groups, const Memory &m) {
  float *g = m.g, bias[G];
  memset(g, 0, sizeof(float) * P);
  for (int n = 0; n < G; n++) bias[n] = p[BI + n] + p[BH + n];
  const V weight = S(1.f / (float)(T * groups * WIDTH));
  V loss = S(0.f), dbias[G], dout = S(0.f);
  for (int n = 0; n < G; n++) dbias[n] = S(0.f);
  for (long q = 0; q < groups; q++, x += T * I, y += T) {
    for (int k = 0; k < H; k++) m.h[k] = m.c[k] = S(0.f);
    for (long t = 0; t < T; t++) {
      V *a = m.gate + t * G, *h = m.h + t * H, *c = m.c + t * H, *s = m.squashed + t * H, z[1];
      product<G, 1>(a, [&](int n) INLINED -> V { return S(bias[n]); }, term<H, 1, H, 1>(h, p + WH),
                    term<I, 1, I, 1>(x + t * I, p + WI));
      for (int k = 0; k < H; k++) {
        V i = vsigmoid(a[k]), f = vsigmoid(a[H + k]), u = vtanh(a[2 * H + k]), o = vsigmoid(a[3 * H + k]);
        a[k] = i, a[H + k] = f, a[2 * H + k] = u, a[3 * H + k] = o;
        V next = f * c[k] + i * u;
        c[H + k] = next;
        s[k] = vtanh(next);
        h[H + k] = o * s[k];
      }
      product<1, 1>(z, [&](int) INLINED -> V { return S(p[BO]); }, term<H, 1, H, 1>(h + H, p + WO));
      loss += cross_entropy(z[0], y[t]) * weight;
      m.dz[t] = (vsigmoid(z[0]) - y[t]) * weight;
      dout += m.dz[t];
    }
    V dh[H], dc[H];
    for (int k = 0; k < H; k++) dh[k] = dc[k] = S(0.f);
    for (long t = T - 1; t >= 0; t--) {
      V *a = m.gate + t * G, *c = m.c + t * H, *s = m.squashed + t * H, *d = m.dgate + t * G;
      for (int k = 0; k < H; k++) {
        V up = dh[k] + p[WO + k] * m.dz[t], i = a[k], f = a[H + k], u = a[2 * H + k], o = a[3 * H + k];
        V e = dc[k] + up * o * (1.f - s[k] * s[k]);
        d[k] = e * u * i * (1.f - i);
        d[H + k] = e * c[k] * f * (1.f - f);
        d[2 * H + k] = e * i * (1.f - u * u);
        d[3 * H + k] = up * s[k] * o * (1.f - o);
        dc[k] = e * f;
      }
      product<H, 1>(dh, [&](int) INLINED -> V { return S(0.f); }, term<G, 1, 1, H>(d, p + WH));
    }
    outer<G, H, H, 1, 1, 1>(g + WH, m.dgate, G, m.h, H, T);
    outer<G, I, I, 1, 1, 1>(g + WI, m.dgate, G, x, I, T);
    outer<1, H, H, 1, 1, 1>(g + WO, m.dz, 1, m.h + H, H, T);
    time_sums<G>(dbias, m.dgate, G, T);
  }
  for (int n = 0; n < G; n++) g[BI + n] = g[BH + n] = example_sum<float>(dbias[n]);
  g[BO] = example_sum<float>(dout);
  return example_sum<float>(loss);
}

static void adam(float *p, float *first, float *second, const float *g, double rate, double step, float clip) {
  vf sum = S(0.f);
  for (long i = 0; i < P; i += LANES) sum += *(const vf *)(g + i) * *(const vf *)(g + i);
  float scale = clip / (__builtin_sqrtf(example_sum<float>(sum)) + 1e-6f);
  scale = scale < 1.f ? scale : 1.f;
  const float size = (float)(rate / (1 - __builtin_pow(0.9, step))), root = (float)__builtin_sqrt(1 - __builtin_pow(0.999, step));
  for (long i = 0; i < P; i += LANES) {
    vf q = *(const vf *)(g + i) * scale, &a = *(vf *)(first + i), &b = *(vf *)(second + i);
    a += (q - a) * 0.1f;
    b = b * 0.999f + q * q * 0.001f;
    *(vf *)(p + i) -= size * (a / (vsqrt(b) / root + 1e-8f));
  }
}

extern "C" long lanes_width() { return WIDTH; }
extern "C" long row() { return P; }
extern "C" long scratch_floats(long T) { return P + WIDTH * (2 * (T + 1) * H + T * (2 * G + H + 1)); }
// x (steps, groups, T, I) and y (steps, groups, T) of vectors; p (replicas, P), slots (replicas, 2 P).
extern "C" void train(long replicas, long steps, long T, long groups, const float *x, const float *y, float *p, float *slots,
                      double rate, double clip, long done, double *losses, float *scratch) {
  Memory m(scratch, T);
  for (long r = 0; r < replicas; r++)
    for (long s = 0; s < steps; s++) {
      const V *X = (const V *)x + s * groups * T * I, *Y = (const V *)y + s * groups * T;
      losses[r * steps + s] = gradient(p + r * P, X, Y, T, groups, m);
      adam(p + r * P, slots + r * 2 * P, slots + r * 2 * P + P, m.g, rate, (double)(done + s + 1), (float)clip);
    }
}

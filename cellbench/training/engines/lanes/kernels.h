// Products of lane vectors with weights, and the sums over time of outer products: what a recurrent cell spends its time on.
#pragma once
#include "lanes.h"

// Outputs that one pass keeps in registers: each needs an accumulator, beside the input and a broadcast weight.
enum : int { ACCUMULATORS = LANES == 16 ? 20 : 12 };

// sum over k < K of w[n * WN + k * WK] * x[k * XS]
template <int K, long XS, long WN, long WK> struct Term {
  const vf *x;
  const float *w;
  template <int N> INLINED void add(vf *a, int first) const {
    for (int k = 0; k < K; k++) {
      vf input = x[k * XS];
      for (int n = 0; n < N; n++) a[n] += w[(first + n) * WN + k * WK] * input;
    }
  }
};
// The same with an input that all lanes share.
template <int K, long XS, long WN, long WK> struct SharedTerm {
  const float *x;
  const float *w;
  template <int N> INLINED void add(vf *a, int first) const {
    for (int k = 0; k < K; k++)
      for (int n = 0; n < N; n++) a[n] += w[(first + n) * WN + k * WK] * x[k * XS];
  }
};

template <int N, long YS, class Start, class... Terms>
INLINE void product_block(vf *y, int first, Start start, Terms... terms) {
  vf a[N];
  for (int n = 0; n < N; n++) a[n] = start(first + n);
  (terms.template add<N>(a, first), ...);
  for (int n = 0; n < N; n++) y[(first + n) * YS] = a[n];
}
// y[n * YS] = start(n) + the terms, n < N, in blocks of equal size
template <int N, long YS, class Start, class... Terms>
INLINE void product(vf *y, Start start, Terms... terms) {
  constexpr int blocks = (N + ACCUMULATORS - 1) / ACCUMULATORS, size = (N + blocks - 1) / blocks;
  constexpr int whole = N / size, rest = N % size;
  for (int i = 0; i < whole; i++) product_block<size, YS>(y, i * size, start, terms...);
  if constexpr (rest > 0) product_block<rest, YS>(y, whole * size, start, terms...);
}

#if LANES == 16 && defined(__GNUC__) && !defined(__clang__)
#define IN_REGISTER(v) asm("" : "+v"(v))  // gcc reads an operand from memory again for each use
enum : int { OUTER_ROWS = 4, OUTER_COLUMNS = 4 };
#else
#define IN_REGISTER(v)
enum : int { OUTER_ROWS = LANES == 16 ? 4 : 3, OUTER_COLUMNS = 4 };
#endif

template <int R, int C, long DS, long XS>
INLINE void outer_block(float *g, long gr, long gc, const vf *d, long dt, const vf *x, long xt, long T) {
  vf a[16];
  for (int i = 0; i < 16; i++) a[i] = S(0.f);
  for (long t = 0; t < T; t++) {
    vf e[R];
    for (int i = 0; i < R; i++) {
      e[i] = d[t * dt + i * DS];
      IN_REGISTER(e[i]);
    }
    for (int j = 0; j < C; j++) {
      vf f = x[t * xt + j * XS];
      IN_REGISTER(f);
      for (int i = 0; i < R; i++) a[i * C + j] += e[i] * f;
    }
  }
  float s[16];
  for (int i = 0; i < R * C; i += LANES) {
    vf sums = lane_sums(a + i);
    memcpy(s + i, &sums, sizeof sums);
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < C; j++) g[i * gr + j * gc] += s[i * C + j];
}
template <int R, int K, long DS, long XS>
INLINE void outer_rows(float *g, long gr, long gc, const vf *d, long dt, const vf *x, long xt, long T) {
  constexpr int rest = K % OUTER_COLUMNS;
  for (int k = 0; k + OUTER_COLUMNS <= K; k += OUTER_COLUMNS)
    outer_block<R, OUTER_COLUMNS, DS, XS>(g + k * gc, gr, gc, d, dt, x + k * XS, xt, T);
  if constexpr (rest > 0)
    outer_block<R, rest, DS, XS>(g + (K - rest) * gc, gr, gc, d, dt, x + (K - rest) * XS, xt, T);
}
// g[n * gr + k * gc] += sum over time and lanes of d[t * dt + n * DS] * x[t * xt + k * XS], n < N, k < K
template <int N, int K, long DS, long XS>
INLINE void outer(float *g, long gr, long gc, const vf *d, long dt, const vf *x, long xt, long T) {
  constexpr int rest = N % OUTER_ROWS;
  for (int n = 0; n + OUTER_ROWS <= N; n += OUTER_ROWS)
    outer_rows<OUTER_ROWS, K, DS, XS>(g + n * gr, gr, gc, d + n * DS, dt, x, xt, T);
  if constexpr (rest > 0)
    outer_rows<rest, K, DS, XS>(g + (N - rest) * gr, gr, gc, d + (N - rest) * DS, dt, x, xt, T);
}

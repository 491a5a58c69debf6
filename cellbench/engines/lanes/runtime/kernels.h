// Products of lane vectors with weights, and sums of outer products over time: a recurrent cell spends its time on these.
#pragma once
#include "lanes.h"

// f(n) for n < N, on an array that should be in registers. Without the pragma, gcc keeps arrays of more than 16 vectors
// in memory. Of two vectors side by side there are fewer, and with the pragma gcc would run out of registers for those.
template <class V, int N, class F> INLINE void each(F f) {
  if constexpr (sizeof(V) == sizeof(vf)) {
#pragma GCC unroll 32
    for (int n = 0; n < N; n++) f(n);
  } else {
    for (int n = 0; n < N; n++) f(n);
  }
}

// How many outputs one pass computes: each has an accumulator in a register; the input and a weight need two more.
template <class V> constexpr int accumulators = LANES == 16 ? 20 : 12;

// sum over k < K of w[n * WN + k * WK] * x[k * XS]
template <class V, int K, long XS, long WN, long WK> struct Term {
  const V *x;
  const float *w;
  template <int N> INLINED void add(V *a, int first) const {
    if constexpr (4 * N <= accumulators<V> && K >= 8) {  // few outputs: four sums for each, to hide the latency of one
      V part[4][N];
      for (int i = 0; i < 4; i++)
        for (int n = 0; n < N; n++) part[i][n] = S(0.f);
      for (int k = 0; k < K; k++)
        for (int n = 0; n < N; n++) part[k % 4][n] += w[(first + n) * WN + k * WK] * x[k * XS];
      for (int n = 0; n < N; n++) a[n] += (part[0][n] + part[1][n]) + (part[2][n] + part[3][n]);
    } else {
      for (int k = 0; k < K; k++) {
        V input = x[k * XS];
        each<V, N>([&](int n) INLINED { a[n] += w[(first + n) * WN + k * WK] * input; });
      }
    }
  }
};
// The same with an input that all lanes share.
template <int K, long XS, long WN, long WK> struct SharedTerm {
  const float *x;
  const float *w;
  template <int N, class V> INLINED void add(V *a, int first) const {
    for (int k = 0; k < K; k++)
      for (int n = 0; n < N; n++) a[n] += S(w[(first + n) * WN + k * WK] * x[k * XS]);
  }
};
template <int K, long XS, long WN, long WK, class V> INLINE Term<V, K, XS, WN, WK> term(const V *x, const float *w) {
  return {x, w};
}
template <int K, long XS, long WN, long WK> INLINE SharedTerm<K, XS, WN, WK> term(const float *x, const float *w) {
  return {x, w};
}

// N outputs of a product, from the output `first` on.
template <int N, long YS, class V, class Start, class... Terms>
INLINE void product_block(V *y, int first, Start start, Terms... terms) {
  V a[N];
  each<V, N>([&](int n) INLINED { a[n] = start(first + n); });
  (terms.template add<N>(a, first), ...);
  each<V, N>([&](int n) INLINED { y[(first + n) * YS] = a[n]; });
}
// y[n * YS] = start(n) + the terms, n < N, in blocks of equal size
template <int N, long YS, class V, class Start, class... Terms>
INLINE void product(V *y, Start start, Terms... terms) {
  constexpr int blocks = (N + accumulators<V> - 1) / accumulators<V>, size = (N + blocks - 1) / blocks;
  constexpr int whole = N / size, rest = N % size;
  for (int i = 0; i < whole; i++) product_block<size, YS>(y, i * size, start, terms...);
  if constexpr (rest > 0) product_block<rest, YS>(y, whole * size, start, terms...);
}

#if LANES == 16 && defined(__GNUC__) && !defined(__clang__)
#define IN_REGISTER(v) asm("" : "+v"(v))  // otherwise gcc reads the operand from memory again for each use
#else
#define IN_REGISTER(v)
#endif
// An outer product is computed in blocks of rows and columns that fit the registers (32 with AVX-512, else 16).
enum : int { OUTER_COLUMNS = LANES == 16 ? 4 : 6 };
constexpr int outer_rows_for(int columns) {
  if (LANES == 16) return columns == 4 ? 4 : columns == 3 ? 5 : columns == 2 ? 8 : 12;
  return columns >= 5 ? 2 : columns >= 3 ? 3 : columns == 2 ? 5 : 7;
}
constexpr int outer_columns_for(int K) {  // blocks of equal size
  const int blocks = (K + OUTER_COLUMNS - 1) / OUTER_COLUMNS;
  return (K + blocks - 1) / blocks;
}

// One block, R rows and C columns: sums over time and lanes. Each element of d and x is SIDES vectors side by side.
template <int R, int C, long DS, long XS, long SIDES>
INLINE void outer_block(float *g, long gr, long gc, const vf *d, long dt, const vf *x, long xt, long T) {
  constexpr int size = (R * C + LANES - 1) / LANES * LANES;
  vf a[size];
  for (int i = 0; i < size; i++) a[i] = S(0.f);
  for (long t = 0; t < T; t++)
    for (long side = 0; side < SIDES; side++) {
      vf e[R];
      for (int i = 0; i < R; i++) {
        e[i] = d[(t * dt + i * DS) * SIDES + side];
        IN_REGISTER(e[i]);
      }
      for (int j = 0; j < C; j++) {
        vf f = x[(t * xt + j * XS) * SIDES + side];
        IN_REGISTER(f);
        for (int i = 0; i < R; i++) a[i * C + j] += e[i] * f;
      }
    }
  float s[size];
  for (int i = 0; i < size; i += LANES) {
    vf sums = lane_sums(a + i);
    memcpy(s + i, &sums, sizeof sums);
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < C; j++) g[i * gr + j * gc] += s[i * C + j];
}
// C columns of an outer product, all rows.
template <int N, int C, long DS, long XS, class V>
INLINE void outer_columns(float *g, long gr, long gc, const V *d, long dt, const V *x, long xt, long T) {
  constexpr int R = outer_rows_for(C), rest = N % R;
  constexpr long sides = sizeof(V) / sizeof(vf);
  for (int n = 0; n + R <= N; n += R)
    outer_block<R, C, DS, XS, sides>(g + n * gr, gr, gc, (const vf *)(d + n * DS), dt, (const vf *)x, xt, T);
  if constexpr (rest > 0)
    outer_block<rest, C, DS, XS, sides>(g + (N - rest) * gr, gr, gc, (const vf *)(d + (N - rest) * DS), dt,
                                        (const vf *)x, xt, T);
}
// g[n * gr + k * gc] += sum over time and lanes of d[t * dt + n * DS] * x[t * xt + k * XS], n < N, k < K
template <int N, int K, long DS, long XS, class V>
INLINE void outer(float *g, long gr, long gc, const V *d, long dt, const V *x, long xt, long T) {
  constexpr int C = outer_columns_for(K), rest = K % C;
  for (int k = 0; k + C <= K; k += C) outer_columns<N, C, DS, XS>(g + k * gc, gr, gc, d, dt, x + k * XS, xt, T);
  if constexpr (rest > 0)
    outer_columns<N, rest, DS, XS>(g + (K - rest) * gc, gr, gc, d, dt, x + (K - rest) * XS, xt, T);
}

// acc[n] += sum over time of d[t * dt + n], n < N
template <int N, class V> INLINE void time_sums(V *acc, const V *d, long dt, long T) {
  constexpr int size = 8, rest = N % size;
  for (int n = 0; n + size <= N; n += size) {
    V a[size];
    for (int i = 0; i < size; i++) a[i] = acc[n + i];
    for (long t = 0; t < T; t++)
      for (int i = 0; i < size; i++) a[i] += d[t * dt + n + i];
    for (int i = 0; i < size; i++) acc[n + i] = a[i];
  }
  for (int n = N - rest; n < N; n++)
    for (long t = 0; t < T; t++) acc[n] += d[t * dt + n];
}

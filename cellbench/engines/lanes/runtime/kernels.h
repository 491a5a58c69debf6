// Products of lane vectors with weights, and sums of outer products over time: a recurrent cell spends its time on these.
#pragma once
#include "matrices.h"

// f(n) for n < N, on an array that should be in registers: without the pragma, gcc keeps arrays of more than 16 vectors
// in memory.
template <int N, class F> INLINE void each(F f) {
#pragma GCC unroll 32
  for (int n = 0; n < N; n++) f(n);
}
// How many vectors lie side by side in one V, and each of them (several.h has it for more than one). Sums are kept in
// arrays of single vectors: gcc leaves an array of pairs in memory.
template <class V> constexpr int sides = sizeof(V) / sizeof(vf);
INLINE vf &side(vf &x, int) { return x; }

// How many outputs one pass computes: each has an accumulator in a register; the input and a weight need two more.
template <class V> constexpr int accumulators = LANES == 16 ? 20 : 12;

// Left to itself, gcc makes a pointer for each output, more than there are registers, and moves them to and fro.
#if defined(__GNUC__) && !defined(__clang__)
#define ONE_POINTER(p) asm("" : "+r"(p))
#else
#define ONE_POINTER(p)
#endif

// sum over k < K of w[n * WN + k * WK] * x[k * XS]
template <class V, class N, int K, long XS, long WN, long WK> struct Term {
  // The weights of one input lie side by side, but those of the next are far away.
  static constexpr bool by_input = WN == 1 && WK > 1;
  static constexpr int inputs = K;
  const V *x;
  const N *w;
  // The part over COUNT of the inputs, from input `from` on.
  template <int COUNT> INLINED auto part(int from) const {
    return Term<V, N, COUNT, XS, WN, WK>{x + from * XS, w + from * WK};
  }
  template <int OUTPUTS, int M> INLINED void add(vf *a, int first) const {
    if constexpr (4 * OUTPUTS <= accumulators<V> && K >= 8) {  // few outputs: four sums for each, to hide the latency of one
      vf part[4][OUTPUTS * M];
      for (int i = 0; i < 4; i++)
        for (int n = 0; n < OUTPUTS * M; n++) part[i][n] = S(0.f);
      for (int k = 0; k < K; k++)
        for (int n = 0; n < OUTPUTS * M; n++)
          part[k % 4][n] += S(w[(first + n / M) * WN + k * WK]) * ((const vf *)(x + k * XS))[n % M];
      for (int n = 0; n < OUTPUTS * M; n++) a[n] += (part[0][n] + part[1][n]) + (part[2][n] + part[3][n]);
    } else {
      for (int k = 0; k < K; k++) {
        vf input[M];
        for (int m = 0; m < M; m++) input[m] = ((const vf *)(x + k * XS))[m];
        const N *weights = w + first * WN + k * WK;
        ONE_POINTER(weights);
        each<OUTPUTS>([&](int n) INLINED {
          vf weight = S(weights[n * WN]);
          for (int m = 0; m < M; m++) a[n * M + m] += weight * input[m];
        });
      }
    }
  }
};
// The same with an input that all lanes of a replica share.
template <class X, class N, int K, long XS, long WN, long WK> struct SharedTerm {
  static constexpr bool by_input = false;
  static constexpr int inputs = K;
  const X *x;
  const N *w;
  template <int OUTPUTS, int M> INLINED void add(vf *a, int first) const {
    for (int k = 0; k < K; k++)
      for (int n = 0; n < OUTPUTS * M; n++) a[n] += S(w[(first + n / M) * WN + k * WK] * x[k * XS]);
  }
};
template <int K, long XS, long WN, long WK, class X, class N> INLINE auto term(const X *x, const N *w) {
  if constexpr (sizeof(X) >= sizeof(vf)) return Term<X, N, K, XS, WN, WK>{x, w};
  else return SharedTerm<X, N, K, XS, WN, WK>{x, w};
}

// N outputs of a product, from the output `first` on.
template <int N, long YS, class V, class Start, class... Terms>
INLINE void product_block(V *y, int first, Start start, Terms... terms) {
  enum : int { M = sides<V> };
  vf a[N * M];
  each<N>([&](int n) INLINED {
    V from = start(first + n);
    for (int m = 0; m < M; m++) a[n * M + m] = side(from, m);
  });
  (terms.template add<N, M>(a, first), ...);
  each<N * M>([&](int n) INLINED { ((vf *)(y + (first + n / M) * YS))[n % M] = a[n]; });
}
// A product with a large matrix that lies by inputs: all outputs for some of the inputs, then for the next. Otherwise each
// block of outputs would fetch the whole matrix again, a few numbers from each line. The sums are made in the same order.
enum : int { LARGE = 1 << 15, PART = 16 };
template <int N, int SIZE, int COUNT, long YS, class V, class Start, class Term>
INLINE void product_part(V *y, int from, Start start, Term whole) {
  auto part = whole.template part<COUNT>(from);
  for (int n = 0; n + SIZE <= N; n += SIZE) product_block<SIZE, YS>(y, n, start, part);
  if constexpr (N % SIZE > 0) product_block<N % SIZE, YS>(y, N / SIZE * SIZE, start, part);
}
template <int N, int SIZE, long YS, class V, class Start, class Term>
INLINE void product_by_parts(V *y, Start start, Term term) {
  constexpr int K = Term::inputs, rest = K % PART;
  auto so_far = [&](int n) INLINED -> V { return y[n * YS]; };
  product_part<N, SIZE, PART, YS>(y, 0, start, term);
  for (int k = PART; k + PART <= K; k += PART) product_part<N, SIZE, PART, YS>(y, k, so_far, term);
  if constexpr (rest > 0) product_part<N, SIZE, rest, YS>(y, K - rest, so_far, term);
}
// y[n * YS] = start(n) + the terms, n < N, in blocks of equal size
template <int N, long YS, class V, class Start, class Term, class... Terms>
INLINE void product(V *y, Start start, Term first_term, Terms... terms) {
  constexpr int blocks = (N + accumulators<V> - 1) / accumulators<V>, size = (N + blocks - 1) / blocks;
  constexpr int whole = N / size, rest = N % size;
  if constexpr (sizeof...(Terms) == 0 && Term::by_input && Term::inputs > PART && N * Term::inputs >= LARGE) {
    product_by_parts<N, size, YS>(y, start, first_term);
  } else {
    for (int i = 0; i < whole; i++) product_block<size, YS>(y, i * size, start, first_term, terms...);
    if constexpr (rest > 0) product_block<rest, YS>(y, whole * size, start, first_term, terms...);
  }
}

#if LANES == 16 && defined(__GNUC__) && !defined(__clang__)
#define IN_REGISTER(v) asm("" : "+v"(v))  // otherwise gcc reads the operand from memory again for each use
#else
#define IN_REGISTER(v)
#endif
// An outer product is computed in blocks of rows and columns whose sums fit the registers (32 with AVX-512, else 16), and
// are as many as `example_sums` takes at a time.
enum : int { OUTER_COLUMNS = 4 };
constexpr int outer_rows_for(int columns) {
  return columns == 3 && LANES < 16 ? 2 : (LANES == 16 ? 16 : 8) / columns;
}
constexpr int outer_columns_for(int N, int K) {  // blocks of equal size; few rows leave room for more columns
  const int most = N == 1 ? (LANES == 16 ? 16 : 8) : N == 2 ? (LANES == 16 ? 8 : 4) : OUTER_COLUMNS;
  const int blocks = (K + most - 1) / most;
  return (K + blocks - 1) / blocks;
}

// g[j * GC] += s[j], j < C: where they lie side by side, as many at a time as a register takes
template <int C, long GC, class W> INLINE void add_row(W *g, const W *s) {
  constexpr int floats = C * replicas<W>;
  if constexpr (GC == 1 && C > 1 && (floats & (floats - 1)) == 0 && floats <= LANES) {
    typedef float Row __attribute__((vector_size(4 * floats)));
    Row a, b;
    memcpy(&a, g, sizeof a);
    memcpy(&b, s, sizeof b);
    a += b;
    memcpy(g, &a, sizeof a);
  } else {
    for (int j = 0; j < C; j++) g[j * GC] += s[j];
  }
}

// One block, R rows and C columns: sums over time and lanes. Each element of d and x is SIDES vectors side by side.
template <int R, int C, long GR, long GC, long DS, long XS, long SIDES, class W>
INLINE void outer_block(W *g, const vf *d, long dt, const vf *x, long xt, long T) {
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
        for (int i = 0; i < R; i++) a[term_at<W>(i * C + j)] += e[i] * f;
      }
    }
  W s[size];
  for (int i = 0; i < size; i += LANES) example_sums(a + i, s + i);
  for (int i = 0; i < R; i++) add_row<C, GC>(g + i * GR, s + i * C);
}
// C columns of an outer product, all rows.
template <int N, int C, long GR, long GC, long DS, long XS, class V, class W>
INLINE void outer_columns(W *g, const V *d, long dt, const V *x, long xt, long T) {
  constexpr int R = outer_rows_for(C), rest = N % R;
  constexpr long sides = sizeof(V) / sizeof(vf);
  for (int n = 0; n + R <= N; n += R)
    outer_block<R, C, GR, GC, DS, XS, sides>(g + n * GR, (const vf *)(d + n * DS), dt, (const vf *)x, xt, T);
  if constexpr (rest > 0)
    outer_block<rest, C, GR, GC, DS, XS, sides>(g + (N - rest) * GR, (const vf *)(d + (N - rest) * DS), dt,
                                                (const vf *)x, xt, T);
}
// g[n * GR + k * GC] += sum over time and lanes of d[t * dt + n * DS] * x[t * xt + k * XS], n < N, k < K. So many rows at a
// time that those of d stay in the cache for all columns.
enum : int { OUTER_ROWS = 64 };
template <int N, int K, long GR, long GC, long DS, long XS, class V, class W>
INLINE void outer(W *g, const V *d, long dt, const V *x, long xt, long T) {
  if constexpr (N > OUTER_ROWS && K > OUTER_COLUMNS && N * K >= LARGE) {
    for (int n = 0; n + OUTER_ROWS <= N; n += OUTER_ROWS)
      outer<OUTER_ROWS, K, GR, GC, DS, XS>(g + n * GR, d + n * DS, dt, x, xt, T);
    if constexpr (N % OUTER_ROWS > 0) {
      constexpr int n = N / OUTER_ROWS * OUTER_ROWS;
      outer<N - n, K, GR, GC, DS, XS>(g + n * GR, d + n * DS, dt, x, xt, T);
    }
    return;
  }
  constexpr int C = outer_columns_for(N, K), rest = K % C;
  for (int k = 0; k + C <= K; k += C) outer_columns<N, C, GR, GC, DS, XS>(g + k * GC, d, dt, x + k * XS, xt, T);
  if constexpr (rest > 0)
    outer_columns<N, rest, GR, GC, DS, XS>(g + (K - rest) * GC, d, dt, x + (K - rest) * XS, xt, T);
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

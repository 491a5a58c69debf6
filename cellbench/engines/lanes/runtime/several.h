// N vectors side by side, with all operations that a generated function may apply to a vector. One pass over the weights
// then serves all of them, and one computes while another waits for the result of an instruction.
#pragma once
#include "kernels.h"

// Unrolled at once: an array in memory would be slow.
#define EACH_OF(N) _Pragma("GCC unroll 8") for (int i = 0; i < N; i++)
#define OF_TWO(result, operand, o) \
  friend INLINED inline result operator o(operand x, operand y) { result r; EACH_OF(N) r.v[i] = x.v[i] o y.v[i]; return r; }
#define NAMED(name) \
  friend INLINED inline Several name(Several x) { EACH_OF(N) x.v[i] = name(x.v[i]); return x; }
#define NAMED_OF_TWO(name) \
  friend INLINED inline Several name(Several x, Several y) { EACH_OF(N) x.v[i] = name(x.v[i], y.v[i]); return x; }

template <int N> struct Several;
// Masks, in which true is -1 and false is 0, and whole numbers.
template <int N> struct SeveralInts {
  vi v[N];
  SeveralInts() = default;
  INLINED SeveralInts(vi all) { EACH_OF(N) v[i] = all; }
  INLINED explicit SeveralInts(Several<N> x) { EACH_OF(N) v[i] = (vi)x.v[i]; }
  OF_TWO(SeveralInts, SeveralInts, &)
  OF_TWO(SeveralInts, SeveralInts, |)
  OF_TWO(SeveralInts, SeveralInts, ^)
  OF_TWO(SeveralInts, SeveralInts, +)
  friend INLINED inline SeveralInts operator~(SeveralInts x) { EACH_OF(N) x.v[i] = ~x.v[i]; return x; }
  friend INLINED inline SeveralInts operator<<(SeveralInts x, int bits) { EACH_OF(N) x.v[i] = x.v[i] << bits; return x; }
  friend INLINED inline SeveralInts operator-(SeveralInts x, int32_t y) { EACH_OF(N) x.v[i] = x.v[i] - y; return x; }
  friend INLINED inline SeveralInts &operator+=(SeveralInts &x, SeveralInts y) { return x = x + y; }
  friend INLINED inline SeveralInts vnot(SeveralInts x) { return ~x; }
  friend INLINED inline Several<N> vselect(SeveralInts m, vf x, vf y) { return vselect(m, Several<N>(x), Several<N>(y)); }
};
template <int N> struct Several {
  typedef SeveralInts<N> Mask;
  vf v[N];
  Several() = default;
  INLINED Several(vf all) { EACH_OF(N) v[i] = all; }
  INLINED Several(float all) : Several(S(all)) {}
  INLINED explicit Several(Mask m) { EACH_OF(N) v[i] = (vf)m.v[i]; }
  OF_TWO(Several, Several, +)
  OF_TWO(Several, Several, -)
  OF_TWO(Several, Several, *)
  OF_TWO(Several, Several, /)
  OF_TWO(Mask, Several, <)
  OF_TWO(Mask, Several, >)
  OF_TWO(Mask, Several, <=)
  OF_TWO(Mask, Several, >=)
  OF_TWO(Mask, Several, ==)
  OF_TWO(Mask, Several, !=)
  friend INLINED inline Several operator-(Several x) { EACH_OF(N) x.v[i] = -x.v[i]; return x; }
  friend INLINED inline Several &operator+=(Several &x, Several y) { return x = x + y; }
  friend INLINED inline Several at_least(Several x, float low) { EACH_OF(N) x.v[i] = at_least(x.v[i], low); return x; }
  friend INLINED inline Several at_most(Several x, float high) { EACH_OF(N) x.v[i] = at_most(x.v[i], high); return x; }
  friend INLINED inline Several vselect(Mask m, Several x, Several y) {
    EACH_OF(N) x.v[i] = vselect(m.v[i], x.v[i], y.v[i]);
    return x;
  }
  NAMED(vabs) NAMED(vrelu) NAMED(vsign) NAMED(vreciprocal) NAMED(vsqrt) NAMED(vfloor) NAMED(vceil) NAMED(vtrunc)
  NAMED(vround) NAMED(vexp2) NAMED(vlog) NAMED(vlog1p) NAMED(vlog2) NAMED(vlog10) NAMED(vsin) NAMED(vcos) NAMED(vtan)
  NAMED(vasin) NAMED(vacos) NAMED(vatan) NAMED(vsinh) NAMED(vcosh) NAMED(vasinh) NAMED(vacosh) NAMED(vatanh)
  NAMED(verf) NAMED(verfc)
  NAMED_OF_TWO(vmax) NAMED_OF_TWO(vmin) NAMED_OF_TWO(vpow) NAMED_OF_TWO(vatan2) NAMED_OF_TWO(vfmod)
};
template <int N> struct IntsOf<Several<N>> {
  typedef SeveralInts<N> type;
};
// Two of them: for batches of more than one vector, and for evaluation.
typedef Several<2> Wide;
typedef SeveralInts<2> WideMask;
template <> inline constexpr int accumulators<Wide> = LANES == 16 ? 12 : 6;
// All vectors added up.
INLINE vf narrowed(vf x) { return x; }
INLINE vf narrowed(Wide x) { return x.v[0] + x.v[1]; }

// ------------------------------------------------------------------------------------------------------ several elements
// K neighbouring elements of an array of V, or each K-th of a row with STRIDE: for loops over elements, in step.
template <class V, int K> struct SomeOf {
  typedef Several<K * (int)(sizeof(V) / sizeof(vf))> type;
};
template <class V> struct SomeOf<V, 1> {
  typedef V type;
};
template <class V, int K> using Some = typename SomeOf<V, K>::type;
template <int N> INLINE vf &side(Several<N> &x, int i) { return x.v[i]; }
template <int K, int STRIDE, class V> INLINE Some<V, K> some(const V *from) {
  Some<V, K> x;
  EACH_OF(K) for (int s = 0; s < sides<V>; s++) side(x, i * sides<V> + s) = ((const vf *)(from + i * STRIDE))[s];
  return x;
}
template <class V, int K, int STRIDE, class N> INLINE Some<V, K> some_numbers(const N *from) {
  Some<V, K> x;
  EACH_OF(K) for (int s = 0; s < sides<V>; s++) side(x, i * sides<V> + s) = S(from[i * STRIDE]);
  return x;
}
template <int K, int STRIDE, class V> INLINE void put(V *to, Some<V, K> x) {
  EACH_OF(K) for (int s = 0; s < sides<V>; s++) ((vf *)(to + i * STRIDE))[s] = side(x, i * sides<V> + s);
}
// How many vectors go in step: as many as the registers hold the intermediate results of.
enum : int { IN_STEP = LANES == 16 ? 4 : 2 };
template <int K> struct Count {
  enum : int { value = K };
};
template <class V> constexpr int elements_in_step = sides<V> < IN_STEP ? IN_STEP / sides<V> : 1;
// f(count, i): for the `count` elements from i on, until all are done.
template <class V, int N, class F> INLINE void in_step(F f) {
  constexpr int K = elements_in_step<V>;
  for (int i = 0; i + K <= N; i += K) f(Count<K>{}, i);
  if constexpr (N % K > 0)
    for (int i = N / K * K; i < N; i++) f(Count<1>{}, i);
}
template <class V, class F> INLINE void in_step(long n, F f) {
  constexpr int K = elements_in_step<V>;
  long i = 0;
  for (; i + K <= n; i += K) f(Count<K>{}, i);
  for (; i < n; i++) f(Count<1>{}, i);
}

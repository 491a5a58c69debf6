// Two vectors side by side, with all operations that a generated function may apply to a vector. One pass over the
// weights then serves both, and one computes while the other waits for an instruction. Used for batches of more than one
// vector.
#pragma once
#include "kernels.h"

struct WideMask;
struct Wide {
  vf a, b;
  Wide() = default;
  INLINED Wide(vf a, vf b) : a(a), b(b) {}
  INLINED Wide(vf both) : a(both), b(both) {}
  INLINED explicit Wide(WideMask m);
};
struct WideMask {
  vi a, b;
  INLINED WideMask(vi a, vi b) : a(a), b(b) {}
  INLINED WideMask(vi both) : a(both), b(both) {}
  INLINED explicit WideMask(Wide w) : a((vi)w.a), b((vi)w.b) {}
};
inline Wide::Wide(WideMask m) : a((vf)m.a), b((vf)m.b) {}

#define BOTH_SIDES(result, operand, o) \
  INLINE result operator o(operand x, operand y) { return {x.a o y.a, x.b o y.b}; }
#define WITH_FLOAT(result, o) \
  BOTH_SIDES(result, Wide, o) \
  INLINE result operator o(float x, Wide y) { return {x o y.a, x o y.b}; } \
  INLINE result operator o(Wide x, float y) { return {x.a o y, x.b o y}; }
WITH_FLOAT(Wide, +)
WITH_FLOAT(Wide, -)
WITH_FLOAT(Wide, *)
WITH_FLOAT(Wide, /)
WITH_FLOAT(WideMask, <)
WITH_FLOAT(WideMask, >)
WITH_FLOAT(WideMask, <=)
WITH_FLOAT(WideMask, >=)
WITH_FLOAT(WideMask, ==)
WITH_FLOAT(WideMask, !=)
BOTH_SIDES(WideMask, WideMask, &)
BOTH_SIDES(WideMask, WideMask, |)
INLINE Wide operator-(Wide x) { return {-x.a, -x.b}; }
INLINE Wide &operator+=(Wide &x, Wide y) { return x = x + y; }
INLINE WideMask &operator+=(WideMask &x, WideMask y) {
  x.a += y.a;
  x.b += y.b;
  return x;
}
// The two sides added up.
INLINE vf narrowed(vf x) { return x; }
INLINE vf narrowed(Wide x) { return x.a + x.b; }
INLINE float lane_sum(Wide x) { return lane_sum(narrowed(x)); }
INLINE Wide vselect(WideMask m, Wide x, Wide y) { return {vselect(m.a, x.a, y.a), vselect(m.b, x.b, y.b)}; }
INLINE WideMask vnot(WideMask m) { return {vnot(m.a), vnot(m.b)}; }

#define OF_ONE(name) \
  INLINE Wide name(Wide x) { return {name(x.a), name(x.b)}; }
#define OF_TWO(name) \
  INLINE Wide name(Wide x, Wide y) { return {name(x.a, y.a), name(x.b, y.b)}; }
OF_ONE(vabs) OF_ONE(vrelu) OF_ONE(vsign) OF_ONE(vreciprocal) OF_ONE(vsqrt) OF_ONE(vfloor) OF_ONE(vceil)
OF_ONE(vtrunc) OF_ONE(vround) OF_ONE(vexp) OF_ONE(vexp2) OF_ONE(vexpm1) OF_ONE(vsigmoid) OF_ONE(vtanh)
OF_ONE(vlog) OF_ONE(vlog1p) OF_ONE(vlog2) OF_ONE(vlog10) OF_ONE(vsin) OF_ONE(vcos) OF_ONE(vtan) OF_ONE(vasin)
OF_ONE(vacos) OF_ONE(vatan) OF_ONE(vsinh) OF_ONE(vcosh) OF_ONE(vasinh) OF_ONE(vacosh) OF_ONE(vatanh)
OF_ONE(verf) OF_ONE(verfc)
OF_TWO(vmax) OF_TWO(vmin) OF_TWO(vpow) OF_TWO(vatan2) OF_TWO(vfmod) OF_TWO(cross_entropy)
template <> inline constexpr int accumulators<Wide> = LANES == 16 ? 12 : 6;

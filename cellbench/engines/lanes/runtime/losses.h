// The loss of each kind of answer, its gradient by the raw outputs, and which answers are right. KIND is set where a unit
// is put together (units.py). A step has TARGETS targets: a class is one, whatever the number of classes.
#pragma once
#include "several.h"

#define OF_BITS 0
#define OF_CLASSES 1
#define OF_NUMBERS 2

enum : long { TARGETS = KIND == OF_CLASSES ? 1 : OUTPUTS };

#if KIND == OF_CLASSES
// The largest of a step's logits, and the logit of its class.
template <class V> struct Logits {
  V top, wanted;
};
template <class V> INLINE Logits<V> logits_of(const V *z, V target) {
  Logits<V> found = {z[0], z[0]};
  for (int o = 1; o < OUTPUTS; o++) {
    found.top = vmax(found.top, z[o]);
    found.wanted = vselect(target == V(S((float)o)), z[o], found.wanted);
  }
  return found;
}
// The sum of e^(z - top); its terms are put into `terms`, if there is room for them.
template <class V> INLINE V exponentials(const V *z, V top, V *terms) {
  V sum = S(0.f);
  in_step<V>(OUTPUTS, [&](auto count, long i) INLINED {
    constexpr int K = count.value;
    Some<V, K> e = exp_negative(some<K, 1>(z + i) - some<K, 0>(&top));
    if (terms) put<K, 1>(terms + i, e);
    for (int k = 0; k < K * sides<V>; k++) side(sum, k % sides<V>) += side(e, k);
  });
  return sum;
}
#endif

// Add the loss of `count` neighbouring outputs to `loss`, and put its gradient into dz. All of them have one weight; with
// classes they are those of one step.
template <class V> INLINE void weigh(const V *z, const V *y, V w, V *dz, long count, V &loss) {
#if KIND == OF_CLASSES
  const Logits<V> found = logits_of(z, y[0]);
  const V sum = exponentials(z, found.top, dz), share = 1.f / sum;
  loss += (vlog(sum) + (found.top - found.wanted)) * w;
  for (int o = 0; o < OUTPUTS; o++) {
    const V hot = vselect(y[0] == V(S((float)o)), V(S(1.f)), V(S(0.f)));
    dz[o] = (dz[o] * share - hot) * w;
  }
#else
  in_step<V>(count, [&](auto number, long i) INLINED {
    constexpr int K = number.value;
    Some<V, K> outputs = some<K, 1>(z + i), right = some<K, 1>(y + i), weight = some<K, 0>(&w);
#if KIND == OF_NUMBERS
    Some<V, K> off = outputs - right, lost = off * off * weight;
    put<K, 1>(dz + i, (off + off) * weight);
#else
    Some<V, K> t = exp_negative(-vabs(outputs)), lost = cross_entropy(outputs, right, t) * weight;
    put<K, 1>(dz + i, cross_entropy_gradient(outputs, right, t) * weight);
#endif
    for (int k = 0; k < K * sides<V>; k++) side(loss, k % sides<V>) += side(lost, k);
  });
#endif
}

// The loss of a sequence, and its gradient dz. Each step has the weight w, or, with a mask, its own one of `each`; where that
// is 0 the outputs count as 0, since they may be anything.
template <class V> static V weigh_sequence(V *z, const V *y, V w, const V *each, V *dz, long T) {
  V loss = S(0.f);
  if (!each && KIND != OF_CLASSES) {
    weigh<V>(z, y, w, dz, T * OUTPUTS, loss);
    return loss;
  }
  for (long t = 0; t < T; t++, z += OUTPUTS, y += TARGETS, dz += OUTPUTS) {
    if (each)
      for (long o = 0; o < OUTPUTS; o++) z[o] = vselect(each[t] > V(S(0.f)), z[o], V(S(0.f)));
    weigh<V>(z, y, each ? each[t] : w, dz, OUTPUTS, loss);
  }
  return loss;
}

// Add the losses of a step's answers to `loss`, and to `right`, which counts down, how many of them are right: a logit of the
// target's sign, a class's logit above all others, a number within the tolerance. Ties, logits of 0 and NaN are wrong.
template <class V, class M> INLINE void judge(const V *z, const V *y, float tolerance, V &loss, M &right) {
#if KIND == OF_CLASSES
  const Logits<V> found = logits_of(z, y[0]);
  loss += vlog(exponentials(z, found.top, (V *)nullptr)) + (found.top - found.wanted);
  V others = S(-INFINITY);
  for (int o = 0; o < OUTPUTS; o++)
    others = vmax(others, vselect(y[0] == V(S((float)o)), V(S(-INFINITY)), z[o]));
  right += found.wanted > others;
#else
  for (long o = 0; o < OUTPUTS; o++) {
    V target = y[o];
#if KIND == OF_NUMBERS
    V off = z[o] - target;
    loss += off * off;
    right += vabs(off) <= V(S(tolerance));
#else
    loss += cross_entropy(z[o], target);
    right += (target + target - 1.f) * z[o] > 0.f;
#endif
  }
#endif
}

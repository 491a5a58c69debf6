// Evaluation, on two vectors of examples side by side, one replica at a time.
#pragma once
#include "sequence.h"

// The scratch memory of an evaluation: derived tensors, packed examples, and the buffers of one group of lanes.
struct ToEvaluate {
  float *u;
  Wide *x, *y, *h, *r, *z, *tmp, *end;
  ToEvaluate(float *start, long packed) {
    u = start;
    x = (Wide *)(u + padded(DERIVED));
    y = x + packed * INPUTS;
    h = y + packed * OUTPUTS;
    r = h + 2 * STATES;
    z = r + RESIDUALS;
    tmp = z + OUTPUTS;
    end = tmp + TEMPORARY;
  }
};

// Examples are scored in groups, one example per lane.
static long groups_to_evaluate(long examples) { return (examples + width<Wide> - 1) / width<Wide>; }

extern "C" long floats_to_evaluate(long T, long examples) {
  ToEvaluate m(nullptr, groups_to_evaluate(examples) * T);
  return (float *)m.end - (float *)nullptr;
}

// Score the replicas of one seed: x (T, examples, INPUTS), y (T, examples, OUTPUTS); replica i is row rows[i] of p and of
// the scores. An output is right if its logit has the target's sign; logits of 0 and NaN are wrong.
extern "C" void evaluate(long T, long examples, const float *x, const float *y, long count, const long *rows, const float *p,
                         double *loss, double *bits, double *sequences, float *scratch) {
  NothingTiny mode;
  constexpr long lanes = width<Wide>;
  const long groups = groups_to_evaluate(examples);
  ToEvaluate m(scratch, groups * T);
  for (long c = 0; c < groups; c++) {
    pack<INPUTS>(x, m.x + c * T * INPUTS, T, examples, c * lanes);
    pack<OUTPUTS>(y, m.y + c * T * OUTPUTS, T, examples, c * lanes);
  }
  for (long i = 0; i < count; i++) {
    const float *weights = p + rows[i] * ROW;
    double total = 0;
    long right = 0, whole = 0;
    prologue(weights, m.u);
    for (long c = 0; c < groups; c++) {
      begin_sequence(m.u, m.h);
      Wide sum = S(0.f);
      WideMask good = M(false);  // minus the number of outputs right so far
      for (long t = 0; t < T; t++) {  // the state before and the state after take turns in two buffers
        Wide *before = m.h + (t & 1) * STATES, *after = m.h + (~t & 1) * STATES;
        forward<Wide, WideMask>(weights, m.u, m.x + (c * T + t) * INPUTS, before, after, m.r, m.z, m.tmp);
        for (long o = 0; o < OUTPUTS; o++) {
          Wide target = m.y[(c * T + t) * OUTPUTS + o];
          sum += cross_entropy(m.z[o], target);
          good += (target + target - 1.f) * m.z[o] > 0.f;
        }
      }
      // lanes beyond the last example are not counted
      float sums[lanes];
      int32_t goods[lanes];
      memcpy(sums, &sum, sizeof sums);
      memcpy(goods, &good, sizeof goods);
      for (long l = 0; l < lanes && c * lanes + l < examples; l++) {
        total += sums[l];
        right -= goods[l];
        whole += goods[l] == -T * OUTPUTS;
      }
    }
    loss[rows[i]] = total / ((double)examples * T * OUTPUTS);
    bits[rows[i]] = right / ((double)examples * T * OUTPUTS);
    sequences[rows[i]] = whole / (double)examples;
  }
}

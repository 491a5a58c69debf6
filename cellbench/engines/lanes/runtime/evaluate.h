// Evaluation, on two vectors of examples side by side, one replica at a time.
#pragma once
#include "sequence.h"

// The scratch memory of an evaluation: derived tensors, packed examples, and the buffers of one group of lanes.
struct ToEvaluate {
  float *u;
  Wide *x, *y, *w, *h, *r, *z, *tmp, *end;
  ToEvaluate(float *start, long packed, bool masked) {
    u = start;
    x = (Wide *)(u + padded(DERIVED));
    y = x + packed * INPUTS;
    w = y + packed * TARGETS;
    h = w + (masked ? packed : 0);
    r = h + 2 * STATES;
    z = r + RESIDUALS;
    tmp = z + OUTPUTS;
    end = tmp + TEMPORARY;
  }
};

// Examples are scored in groups, one example per lane.
static long groups_to_evaluate(long examples) { return (examples + width<Wide> - 1) / width<Wide>; }

extern "C" long floats_to_evaluate(long T, long examples, long masked) {
  ToEvaluate m(nullptr, groups_to_evaluate(examples) * T, masked);
  return (float *)m.end - (float *)nullptr;
}

// Score the replicas of one seed: x (T, examples, INPUTS), y (T, examples, TARGETS); w (T, examples) is 1 at the steps that
// count, else 0, or null where all do. Replica i is row rows[i] of p and of the scores.
extern "C" void evaluate(long T, long examples, const float *x, const float *y, const float *w, double tolerance, long count,
                         const long *rows, const float *p, double *loss, double *answers, double *sequences,
                         float *scratch) {
  NothingTiny mode;
  constexpr long lanes = width<Wide>;
  const long groups = groups_to_evaluate(examples);
  ToEvaluate m(scratch, groups * T, w);
  long left_out = 0;  // steps that do not count
  for (long i = 0; w && i < T * examples; i++) left_out += w[i] == 0.f;
  for (long c = 0; c < groups; c++) {
    pack<INPUTS>(x, m.x + c * T * INPUTS, T, examples, c * lanes);
    pack<TARGETS>(y, m.y + c * T * TARGETS, T, examples, c * lanes);
    if (w) pack<1, false>(w, m.w + c * T, T, examples, c * lanes);
  }
  for (long i = 0; i < count; i++) {
    const float *weights = p + rows[i] * ROW;
    double total = 0;
    long right = 0, whole = 0;
    prologue(weights, m.u);
    for (long c = 0; c < groups; c++) {
      begin_sequence(m.u, m.h);
      Wide sum = S(0.f);
      WideMask good = M(false);  // minus the number of answers right so far; those that do not count are all right
      for (long t = 0; t < T; t++) {  // the state before and the state after take turns in two buffers
        Wide *before = m.h + (t & 1) * STATES, *after = m.h + (~t & 1) * STATES;
        forward<Wide, WideMask>(weights, m.u, m.x + (c * T + t) * INPUTS, before, after, m.r, m.z, m.tmp);
        const Wide *target = m.y + (c * T + t) * TARGETS;
        const Wide sum_before = sum;
        const WideMask good_before = good;
        judge<Wide, WideMask>(m.z, target, (float)tolerance, sum, good);
        if (w) {
          const WideMask counts = m.w[c * T + t] > Wide(S(0.f));
          sum = vselect(counts, sum, sum_before);
          good = (good & counts) | ((good_before - (int32_t)TARGETS) & ~counts);
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
        whole += goods[l] == -T * TARGETS;
      }
    }
    const double all = ((double)examples * T - left_out) * TARGETS;
    loss[rows[i]] = total / all;
    answers[rows[i]] = (right - left_out * TARGETS) / all;
    sequences[rows[i]] = whole / (double)examples;
  }
}

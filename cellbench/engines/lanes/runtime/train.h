// Training, the same for every cell: replicas, steps, clipping, optimizers. PACK replicas are trained at a time, each in
// lanes of its own, so its numbers do not depend on the others. WIDE: batches of more than one vector are trained on two
// vectors at a time (train_wide.h).
#pragma once
#include "sequence.h"

enum Optimizer : long { ADAM, ADAMW, SGD, RMSPROP };

// The number of one of the replicas.
INLINE float &one(Numbers *a, long r) { return ((float *)a)[r]; }

// Compute the loss of one training batch, and its gradient in m.g; w is null where all steps count.
static Numbers gradient(const Numbers *p, const vf *x, const vf *y, const vf *w, long T, long B, ToTrain &m) {
  memset(m.g, 0, sizeof(Numbers) * TRAINED);
  memset(m.gu, 0, sizeof(Numbers) * padded(DERIVED_GRADIENTS));
  for (long i = 0; i < padded(SUMS); i++) m.acc[i] = S(0.f);
  prologue(p, m.u);
  Numbers loss = all<Numbers>(0.f);
  long first = 0;
#if WIDE
  for (; B - first > LANES; first += 2 * LANES, x += 2 * T * INPUTS, y += 2 * T * TARGETS, w += w ? 2 * T : 0)
    loss += wide_sequence(p, x, y, w, T, B, first, m);
#endif
  for (; first < B; first += EXAMPLES, x += T * INPUTS, y += T * TARGETS, w += w ? T : 0)
    loss += sequence<vf, vi>(p, x, y, w, T, B, first, m);
  Numbers totals[LANES];
  for (long i = 0; i < SUMS; i += LANES) {
    example_sums(m.acc + i, totals);
    for (int k = 0; k < LANES; k++) m.sums[i + term_at<Numbers>(k)] = totals[k];
  }
  settle(m.g, m.gu, m.sums);
  epilogue(p, m.u, m.gu, m.g);
  return loss;
}

// The sums of the squares of the replicas' gradients: LANES partial sums for each, added up by halves.
static Numbers squares_of(const Numbers *g) {
  vf sum[PACK];
  for (long j = 0; j < PACK; j++) sum[j] = S(0.f);
  for (long i = 0; i < TRAINED; i += LANES)
    for (long j = 0; j < PACK; j++) {
      vf v = ((const vf *)(g + i))[j];
      sum[j] += v * v;
    }
  for (long half = PACK / 2; half; half /= 2)
    for (long j = 0; j < half; j++) sum[j] += sum[j + half];
  return example_sum<Numbers>(sum[0]);
}
// The Euclidean norm of one replica's gradient.
static float norm_of(float squares, const Numbers *g, long r) {
  float norm = __builtin_sqrtf(squares);
  if (__builtin_isfinite(norm)) return norm;
  double wide = 0;  // a square may be too large for a float although the norm is not
  for (long i = 0; i < TRAINED; i++) {
    double each = ((const float *)g)[i * PACK + r];
    wide += each * each;
  }
  return (float)__builtin_sqrt(wide);
}

// 1 / d, to a unit in the last place, for d from 1e-30 to 1e30 (the largest that is told apart). The machine divides in the
// same unit that it takes roots in, one after the other, so Newton's iteration is quicker beside a root.
INLINE vf reciprocal(vf d) {
#if LANES == 4
  return 1.f / d;
#else
  d = at_most(d, 1e30f);
  vf y = (vf)(0x7ef311c7 - (vi)d);  // within 12 %
  for (int i = 0; i < 3; i++) y *= 2.f - d * y;
  return y;
#endif
}
// The rules of torch.optim, with constants in the order in which engine.py passes them.
struct Rule {
  Optimizer kind;
  Growth growth;
  const double *rates;  // of the replicas, at this step
  const float *scales;  // of their gradients, by clipping
  float most;  // the largest number of a gradient that is left alone; 0: any
  const double *constants;
};
ROUNDED_EACH
static void update(Numbers *weights, Numbers *slots, const Numbers *gradient, const Rule &rule) {
  const double *c = rule.constants;
  enum : long { VECTORS = TRAINED * PACK / LANES };
  vf *p = (vf *)weights, *first = (vf *)slots, *second = first + VECTORS;
  const vf *g = (const vf *)gradient;
  auto each = [&](auto f) {
    Numbers a;
    for (long r = 0; r < PACK; r++) one(&a, r) = (float)f(r);
    return S(a);
  };
  const vf scale = each([&](long r) { return rule.scales[r]; }), rate = each([&](long r) { return rule.rates[r]; });
  const double decay = c[rule.kind == SGD ? 1 : 3];
  // the gradient that counts: clipped by value, and with that of the L2 penalty; without both, its bits stay
  const float most = rule.most, penalty = rule.kind == ADAMW ? 0.f : (float)decay;
  auto slope = [&](long i) {
    vf q = g[i] * scale;
    if (most > 0) q = at_least(at_most(q, most), -most);
    if (penalty > 0) q += p[i] * penalty;
    return q;
  };
  if (rule.kind == ADAM || rule.kind == ADAMW) {
    // beta1, beta2, eps, weight decay
    const vf size = each([&](long r) { return rule.rates[r] / rule.growth.first; });
    const float root = (float)(1 / rule.growth.second_root);
    const float m = (float)(1 - c[0]), b2 = (float)c[1], v = (float)(1 - c[1]), eps = (float)c[2];
    const vf kept = each([&](long r) { return rule.kind == ADAMW ? 1 - rule.rates[r] * decay : 1.; });
    for (long i = 0; i < VECTORS; i++) {
      vf q = slope(i), &a = first[i], &b = second[i];
      // from the nearer end, as torch.lerp: a moment much larger than a gradient would swallow it
      a = m < 0.5f ? a + (q - a) * m : q - (q - a) * (1.f - m);
      b = b * b2 + q * q * v;
      p[i] = p[i] * kept - size * (a * reciprocal(vsqrt(b) * root + eps));
    }
  } else if (rule.kind == SGD) {  // momentum, weight decay
    const float momentum = (float)c[0];
    for (long i = 0; i < VECTORS; i++) {
      vf q = slope(i), &a = first[i];
      a = a * momentum + q;
      p[i] -= rate * a;
    }
  } else {  // alpha, eps, momentum, weight decay
    const float alpha = (float)c[0], rest = (float)(1 - c[0]), eps = (float)c[1], momentum = (float)c[2];
    for (long i = 0; i < VECTORS; i++) {
      vf q = slope(i), &a = first[i];
      a = a * alpha + q * q * rest;
      vf step = q / (vsqrt(a) + eps);
      if (momentum > 0) step = second[i] = second[i] * momentum + step;
      p[i] -= rate * step;
    }
  }
}
ROUNDED_AS_BEFORE

// Up to PACK replicas in training. If there are fewer, the first fills the other places; nothing is kept of those.
struct Group {
  long row[PACK];
  bool alive[PACK];
  const float *x[PACK], *y[PACK], *w[PACK];  // each one's block of data; with no mask, w is null
  float *p[PACK], *slots[PACK];  // each one's rows
};

extern "C" long lanes_width() { return LANES; }
extern "C" long replicas_per_vector() { return PACK; }
extern "C" long targets_per_step() { return TARGETS; }
extern "C" long floats_to_train(long steps, long slot_row, long T, long B, long masked) {
  ToTrain m(nullptr, steps, slot_row, T, B, masked);
  return (float *)m.end - (float *)nullptr;
}

// Put one step's batches in lanes.
static void pack_step(const Group &group, long step, long T, long B, ToTrain &m) {
  const float *from[PACK];
  for (long r = 0; r < PACK; r++) from[r] = group.x[r] + step * T * B * INPUTS;
  side_by_side(from, m.drawn, T * B * INPUTS);
  pack_batch<INPUTS>(m.drawn, m.x, T, B);
  for (long r = 0; r < PACK; r++) from[r] = group.y[r] + step * T * B * TARGETS;
  side_by_side(from, m.drawn, T * B * TARGETS);
  pack_batch<TARGETS>(m.drawn, m.y, T, B);
  if (!group.w[0]) return;
  for (long r = 0; r < PACK; r++) from[r] = group.w[r] + step * T * B;
  side_by_side(from, m.drawn, T * B);
  pack_batch<1, false>(m.drawn, m.w, T, B);
}

// Train replicas through a block of steps: x (seeds, steps, T, B, INPUTS), y (seeds, steps, T, B, TARGETS), with `x_seed` and
// `y_seed` floats from one seed to the next; w (seeds, steps, T, B) likewise: the weight of each step in the loss of its
// batch, or null where all weigh the same. Replica i trains on the data of seed which[i], those of one seed in a row. It is
// row rows[i] of p (ROW floats), slots (slot_row floats), rates, losses (steps) and broke, where the step is noted whose
// loss or gradient is not finite; its weights stay those of the step before. At step s of the block, learning rates are
// multiplied by factors[s]. The numbers still[...] of a row, `stills` of them, have no gradient and stay what they are,
// whatever the decay of weights; `kept` has room for them.
extern "C" void train(long steps, long T, long B, const float *x, long x_seed, const float *y, long y_seed,
                      const float *w, long w_seed, long count,
                      const long *rows, const long *which, float *p, float *slots, long slot_row, const double *rates,
                      const double *factors, long kind, const double *constants, double clip_norm, double clip_value,
                      long stills, const long *still, Numbers *kept, long done, double *losses, long *broke, float *scratch) {
  NothingTiny mode;
  const long packed = vectors_of(B) * T;
  ToTrain m(scratch, steps, slot_row, T, B, w);
  if (kind == ADAM || kind == ADAMW)
    for (long s = 0; s < steps; s++) {
      const double step = (double)(done + s + 1);
      m.growth[s] = {1 - __builtin_pow(constants[0], step), __builtin_sqrt(1 - __builtin_pow(constants[1], step))};
    }
  for (long first = 0; first < count; first += PACK) {
    Group group;
    double group_rates[PACK];
    for (long r = 0; r < PACK; r++) {
      group.alive[r] = first + r < count;
      const long i = group.alive[r] ? first + r : first;
      group.row[r] = rows[i];
      group.x[r] = x + which[i] * x_seed, group.y[r] = y + which[i] * y_seed;
      group.w[r] = w ? w + which[i] * w_seed : nullptr;
      group.p[r] = p + rows[i] * ROW, group.slots[r] = slots + rows[i] * slot_row;
      group_rates[r] = rates[rows[i]];
    }
    if constexpr (PACK == 1) {
      m.p = (Numbers *)group.p[0], m.slots = (Numbers *)group.slots[0];
      if (first == 0 || which[first] != which[first - 1])  // all replicas of a seed train on the same data
        for (long s = 0; s < steps; s++) {
          pack_batch<INPUTS>((const Numbers *)group.x[0] + s * T * B * INPUTS, m.x + s * packed * INPUTS, T, B);
          pack_batch<TARGETS>((const Numbers *)group.y[0] + s * T * B * TARGETS, m.y + s * packed * TARGETS, T, B);
          if (w) pack_batch<1, false>((const Numbers *)group.w[0] + s * T * B, m.w + s * packed, T, B);
        }
    } else {
      side_by_side(group.p, m.p, ROW);
      side_by_side(group.slots, m.slots, slot_row);
    }
    // a replica's rows are written when it leaves the group: after the last step, or at the step that broke it
    auto leave = [&](auto leaves) {
      if constexpr (PACK > 1) {
        float *to_p[PACK], *to_slots[PACK];
        for (long r = 0; r < PACK; r++) {
          to_p[r] = leaves(r) ? group.p[r] : nullptr;
          to_slots[r] = leaves(r) ? group.slots[r] : nullptr;
        }
        apart(m.p, to_p, ROW);
        apart(m.slots, to_slots, slot_row);
      }
    };
    for (long k = 0; k < stills; k++) kept[k] = m.p[still[k]];
    bool any = true;
    for (long s = 0; s < steps && any; s++) {
      const long at = PACK == 1 ? s * packed : 0;
      if constexpr (PACK > 1) pack_step(group, s, T, B, m);
      Numbers loss = gradient(m.p, m.x + at * INPUTS, m.y + at * TARGETS, w ? m.w + at : nullptr, T, B, m);
      Numbers squares = squares_of(m.g);
      float scales[PACK];
      double step_rates[PACK];
      any = false;
      for (long r = 0; r < PACK; r++) {
        scales[r] = 1.f, step_rates[r] = group_rates[r] * factors[s];
        if (!group.alive[r]) continue;
        const float lost = one(&loss, r), norm = norm_of(one(&squares, r), m.g, r);
        losses[group.row[r] * steps + s] = lost;
        if (!__builtin_isfinite(lost) || !__builtin_isfinite(norm)) {
          leave([&](long other) { return other == r; });
          broke[group.row[r]] = s;
          group.alive[r] = false;
          continue;
        }
        any = true;
        if (clip_norm > 0) {
          scales[r] = (float)clip_norm / (norm + 1e-6f);
          if (scales[r] > 1.f) scales[r] = 1.f;
        }
      }
      if (any) {
        update(m.p, m.slots, m.g, {(Optimizer)kind, m.growth[s], step_rates, scales, (float)clip_value, constants});
        for (long k = 0; k < stills; k++) m.p[still[k]] = kept[k];
      }
    }
    if (any) leave([&](long r) { return group.alive[r]; });
  }
}

// Compute the gradient of one batch, for the proof: x (T, B, INPUTS), y (T, B, TARGETS), w (T, B) or null; returns the loss.
extern "C" double gradient_once(long T, long B, const float *x, const float *y, const float *w, const float *p, float *g,
                                float *scratch) {
  NothingTiny mode;
  ToTrain m(scratch, 1, 0, T, B, w);
  Group group;
  for (long r = 0; r < PACK; r++) group.x[r] = x, group.y[r] = y, group.w[r] = w, group.p[r] = (float *)p;
  const Numbers *weights = (const Numbers *)p;
  if constexpr (PACK > 1) {
    side_by_side(group.p, m.p, ROW);
    pack_step(group, 0, T, B, m);
    weights = m.p;
  } else {
    pack_batch<INPUTS>((const Numbers *)x, m.x, T, B);
    pack_batch<TARGETS>((const Numbers *)y, m.y, T, B);
    if (w) pack_batch<1, false>((const Numbers *)w, m.w, T, B);
  }
  Numbers loss = gradient(weights, m.x, m.y, w ? m.w : nullptr, T, B, m);
  for (long i = 0; i < TRAINED; i++) g[i] = one(m.g + i, 0);
  return one(&loss, 0);
}

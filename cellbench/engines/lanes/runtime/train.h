// Training, the same for every cell: replicas, steps, clipping, optimizers. Each replica is trained by itself, so its
// numbers do not depend on the others.
#pragma once
#include "sequence.h"

enum Optimizer : long { ADAM, ADAMW, SGD, RMSPROP };

// Compute the loss of one training batch, and its gradient in m.g.
static float gradient(const float *p, const vf *x, const vf *y, long T, long B, ToTrain &m) {
  memset(m.g, 0, sizeof(float) * TRAINED);
  memset(m.gu, 0, sizeof(float) * padded(DERIVED_GRADIENTS));
  for (long i = 0; i < padded(SUMS); i++) m.acc[i] = S(0.f);
  prologue(p, m.u);
  float loss = 0.f;
  long first = 0;
  for (; B - first > LANES; first += 2 * LANES, x += 2 * T * INPUTS, y += 2 * T * OUTPUTS)
    loss += wide_sequence(p, x, y, T, B, first, m);
  if (first < B) loss += sequence<vf, vi>(p, x, y, T, B, first, m);
  for (long i = 0; i < SUMS; i += LANES) m.sums[i / LANES] = lane_sums(m.acc + i);
  settle(m.g, m.gu, (const float *)m.sums);
  epilogue(p, m.u, m.gu, m.g);
  return loss;
}

// The Euclidean norm of the gradient.
static float norm_of(const float *g) {
  vf sum = S(0.f);
  for (long i = 0; i < TRAINED; i += LANES) {
    vf v = *(const vf *)(g + i);
    sum += v * v;
  }
  float norm = sqrtf(lane_sum(sum));
  if (isfinite(norm)) return norm;
  double wide = 0;  // a square may be too large for a float although the norm is not
  for (long i = 0; i < TRAINED; i++) wide += (double)g[i] * g[i];
  return (float)sqrt(wide);
}

// The rules of torch.optim, with constants in the order in which engine.py passes them.
struct Rule {
  Optimizer kind;
  double rate;
  double step;  // counted from 1
  float scale;  // of the gradient, by clipping
  const double *constants;
};
static void update(float *p, float *slots, const float *g, const Rule &rule) {
  const double *c = rule.constants;
  float *first = slots, *second = slots + TRAINED;
  if (rule.kind == ADAM || rule.kind == ADAMW) {
    // beta1, beta2, eps, weight decay
    const float size = (float)(rule.rate / (1 - pow(c[0], rule.step))), root = (float)sqrt(1 - pow(c[1], rule.step));
    const float m = (float)(1 - c[0]), b2 = (float)c[1], v = (float)(1 - c[1]), eps = (float)c[2];
    const float kept = rule.kind == ADAMW ? (float)(1 - rule.rate * c[3]) : 1.f;
    for (long i = 0; i < TRAINED; i += LANES) {
      vf q = *(vf *)(g + i) * rule.scale, &a = *(vf *)(first + i), &b = *(vf *)(second + i), &w = *(vf *)(p + i);
      a += (q - a) * m;
      b = b * b2 + q * q * v;
      w = w * kept - size * (a / (vsqrt(b) / root + eps));
    }
  } else if (rule.kind == SGD) {  // momentum
    const float momentum = (float)c[0];
    for (long i = 0; i < TRAINED; i += LANES) {
      vf q = *(vf *)(g + i) * rule.scale, &a = *(vf *)(first + i);
      a = a * momentum + q;
      *(vf *)(p + i) -= (float)rule.rate * a;
    }
  } else {  // alpha, eps
    const float alpha = (float)c[0], rest = (float)(1 - c[0]), eps = (float)c[1];
    for (long i = 0; i < TRAINED; i += LANES) {
      vf q = *(vf *)(g + i) * rule.scale, &a = *(vf *)(first + i);
      a = a * alpha + q * q * rest;
      *(vf *)(p + i) -= (float)rule.rate * (q / (vsqrt(a) + eps));
    }
  }
}

extern "C" long lanes_width() { return LANES; }
extern "C" long floats_to_train(long steps, long T, long B) {
  ToTrain m(nullptr, steps, T, B);
  return (float *)m.end - (float *)nullptr;
}

// Train the replicas of one seed: x (steps, T, B, INPUTS), y (steps, T, B, OUTPUTS). Replica i is row rows[i] of p
// (ROW floats), slots (slot_row floats), rates, losses (steps) and broke. A replica with broke >= 0 is left as it is.
extern "C" void train(long steps, long T, long B, const float *x, const float *y, long count, const long *rows, float *p,
                      float *slots, long slot_row, const double *rates, long kind, const double *constants, double clip,
                      long done, double *losses, long *broke, float *scratch) {
  const long packed = vectors_of(B) * T;
  ToTrain m(scratch, steps, T, B);
  for (long s = 0; s < steps; s++) {
    pack_batch<INPUTS>(x + s * T * B * INPUTS, m.x + s * packed * INPUTS, T, B);
    pack_batch<OUTPUTS>(y + s * T * B * OUTPUTS, m.y + s * packed * OUTPUTS, T, B);
  }
  for (long i = 0; i < count; i++) {
    const long row = rows[i];
    float *weights = p + row * ROW;
    for (long s = 0; s < steps && broke[row] < 0; s++) {
      float loss = gradient(weights, m.x + s * packed * INPUTS, m.y + s * packed * OUTPUTS, T, B, m);
      float norm = norm_of(m.g);
      losses[row * steps + s] = loss;
      if (!isfinite(loss) || !isfinite(norm)) {  // no update: the weights stay those of the step before
        broke[row] = s;
        break;
      }
      float scale = 1.f;
      if (clip > 0) {
        scale = (float)clip / (norm + 1e-6f);
        if (scale > 1.f) scale = 1.f;
      }
      update(weights, slots + row * slot_row, m.g, {(Optimizer)kind, rates[row], (double)(done + s + 1), scale, constants});
    }
  }
}

// Compute the gradient of one batch, for the proof: x (T, B, INPUTS), y (T, B, OUTPUTS); returns the loss.
extern "C" double gradient_once(long T, long B, const float *x, const float *y, const float *p, float *g, float *scratch) {
  ToTrain m(scratch, 1, T, B);
  pack_batch<INPUTS>(x, m.x, T, B);
  pack_batch<OUTPUTS>(y, m.y, T, B);
  double loss = gradient(p, m.x, m.y, T, B, m);
  memcpy(g, m.g, sizeof(float) * TRAINED);
  return loss;
}

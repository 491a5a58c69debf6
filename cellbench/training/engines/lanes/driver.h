// What is the same for every cell: replicas, steps, groups of lanes, time; loss, clipping, optimizers, evaluation.
// Included after the generated functions and sizes. A replica's loop never sees how many others there are.
#pragma once
#include "wide.h"

enum Optimizer : long { ADAM, ADAMW, SGD, RMSPROP };

// A number of steps or examples with the room they need. All pointers are aligned to 64 bytes.
static constexpr long padded(long n) { return (n + 15) / 16 * 16; }
template <class V> constexpr long width = sizeof(V) / sizeof(float);
// Vectors for a batch. Two side by side as long as more than one is left.
static long vectors_of(long B) { return (B + LANES - 1) / LANES; }

// What is kept of the examples of one vector while their sequence is trained on.
template <class V> struct Sequence {
  V *h, *r, *b, *z, *dz, *ds, *acc, *tmp, *end;
  Sequence(vf *start, long T) {
    h = (V *)start;
    r = h + (T + 1) * STATES;
    b = r + T * RESIDUALS;
    z = b + T * BACKWARD;
    dz = z + T * OUTPUTS;
    ds = dz + T * OUTPUTS;
    acc = ds + 2 * STATES;
    tmp = acc + SUMS;
    end = tmp + TEMPORARY;
  }
  long floats() const { return (float *)end - (float *)h; }
};
struct ToTrain {
  float *g, *gu, *u;
  vf *x, *y, *acc, *sums, *work, *end;
  ToTrain(float *start, long steps, long T, long B) {
    g = start;
    gu = g + TRAINED;
    u = gu + padded(DERIVED_GRADIENTS);
    x = (vf *)(u + padded(DERIVED));
    y = x + steps * vectors_of(B) * T * INPUTS;
    acc = y + steps * vectors_of(B) * T * OUTPUTS;
    sums = acc + padded(SUMS);
    work = sums + padded(SUMS) / LANES;
    end = work + Sequence<vf>(nullptr, T).floats() / LANES * (B > LANES ? 2 : 1);
  }
};
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

static long groups_to_evaluate(long examples) { return (examples + width<Wide> - 1) / width<Wide>; }

// (time, batch, WIDTH) -> (time, WIDTH) of vectors, from the example `first` on. Lanes beyond the batch repeat its last
// example, with weight 0: a cell may divide by what is never 0 in data but would be in padding.
template <long WIDTH, class V> static void pack(const float *from, V *to, long T, long B, long first) {
  constexpr long lanes = width<V>;
  const long whole = B - first < lanes ? B - first : lanes;
  float *target = (float *)to;
  for (long t = 0; t < T; t++, target += WIDTH * lanes) {
    const float *source = from + (t * B + first) * WIDTH;
    if (whole == lanes) {
      for (long l = 0; l < lanes; l++)
        for (long i = 0; i < WIDTH; i++) target[i * lanes + l] = source[l * WIDTH + i];
    } else {
      for (long l = 0; l < lanes; l++)
        for (long i = 0; i < WIDTH; i++) target[i * lanes + l] = source[(l < whole ? l : whole - 1) * WIDTH + i];
    }
  }
}
template <long WIDTH> static void pack_batch(const float *from, vf *to, long T, long B) {
  long first = 0;
  for (; B - first > LANES; first += 2 * LANES, to += 2 * T * WIDTH) pack<WIDTH>(from, (Wide *)to, T, B, first);
  if (first < B) pack<WIDTH>(from, to, T, B, first);
}

template <class V> static V weights(long first, long B, float each) {
  float lanes[width<V>];
  for (long l = 0; l < width<V>; l++) lanes[l] = first + l < B ? each : 0.f;
  V w;
  memcpy(&w, lanes, sizeof lanes);
  return w;
}

template <class V> static void begin_sequence(const float *u, V *h) {
  for (long i = 0; i < STATES; i++) h[i] = S(u[FIRST + i]);
}

// Loss of a vector of examples; their part of the gradient is added to m.g, m.gu and m.acc.
template <class V, class M>
static float sequence(const float *p, const vf *X, const vf *Y, long T, long B, long first, ToTrain &m) {
  Sequence<V> q(m.work, T);
  const V *x = (const V *)X, *y = (const V *)Y, w = weights<V>(first, B, 1.f / (float)(T * B * OUTPUTS));
  V loss = S(0.f);
  begin_sequence(m.u, q.h);
  for (long t = 0; t < T; t++)
    forward<V, M>(p, m.u, x + t * INPUTS, q.h + t * STATES, q.h + (t + 1) * STATES, q.r + t * RESIDUALS, q.z + t * OUTPUTS,
                  q.tmp);
  for (long i = 0; i < T * OUTPUTS; i++) {
    loss += cross_entropy(q.z[i], y[i]) * w;
    q.dz[i] = (vsigmoid(q.z[i]) - y[i]) * w;
  }
  V *after = q.ds, *before = q.ds + STATES;
  for (long i = 0; i < STATES; i++) after[i] = S(0.f);
  for (long i = 0; i < SUMS; i++) q.acc[i] = S(0.f);
  for (long t = T - 1; t >= 0; t--) {
    backward<V, M>(p, m.u, x + t * INPUTS, q.h + t * STATES, q.h + (t + 1) * STATES, q.r + t * RESIDUALS,
                   q.b + t * BACKWARD, q.dz + t * OUTPUTS, after, before, q.acc, q.tmp);
    V *swap = after;
    after = before;
    before = swap;
  }
  for (long i = 0; i < STATES; i++) m.gu[FIRST_GRADIENT + i] += lane_sum(after[i]);
  products<V, M>(m.g, m.gu, q.acc, x, q.h, q.r, q.b, q.dz, T);
  for (long i = 0; i < SUMS; i++) m.acc[i] += narrowed(q.acc[i]);
  return lane_sum(loss);
}

// Loss of one training batch; the gradient in m.g.
static float gradient(const float *p, const vf *x, const vf *y, long T, long B, ToTrain &m) {
  memset(m.g, 0, sizeof(float) * TRAINED);
  memset(m.gu, 0, sizeof(float) * padded(DERIVED_GRADIENTS));
  for (long i = 0; i < padded(SUMS); i++) m.acc[i] = S(0.f);
  prologue(p, m.u);
  float loss = 0.f;
  long first = 0;
  for (; B - first > LANES; first += 2 * LANES, x += 2 * T * INPUTS, y += 2 * T * OUTPUTS)
    loss += sequence<Wide, WideMask>(p, x, y, T, B, first, m);
  if (first < B) loss += sequence<vf, vi>(p, x, y, T, B, first, m);
  for (long i = 0; i < SUMS; i += LANES) m.sums[i / LANES] = lane_sums(m.acc + i);
  settle(m.g, m.gu, (const float *)m.sums);
  epilogue(p, m.u, m.gu, m.g);
  return loss;
}

static float norm_of(const float *g) {
  vf sum = S(0.f);
  for (long i = 0; i < TRAINED; i += LANES) {
    vf v = *(const vf *)(g + i);
    sum += v * v;
  }
  float norm = sqrtf(lane_sum(sum));
  if (isfinite(norm)) return norm;
  double wide = 0;  // squares may be too large for a float where the norm is not
  for (long i = 0; i < TRAINED; i++) wide += (double)g[i] * g[i];
  return (float)sqrt(wide);
}

// The rules of torch.optim; constants in the order in which engine.py passes them.
struct Rule {
  Optimizer kind;
  double rate;
  double step;  // from 1
  float scale;  // clipping
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
extern "C" long floats_to_evaluate(long T, long examples) {
  ToEvaluate m(nullptr, groups_to_evaluate(examples) * T);
  return (float *)m.end - (float *)nullptr;
}

// Train the replicas of one seed: x (steps, T, B, INPUTS), y (steps, T, B, OUTPUTS); replica i is row rows[i] of p
// (ROW floats), slots (slot_row floats), rates, losses (steps) and broke.
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
      if (!isfinite(loss) || !isfinite(norm)) {
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

// The gradient of one batch, for the proof: x (T, B, INPUTS), y (T, B, OUTPUTS); returns the loss.
extern "C" double gradient_once(long T, long B, const float *x, const float *y, const float *p, float *g, float *scratch) {
  ToTrain m(scratch, 1, T, B);
  pack_batch<INPUTS>(x, m.x, T, B);
  pack_batch<OUTPUTS>(y, m.y, T, B);
  double loss = gradient(p, m.x, m.y, T, B, m);
  memcpy(g, m.g, sizeof(float) * TRAINED);
  return loss;
}

// Score the replicas of one seed: x (T, examples, INPUTS), y (T, examples, OUTPUTS). An output is right if the logit's
// sign says so, strictly: 0 and NaN are wrong.
extern "C" void evaluate(long T, long examples, const float *x, const float *y, long count, const long *rows, const float *p,
                         double *loss, double *bits, double *sequences, float *scratch) {
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
      for (long t = 0; t < T; t++) {
        Wide *before = m.h + (t & 1) * STATES, *after = m.h + (~t & 1) * STATES;
        forward<Wide, WideMask>(weights, m.u, m.x + (c * T + t) * INPUTS, before, after, m.r, m.z, m.tmp);
        for (long o = 0; o < OUTPUTS; o++) {
          Wide target = m.y[(c * T + t) * OUTPUTS + o];
          sum += cross_entropy(m.z[o], target);
          good += (target + target - 1.f) * m.z[o] > 0.f;
        }
      }
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

// The sequences of a training batch, for every cell: memory, the order of examples, forward and backward through time.
// Included after the generated functions and sizes.
#pragma once
#include "wide.h"

static constexpr long padded(long n) { return (n + 15) / 16 * 16; }
template <class V> constexpr long width = sizeof(V) / sizeof(float);
// How many vectors a batch needs. They are trained on two side by side, as long as more than one is left.
static long vectors_of(long B) { return (B + LANES - 1) / LANES; }

// The intermediate results of one vector of examples, over its sequence.
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
// The scratch memory of training: gradients, derived tensors, the packed block of data, and one sequence.
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
// (time, batch, WIDTH) -> (time, WIDTH) of vectors, from the example `first` on. Lanes beyond the batch repeat its last
// example, with weight 0: zeros could make a cell divide by 0 where data never do.
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

// The weight of each lane's example in the loss: 0 in lanes beyond the batch.
template <class V> static V weights(long first, long B, float each) {
  float lanes[width<V>];
  for (long l = 0; l < width<V>; l++) lanes[l] = first + l < B ? each : 0.f;
  V w;
  memcpy(&w, lanes, sizeof lanes);
  return w;
}

// Copy the initial state to all lanes.
template <class V> static void begin_sequence(const float *u, V *h) {
  for (long i = 0; i < STATES; i++) h[i] = S(u[FIRST + i]);
}

// Compute the loss of a vector of examples, and add their part of the gradient to m.g, m.gu and m.acc.
template <class V, class M>
static float sequence(const float *p, const vf *X, const vf *Y, long T, long B, long first, ToTrain &m) {
  Sequence<V> q(m.work, T);
  const V *x = (const V *)X, *y = (const V *)Y, w = weights<V>(first, B, 1.f / (float)(T * B * OUTPUTS));
  V loss = S(0.f);
  begin_sequence(m.u, q.h);
  // forward through time, keeping states and residuals; then the loss and its gradient by the logits
  for (long t = 0; t < T; t++)
    forward<V, M>(p, m.u, x + t * INPUTS, q.h + t * STATES, q.h + (t + 1) * STATES, q.r + t * RESIDUALS, q.z + t * OUTPUTS,
                  q.tmp);
  for (long i = 0; i < T * OUTPUTS; i++) {
    loss += cross_entropy(q.z[i], y[i]) * w;
    q.dz[i] = (vsigmoid(q.z[i]) - y[i]) * w;
  }
  // backward through time; the gradients by the state after and the state before take turns in two buffers
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
  // what is summed over time: the initial state's gradient, the put-off products, and plain sums
  for (long i = 0; i < STATES; i++) m.gu[FIRST_GRADIENT + i] += lane_sum(after[i]);
  products<V, M>(m.g, m.gu, q.acc, x, q.h, q.r, q.b, q.dz, T);
  for (long i = 0; i < SUMS; i++) m.acc[i] += narrowed(q.acc[i]);
  return lane_sum(loss);
}

// The same for two vectors side by side; in evaluate.h, since it takes the compiler as long as all the rest together.
__attribute__((visibility("hidden"))) float wide_sequence(const float *p, const vf *x, const vf *y, long T, long B, long first,
                                                          ToTrain &m);

// The sequences of a training batch, for every cell: memory, the order of examples, forward and backward through time.
// Included after the generated functions and sizes, and after PACK, the number of replicas that share a vector.
#pragma once
#include "losses.h"

typedef Number<PACK> Numbers;

static constexpr long padded(long n) { return (n + 15) / 16 * 16; }
template <class V> constexpr long width = sizeof(V) / sizeof(float);
// A replica's examples in one vector, and how many vectors a batch needs. They are trained on two side by side, as long as
// more than one is left: then there is one replica per vector.
enum : long { EXAMPLES = LANES / PACK };
static long vectors_of(long B) { return (B + EXAMPLES - 1) / EXAMPLES; }

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
// How far Adam's moments have grown at a step: they begin at 0 (Kingma & Ba 2015, section 3).
struct Growth {
  double first, second_root;
};
// The scratch memory of training: gradients, derived tensors, data in lanes, and one sequence. The data are those of a
// whole block of steps, for all replicas of a seed; or those of one step, if several replicas share a vector. These have
// their weights and slots here, too, side by side.
struct ToTrain {
  Numbers *g, *gu, *u, *sums, *p, *slots, *drawn;
  vf *x, *y, *w, *acc, *work;
  Growth *growth, *end;
  ToTrain(float *start, long steps, long slot_row, long T, long B, bool masked) {
    const long kept = PACK == 1 ? steps : 1;
    Numbers *next = (Numbers *)start;
    auto take = [&](Numbers *&at, long n) { at = next; next += padded(n); };
    take(g, TRAINED);
    take(gu, DERIVED_GRADIENTS);
    take(u, DERIVED);
    take(sums, SUMS);
    take(p, PACK == 1 ? 0 : ROW);
    take(slots, PACK == 1 ? 0 : slot_row);
    take(drawn, PACK == 1 ? 0 : T * B * (INPUTS > OUTPUTS ? INPUTS : OUTPUTS));
    x = (vf *)next;
    y = x + kept * vectors_of(B) * T * INPUTS;
    w = y + kept * vectors_of(B) * T * TARGETS;
    acc = w + (masked ? kept * vectors_of(B) * T : 0);
    work = acc + padded(SUMS);
    growth = (Growth *)(work + Sequence<vf>(nullptr, T).floats() / LANES * (B > EXAMPLES ? 2 : 1));
    end = growth + steps;
  }
};
// Numbers below 2^-126 count as 0 as long as this lives: the machine takes a hundred times as long for them, and moments of
// units that have no gradient any more would stay among them.
struct NothingTiny {
#if defined(__SSE__)
  unsigned before = __builtin_ia32_stmxcsr();
  NothingTiny() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~NothingTiny() { __builtin_ia32_ldmxcsr(before); }
#endif
};

// (time, batch, WIDTH) -> (time, WIDTH) of vectors, from the example `first` on. Lanes beyond the batch repeat its last
// example, with weight 0: zeros could make a cell divide by 0 where data never do. Weights themselves do not REPEAT: they are
// 0 there. N: the numbers of an example.
template <long WIDTH, bool REPEAT = true, class V, class N> static void pack(const N *from, V *to, long T, long B, long first) {
  constexpr long examples = width<V> / replicas<N>;
  const long whole = B - first < examples ? B - first : examples;
  N *target = (N *)to;
  for (long t = 0; t < T; t++, target += WIDTH * examples) {
    const N *source = from + (t * B + first) * WIDTH;
    if (whole == examples) {
      for (long e = 0; e < examples; e++)
        for (long i = 0; i < WIDTH; i++) target[i * examples + e] = source[e * WIDTH + i];
    } else {
      for (long e = 0; e < examples; e++)
        for (long i = 0; i < WIDTH; i++)
          target[i * examples + e] = e < whole || REPEAT ? source[(e < whole ? e : whole - 1) * WIDTH + i] : N{};
    }
  }
}
template <long WIDTH, bool REPEAT = true, class N> static void pack_batch(const N *from, vf *to, long T, long B) {
  long first = 0;
  if constexpr (replicas<N> == 1)
    for (; B - first > LANES; first += 2 * LANES, to += 2 * T * WIDTH)
      pack<WIDTH, REPEAT>(from, (Wide *)to, T, B, first);
  for (; first < B; first += EXAMPLES, to += T * WIDTH) pack<WIDTH, REPEAT>(from, to, T, B, first);
}

// The weight of each lane's example in the loss: 0 in lanes beyond the batch.
template <class V> static V weights(long first, long B, float each) {
  float lanes[width<V>];
  for (long l = 0; l < width<V>; l++) lanes[l] = first + l / PACK < B ? each : 0.f;
  V w;
  memcpy(&w, lanes, sizeof lanes);
  return w;
}

// Copy the initial state to all examples.
template <class V, class N> static void begin_sequence(const N *u, V *h) {
  for (long i = 0; i < STATES; i++) h[i] = S(u[FIRST + i]);
}

// Compute the loss of a vector of examples, and add their part of the gradient to m.g, m.gu and m.acc. With a mask, W has the
// weight of each step of each example; else it is null, and all have the same.
template <class V, class M>
static Numbers sequence(const Numbers *p, const vf *X, const vf *Y, const vf *W, long T, long B, long first, ToTrain &m) {
  Sequence<V> q(m.work, T);
  const V *x = (const V *)X, *y = (const V *)Y, w = weights<V>(first, B, 1.f / (float)(T * B * TARGETS));
  begin_sequence(m.u, q.h);
  // forward through time, keeping states and residuals; then the loss and its gradient by the logits
  for (long t = 0; t < T; t++)
    forward<V, M>(p, m.u, x + t * INPUTS, q.h + t * STATES, q.h + (t + 1) * STATES, q.r + t * RESIDUALS, q.z + t * OUTPUTS,
                  q.tmp);
  const V loss = weigh_sequence<V>(q.z, y, w, (const V *)W, q.dz, T);
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
  for (long i = 0; i < STATES; i++) m.gu[FIRST_GRADIENT + i] += example_sum<Numbers>(narrowed(after[i]));
  products<V, M>(m.g, m.gu, q.acc, x, q.h, q.r, q.b, q.dz, T);
  for (long i = 0; i < SUMS; i++) m.acc[i] += narrowed(q.acc[i]);
  return example_sum<Numbers>(narrowed(loss));
}

// The same for two vectors side by side: a translation unit of its own, since it takes the compiler as long as all the rest.
__attribute__((visibility("hidden"))) Numbers wide_sequence(const Numbers *p, const vf *x, const vf *y, const vf *w,
                                                            long T, long B, long first, ToTrain &m);

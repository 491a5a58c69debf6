// Training on two vectors of examples side by side, for batches of more than one vector.
#pragma once
#include "sequence.h"

Numbers wide_sequence(const Numbers *p, const vf *x, const vf *y, const vf *w, long T, long B, long first, ToTrain &m) {
  return sequence<Wide, WideMask>(p, x, y, w, T, B, first, m);
}

// Matrices of numbers: what runs once per training step, for one replica after the other.
#pragma once
#include "numbers.h"

// out = the inverse of a, N x N, by Gauss-Jordan elimination with the largest pivot of each column, in double precision. A
// matrix that has none gives what is not finite, and the replica ends.
template <int N, class M> static void inverse(M *out, const M *a) {
  for (int replica = 0; replica < replicas<M>; replica++) {
    auto at = [&](const M *from, int i) { return ((const float *)(from + i))[replica]; };
    double w[N][2 * N];
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) w[i][j] = at(a, i * N + j), w[i][N + j] = i == j;
    for (int column = 0; column < N; column++) {
      int pivot = column;
      for (int i = column + 1; i < N; i++)
        if (__builtin_fabs(w[i][column]) > __builtin_fabs(w[pivot][column])) pivot = i;
      for (int j = 0; j < 2 * N; j++) {
        double other = w[pivot][j];
        w[pivot][j] = w[column][j], w[column][j] = other;
      }
      const double scale = 1 / w[column][column];
      for (int j = 0; j < 2 * N; j++) w[column][j] *= scale;
      for (int i = 0; i < N; i++) {
        const double factor = w[i][column];
        if (i != column)
          for (int j = 0; j < 2 * N; j++) w[i][j] -= factor * w[column][j];
      }
    }
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) ((float *)(out + i * N + j))[replica] = (float)w[i][N + j];
  }
}

"""A recurrent network of torch, trained with Adam; its cell and its learning rate are parameters."""

import torch
from benchmark_utils.recurrent import BATCH, EVERY, MAX_STEPS, Model, additions
from benchopt import BaseSolver
from torch import nn


class Solver(BaseSolver):
    name = "recurrent"
    parameters = {"cell": ["LSTM", "GRU"], "rate": [0.01, 0.03]}  # noqa: RUF012

    @staticmethod
    def get_next(stop_val):
        return stop_val + EVERY

    def set_objective(self, seed):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.model = Model(getattr(nn, self.cell))
        self.generator = torch.Generator().manual_seed(seed)

    def run(self, callback):
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.rate)
        steps = 0
        while callback() and steps < MAX_STEPS:
            x, y = additions(self.generator, BATCH)
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(self.model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            steps += 1

    def get_result(self):
        return {"model": self.model}

"""How well a trained network adds: the share of sequences with a wrong bit, on fresh examples."""

import torch
from benchmark_utils.recurrent import EXAMPLES, additions
from benchopt import BaseObjective
from benchopt.stopping_criterion import StoppingCriterion


class Solved(StoppingCriterion):
    def check_convergence(self, curve):
        return len(curve) > 1 and all(point["objective_value"] <= 0.01 for point in curve[-2:]), 0


class Objective(BaseObjective):
    name = "Addition of 8 bits"
    sampling_strategy = "callback"
    stopping_criterion = Solved()

    def set_data(self, seed):
        self.seed = self.get_seed(use_repetition=True)
        self.generator = torch.Generator().manual_seed(self.seed + 1)

    def get_objective(self):
        return {"seed": self.seed}

    def evaluate_result(self, model):
        with torch.no_grad():
            x, y = additions(self.generator, EXAMPLES)
            return {"value": 1 - ((model(x) > 0) == y.bool()).all(0).float().mean().item()}

    def get_one_result(self):
        return {"model": lambda x: torch.zeros(x.shape[:2])}

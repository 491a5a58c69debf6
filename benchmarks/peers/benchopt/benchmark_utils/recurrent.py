"""What the objective and the solver share: the task and the model."""

import torch
from torch import nn

BITS, BATCH, HIDDEN, MAX_STEPS, EVERY, EXAMPLES = 8, 16, 20, 1000, 5, 256


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent, self.readout = kind(2, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0]).squeeze(-1)


def additions(generator, count):
    bits = torch.randint(0, 2, (BITS, count, 2), generator=generator)
    bits[-1] = 0  # room for the last carry
    carry, sums = torch.zeros(count, dtype=torch.long), []
    for pair in bits:
        total = pair.sum(-1) + carry
        sums.append(total % 2)
        carry = total // 2
    return bits.float(), torch.stack(sums).float()

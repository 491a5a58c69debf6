"""Does a GRU learn to add 8-bit numbers in fewer steps than an LSTM? A loop in torch, as one writes it."""

import statistics

import torch
from torch import nn

BITS, BATCH, HIDDEN, SEEDS, RATES = 8, 16, 20, range(5), (0.01, 0.03)
MAX_STEPS, EVERY, EXAMPLES = 1000, 5, 256


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent, self.readout = kind(2, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0]).squeeze(-1)


def additions(count):
    bits = torch.randint(0, 2, (BITS, count, 2))
    bits[-1] = 0  # room for the last carry
    carry, sums = torch.zeros(count, dtype=torch.long), []
    for pair in bits:
        total = pair.sum(-1) + carry
        sums.append(total % 2)
        carry = total // 2
    return bits.float(), torch.stack(sums).float()


def train(kind, seed, rate, every=EVERY, max_steps=MAX_STEPS):
    torch.manual_seed(seed)
    model = Model(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    held = 0
    for step in range(1, max_steps + 1):
        x, y = additions(BATCH)
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % every == 0:
            with torch.no_grad():
                x, y = additions(EXAMPLES)
                exact = ((model(x) > 0) == y.bool()).all(0).float().mean()
            held = held + 1 if exact >= 0.99 else 0
            if held == 2:
                return step - every, loss.item()
    return None, loss.item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in nn.LSTM, nn.GRU:
        for rate in RATES:
            steps = [train(kind, seed, rate)[0] for seed in SEEDS]
            solved = [s for s in steps if s is not None]
            median = statistics.median(solved) if solved else None
            print(f"{kind.__name__} at rate {rate}: solved {len(solved)} of {len(steps)}, median step {median}")

"""What people look for in an experiment file and cellbench does not have: why, and what there is instead."""

from __future__ import annotations

from cellbench.records import TORCH

_ACCUMULATION = "every update is of one batch: set a larger batch_size in the grid"
_AMP = "every engine computes in float32"
_EPOCHS = "batches are drawn anew at every step, so there are no epochs: set train.max_steps"
_LBFGS = "it computes the loss several times per step (its step needs a closure)"
_PATIENCE = "all replicas have the same budget; train.stop_when_solved ends those that have solved the task"
_SCHEDULE = "train.schedule is constant, linear or cosine, after train.warmup_steps"
_TORCHS = "torch's own classes have it: optimizer: torch.optim.{}, optimizer_options: {{{}: true}}"
_LOSS = "the loss follows from the kind of the task's answers: cross-entropy of bits or classes, squared error"
_AVERAGING = "the weights that are evaluated are those of the last step"
_DROPOUT = "it is a part of the cell: write it into the cell's step, and draw from torch's global generator there"
_REGULARISER = "the loss has no further terms; train.weight_decay adds the L2 penalty to the gradients"
_PROFILE = "an experiment has one task; a file with several is a profile: cellbench profile FILE"
_GROUPS = "all parameters have the same learning rate and weight decay"

NOT_OFFERED = {
    "dropout": _DROPOUT,
    "epochs": _EPOCHS, "num_epochs": _EPOCHS, "max_epochs": _EPOCHS, "n_epochs": _EPOCHS,
    "gradient_accumulation": _ACCUMULATION, "gradient_accumulation_steps": _ACCUMULATION,
    "accumulate_grad_batches": _ACCUMULATION, "accumulation_steps": _ACCUMULATION,
    "early_stopping": _PATIENCE, "early_stopping_patience": _PATIENCE, "patience": _PATIENCE,
    "amp": _AMP, "precision": _AMP, "mixed_precision": _AMP, "fp16": _AMP, "bf16": _AMP, "dtype": _AMP,
    "lbfgs": _LBFGS,
    "lr_scheduler": _SCHEDULE, "scheduler": _SCHEDULE, "lr_schedule": _SCHEDULE, "lr_scheduler_type": _SCHEDULE,
    "step_size": _SCHEDULE, "gamma": _SCHEDULE, "lr_decay": _SCHEDULE,
    "nesterov": _TORCHS.format("SGD", "nesterov"), "amsgrad": _TORCHS.format("Adam", "amsgrad"),
    "centered": _TORCHS.format("RMSprop", "centered"),
    "loss": _LOSS, "criterion": _LOSS, "loss_function": _LOSS,
    "ema": _AVERAGING, "ema_decay": _AVERAGING, "swa": _AVERAGING,
    "l1": _REGULARISER, "l2": _REGULARISER,
    "param_groups": _GROUPS, "parameter_groups": _GROUPS,
    "tasks": _PROFILE,
}  # fmt: skip
"""By the name of a key, or of an optimizer, in small letters: why there is none, and what there is instead."""

_RATES = "The learning rates are the experiment's key learning_rate, outside of its sections."
_SIZES = "It is a key of grid."
ELSEWHERE = {
    "lr": _RATES, "rate": _RATES, "learning_rate": _RATES, "learning_rates": _RATES,
    "batch_size": _SIZES, "hidden_size": _SIZES, "parameter_budget": _SIZES,
}  # fmt: skip
"""Keys that people write in the wrong section: where they are."""

_CLASSES = ("Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "Muon", "NAdam", "RAdam", "Rprop", "SparseAdam")
BY_PATH = {name.lower(): f"Give its path: {TORCH}{name}." for name in _CLASSES}
"""Optimizers that torch alone has, in small letters: how they are named."""


def not_offered(name: str) -> str:
    """Say why there is no such key or optimizer, and what there is instead; empty if nothing is known of it.

    >>> not_offered("FP16")
    'not offered: every engine computes in float32; see docs/experiment.md'
    """
    why = NOT_OFFERED.get(name.lower().replace("-", "_").removeprefix(TORCH))
    return f"not offered: {why}; see docs/experiment.md" if why else ""

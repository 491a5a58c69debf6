"""The laws that every cell must keep. Each check says in its message what it tried, or how the law is broken.

Laws are asked of the cell in `eval()` mode, in which it is evaluated: what `train()` mode changes is a trait, which the
note `training-mode` names. `contract` holds the laws on what a cell is and gives, `memory` those on what its outputs
depend on, `gradients` those on what is trained.
"""

from __future__ import annotations

from cellbench.conformance import contract, gradients, memory
from cellbench.conformance.subject import Check

LAWS: tuple[Check, ...] = (
    contract.is_made,
    contract.shapes,
    contract.state_keeps_its_shape,
    memory.remembers_only_in_the_state,
    memory.changes_nothing_in_place,
    memory.examples_are_independent,
    memory.depends_on_the_input,
    memory.depends_on_the_state,
    memory.batch_size_does_not_matter,
    gradients.gradients_reach_every_parameter,
    gradients.gradients_agree_with_differences,
    contract.finite_after_1000_steps,
    contract.weights_follow_the_stream,
    contract.initial_state_can_be_learnt,
)
"""In the order of the report; `is-made` first, for without a cell there is nothing to check."""

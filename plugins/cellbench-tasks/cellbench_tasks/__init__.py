"""Sequence tasks of the literature for cellbench."""

from __future__ import annotations

from cellbench import hookimpl
from cellbench.hookspecs import RegisterTask

_HIERARCHY = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, ICLR, arXiv:2207.02098"


@hookimpl
def register_tasks(register: RegisterTask) -> None:
    """Twelve tasks; what each keeps of its paper's form is in README.md."""
    register(
        name="parity_check",
        factory="cellbench_tasks.parity_check:ParityCheck",
        description="is the number of ones so far odd? Asked after each bit",
        reference=f"{_HIERARCHY}, regular task Parity Check",
    )
    register(
        name="cycle_navigation",
        factory="cellbench_tasks.cycle_navigation:CycleNavigation",
        description="stay, step right or step left on a cycle of five: where are you? Asked after each move",
        reference=f"{_HIERARCHY}, regular task Cycle Navigation",
    )
    register(
        name="modular_arithmetic",
        factory="cellbench_tasks.modular_arithmetic:ModularArithmetic",
        description="the value modulo 5 of an expression with +, - and *, products first; asked after each number",
        reference=f"{_HIERARCHY}, regular task Modular Arithmetic (Simple)",
    )
    register(
        name="reverse_string",
        factory="cellbench_tasks.strings:ReverseString",
        description="read bits, then write them in reverse: needs a stack",
        reference=f"{_HIERARCHY}, deterministic context-free task Reverse String",
    )
    register(
        name="odds_first",
        factory="cellbench_tasks.strings:OddsFirst",
        description="read bits, then write those at odd places, then those at even places",
        reference=f"{_HIERARCHY}, context-sensitive task Odds First",
    )
    register(
        name="binary_addition_sequential",
        factory="cellbench_tasks.binary_addition_sequential:BinaryAdditionSequential",
        description='read "a+b=", one number after the other, least significant bit first, then write the sum',
        reference=f"{_HIERARCHY}, context-sensitive task Binary Addition",
    )
    register(
        name="binary_addition_signed",
        factory="cellbench_tasks.binary_addition_signed:BinaryAdditionSigned",
        description="the built-in binary addition with inputs -1 and +1 in place of 0 and 1",
        reference="LeCun et al. 1998, Efficient BackProp, section 4.3: inputs whose mean is zero",
    )
    register(
        name="copying_memory",
        factory="cellbench_tasks.copying_memory:CopyingMemory",
        description="remember symbols through a delay, then write them in order",
        reference="Hochreiter & Schmidhuber 1997, Long Short-Term Memory; this form: Arjovsky, Shah & Bengio 2016, "
        "ICML, arXiv:1511.06464, section 4.1",
    )
    register(
        name="adding_problem",
        factory="cellbench_tasks.adding_problem:AddingProblem",
        description="add the two marked numbers of a sequence; a regression",
        reference="Hochreiter & Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), experiment 4",
    )
    register(
        name="dyck2",
        factory="cellbench_tasks.dyck2:Dyck2",
        description="two kinds of brackets, nested without limit: which may close next? Asked after each",
        reference="Suzgun et al. 2019, arXiv:1911.03329; Hewitt et al. 2020, EMNLP, arXiv:2010.07515",
    )
    register(
        name="associative_recall",
        factory="cellbench_tasks.associative_recall:AssociativeRecall",
        description="keys with values, then every key again at a random place: what was its value?",
        reference="Arora et al. 2023, Zoology, arXiv:2312.04927: multi-query associative recall",
    )
    register(
        name="flip_flop",
        factory="cellbench_tasks.flip_flop:FlipFlop",
        description="write, ignore and read a bit: what was last written? Asked at each read",
        reference="Liu et al. 2023, Exposing Attention Glitches with Flip-Flop Language Modeling, NeurIPS, "
        "arXiv:2306.00946",
    )

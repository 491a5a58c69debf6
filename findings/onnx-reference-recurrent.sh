#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator ignores sequence_lens, clip, input_forget and activations of recurrent nodes.
#
# onnx.reference.ReferenceEvaluator runs valid RNN, GRU and LSTM nodes without a word and gives other outputs than ONNX
# Runtime, of order 1, wherever one of these is set: sequences shorter than the longest run on, no clipping, no coupling
# of the gates; GRU and LSTM use logistic functions and tanh whatever "activations" says (RNN refuses the unknown).
# Plain, reverse and bidirectional nodes, initial states, peepholes and linear_before_reset agree. The other way round,
# ONNX Runtime refuses layout=1, which the evaluator runs.
#
# Why: the evaluator's recurrent operators take these as arguments and never read them. Its documentation presents it as
# the way to run a model by the definitions of ONNX themselves.
#
# Seen on 2026-11-27 with onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6, Python 3.11, Linux x86-64: the text in
# "expected" below.
set -euo pipefail

skip() { echo "not run: $*" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
install() {
    venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@" ||
        skip "pip cannot install $* here"
}
install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

expected=$(
    cat <<'END'
RNN, plain: agree
RNN, bidirectional: agree
RNN, initial_h: agree
RNN, sequence_lens: differ
RNN, clip: differ
RNN, activations ['Relu']: the evaluator refuses: Unknown activation function 'Relu'.
RNN, layout=1: ONNX Runtime refuses
GRU, plain: agree
GRU, bidirectional: agree
GRU, initial_h: agree
GRU, sequence_lens: differ
GRU, clip: differ
GRU, activations ['HardSigmoid', 'Tanh']: differ
GRU, layout=1: ONNX Runtime refuses
GRU, linear_before_reset: agree
LSTM, plain: agree
LSTM, bidirectional: agree
LSTM, initial_h: agree
LSTM, sequence_lens: differ
LSTM, clip: differ
LSTM, activations ['HardSigmoid', 'Tanh', 'Tanh']: differ
LSTM, layout=1: ONNX Runtime refuses
LSTM, peepholes: agree
LSTM, input_forget: differ
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TIME, BATCH, INPUTS, HIDDEN = 4, 2, 2, 3


def compare(kind, extra=(), directions=1, **attributes):
    draw, gates = np.random.default_rng(0), GATES[kind]
    shapes = {
        "X": (TIME, BATCH, INPUTS),
        "W": (directions, gates * HIDDEN, INPUTS),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "sequence_lens": (BATCH,),
        "initial_h": (directions, BATCH, HIDDEN),
        "initial_c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    order = list(shapes) if kind == "LSTM" else list(shapes)[:6]
    names = [n if n in {"X", "W", "R", "B", *extra} else "" for n in order]
    feed = {n: draw.normal(size=shapes[n]).astype(np.float32) for n in names if n}
    if "sequence_lens" in feed:
        feed["sequence_lens"] = np.array([4, 2], dtype=np.int32)
    node = helper.make_node(kind, names, ["Y", "Y_h"], hidden_size=HIDDEN, **attributes)
    types = {n: helper.np_dtype_to_tensor_dtype(v.dtype) for n, v in feed.items()}
    inputs = [helper.make_tensor_value_info(n, types[n], v.shape) for n, v in feed.items()]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * d) for n, d in (("Y", 4), ("Y_h", 3))]
    graph = helper.make_graph([node], "step", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    try:
        reference = ReferenceEvaluator(model).run(None, feed)
    except RuntimeError as error:
        return f"the evaluator refuses: {error}"
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return "ONNX Runtime refuses"
    close = all(np.allclose(a, b, atol=1e-5) for a, b in zip(reference, session.run(None, feed), strict=True))
    return "agree" if close else "differ"


for kind in GATES:
    others = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Tanh"], "LSTM": ["HardSigmoid", "Tanh", "Tanh"]}[kind]
    rows = {
        "plain": compare(kind),
        "bidirectional": compare(kind, directions=2, direction="bidirectional"),
        "initial_h": compare(kind, ["initial_h"]),
        "sequence_lens": compare(kind, ["sequence_lens"]),
        "clip": compare(kind, clip=0.1),
        f"activations {others}": compare(kind, activations=others),
        "layout=1": compare(kind, layout=1),
    }
    if kind == "GRU":
        rows["linear_before_reset"] = compare(kind, linear_before_reset=1)
    if kind == "LSTM":
        rows["peepholes"] = compare(kind, ["P"])
        rows["input_forget"] = compare(kind, input_forget=1)
    for name, said in rows.items():
        print(f"{kind}, {name}: {said}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }

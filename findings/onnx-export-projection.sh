#!/usr/bin/env bash
# torch 2.13.0: the ONNX exporter writes a file for an LSTM with projections that no runtime can run.
#
# nn.LSTM(proj_size=...) has no counterpart in ONNX. torch.onnx.export(dynamo=False) says so and stops. The exporter
# that is the default (dynamo=True) reports success and writes a plain LSTM node whose recurrent weights have the
# projection's width. onnx.checker accepts the file unless full_check is asked for, and ONNX Runtime loads it without an
# error and fails when it runs.
#
# Why: the translation of aten::lstm hands all weights on and looks neither at their number nor at their sizes.
#
# Seen on 2026-11-27 with torch 2.13.0 (CPU), onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, Python 3.11, Linux
# x86-64: the text in "expected" below.
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
install torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0

expected=$(
    cat <<'END'
proj_size=0, dynamo=False: exported; the checker accepts and with full_check accepts
proj_size=0, dynamo=False: the outputs agree: True
proj_size=0, dynamo=True: exported; the checker accepts and with full_check accepts
proj_size=0, dynamo=True: the outputs agree: True
proj_size=2, dynamo=False: not exported; the error names projections: True
proj_size=2, dynamo=True: exported; the checker accepts and with full_check refuses (InferenceError)
proj_size=2, dynamo=True: Fail when run
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import os

import onnx
import onnxruntime
import torch
from torch import nn

# the exporters print, from C++ too: what they print goes nowhere, the lines below to the script
results = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def accepts(full):
    try:
        onnx.checker.check_model("lstm.onnx", full_check=full)
    except Exception as error:
        return f"refuses ({type(error).__name__})"
    return "accepts"


def tell(*words):
    print(*words, file=results)


onnxruntime.set_default_logger_severity(4)
torch.manual_seed(0)
x = torch.randn(5, 2, 3)
for projection in 0, 2:
    model = nn.LSTM(3, 4, proj_size=projection).eval()
    for dynamo in False, True:
        said = f"proj_size={projection}, dynamo={dynamo}:"
        try:
            torch.onnx.export(model, (x,), "lstm.onnx", dynamo=dynamo)
        except Exception as error:
            tell(said, "not exported;", "the error names projections:", "projections" in str(error))
            continue
        tell(said, "exported; the checker", accepts(False), "and with full_check", accepts(True))
        session = onnxruntime.InferenceSession("lstm.onnx", providers=["CPUExecutionProvider"])
        try:
            y = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
            tell(said, "the outputs agree:", torch.allclose(torch.from_numpy(y), model(x)[0], atol=1e-5))
        except Exception as error:
            tell(said, type(error).__name__, "when run")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }

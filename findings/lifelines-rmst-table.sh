#!/usr/bin/env bash
# lifelines 0.30.3: the restricted mean of a survival table ends at the table's last row, not at the horizon.
#
# restricted_mean_survival_time(model, t) of a fitted Kaplan-Meier model is the area under its steps up to t. Given
# model.survival_function_ it warns that the result is approximate, and is: it is the area under straight lines between
# the rows up to the last row at or before t. Between two event times the horizon therefore has no effect: at t = 4.999
# the result is that of t = 4, and before the first event it is 0.
#
# Why: the table is cut at t and given to the trapezoidal rule; no row is added at t. For the model a row is added.
#
# Seen on 2026-11-27 with lifelines 0.30.3, pandas 2.3.3, Python 3.11, Linux x86-64: the text in "expected" below.
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
install lifelines==0.30.3 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1

expected=$(
    cat <<'END'
t = 0.5: 0.500 of the model, 0.000 of its table
t = 3: 2.700 of the model, 2.543 of its table
t = 4: 3.386 of the model, 3.171 of its table
t = 4.5: 3.671 of the model, 3.171 of its table
t = 4.999: 3.957 of the model, 3.171 of its table
t = 5: 3.957 of the model, 3.686 of its table
t = 8: 4.871 of the model, 4.448 of its table
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time as mean

times = np.array([1, 2, 2, 3, 4, 5, 5, 6, 7, 8])
events = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1, 0])
model = KaplanMeierFitter().fit(times, events)
for t in 0.5, 3, 4, 4.5, 4.999, 5, 8:
    print(f"t = {t}: {mean(model, t=t):.3f} of the model, {mean(model.survival_function_, t=t):.3f} of its table")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }

"""pydantic's errors in our words: what was wrong, where, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cellbench.errors import Fault
from cellbench.experiment.document import Document, Path_, key
from cellbench.experiment.offered import BY_PATH, ELSEWHERE, not_offered
from cellbench.experiment.sections import (
    CellKeys,
    EvaluateKeys,
    FinalKeys,
    Keys,
    ReadoutKeys,
    ReportKeys,
    SolvedKeys,
    StagesKeys,
    TrainKeys,
)
from cellbench.wording import did_you_mean, short

_MODELS: Mapping[str, type[BaseModel]] = {
    "train": TrainKeys,
    "evaluate": EvaluateKeys,
    "solved": SolvedKeys,
    "final": FinalKeys,
    "report": ReportKeys,
    "readout": ReadoutKeys,
    "seeds": StagesKeys,
}


def _known_keys(path: Path_) -> Mapping[str, FieldInfo]:
    """Return the keys that are allowed beside the last one of a path."""
    if len(path) == 1:
        return Keys.model_fields
    if path[0] == "cells":
        return ReadoutKeys.model_fields if "readout" in path[:-1] else CellKeys.model_fields
    if path[0] not in _MODELS:
        return {}
    return {field.alias or name: field for name, field in _MODELS[str(path[0])].model_fields.items()}


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def read_as_text(found: object) -> str:
    """Say how to write a number that YAML 1.1, which all parsers in use read, takes for a text; empty if it is none.

    >>> read_as_text("1e-4"), read_as_text("much")
    ('YAML reads it as text: write 1.0e-4', '')
    """
    match = re.fullmatch(r"([-+]?\d{1,20})(\.\d{0,20})?[eE]([-+]?)(\d{1,5})", found) if isinstance(found, str) else None
    if match is None:
        return ""
    return f"YAML reads it as text: write {match[1]}{match[2] or '.0'}e{match[3] or '+'}{match[4]}"


def fault(document: Document, details: ErrorDetails) -> Fault:
    """Turn one of pydantic's errors into a fault, with the place of its key."""
    # pydantic puts the names of validators into the path
    path: Path_ = tuple(p for p in details["loc"] if not (isinstance(p, str) and p.startswith(("function-", "is-"))))
    kind, found, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(path[-1])
        hint = ELSEWHERE.get(name) or did_you_mean(name, list(_known_keys(path)))
        message = not_offered(name) or f"no such key. {hint}"
    elif kind == "missing":
        message = "is missing; it must be given"
    elif kind in _EXPECTED:
        how = read_as_text(found) if kind == "float_type" else ""
        message = f"is {short(found)}, expected {_EXPECTED[kind]}{how and f'; {how}'}"
    elif kind == "literal_error":
        options = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        hint = BY_PATH.get(str(found).lower()) or did_you_mean(str(found), options)
        refused = not_offered(str(found))
        message = f"is {short(found)}, {refused}" if refused else f"is {short(found)}. {hint}"
    elif kind == "string_pattern_mismatch":
        message = (
            f"is {short(found)}; a name is made of letters, digits, '.', '_', '+' and '-', at most 100, "
            "and starts with a letter or digit (it names the results folder)"
        )
    elif kind in ("too_short", "string_too_short"):
        message = "is empty, expected at least one"
    elif kind == "value_error":
        message = f"is {short(found)}: {context.get('error')}"
    else:
        message = f"is {short(found)}: {details['msg'].replace('Input should be', 'must be')}"
    return Fault(document.place(path), key(path), message)

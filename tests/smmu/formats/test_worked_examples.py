"""Worked examples: fields and the words that they make, computed by an independent script."""

import json
from pathlib import Path

import pytest

from smmu.formats import commands, context_descriptor, descriptors, events, page_request
from smmu.formats import registers, stream_table
from smmu.formats.core import bits, pack, unpack

EXAMPLES = json.loads(Path(__file__).with_name("worked_examples.json").read_text())
MODULES = (stream_table, context_descriptor, commands, events, descriptors, page_request, registers)


def struct_of(example):
    """Return the layout that an example names."""
    return next(getattr(module, example["struct"]) for module in MODULES
                if hasattr(module, example["struct"]))


def value_of(example):
    """Return the example's words as one integer."""
    return sum(int(word, 16) << 64 * n for n, word in enumerate(example["words"]))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"].split()[0])
def test_pack(example):
    assert pack(struct_of(example), example["fields"]) == value_of(example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"].split()[0])
def test_unpack(example):
    read = unpack(struct_of(example), value_of(example))
    assert {name: value for name, value in read.items() if value} == {
        name: value for name, value in example["fields"].items() if value}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"].split()[0])
def test_size(example):
    assert len(example["words"]) == max(1, bits(struct_of(example)) // 64)


def test_all_kinds_are_there():
    kinds = {example["title"].split("-")[0].rstrip("0123456789 ") for example in EXAMPLES}
    assert len(EXAMPLES) == 63
    assert {"STE", "CD", "CMD", "EV", "PTE", "PRI", "L1STD", "L1CD"} <= kinds

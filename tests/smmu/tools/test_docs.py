"""The generated documents are fresh, and a C compiler agrees with the header."""

import shutil
import subprocess
from pathlib import Path

import pytest

import smmu
from smmu.formats import registers
from smmu.formats.commands import Opcode
from smmu.formats.core import fields
from smmu.formats.stream_table import STE
from smmu.tools.docs import DOCUMENTS, registers_md

FOLDER = Path(smmu.__file__).parent


@pytest.mark.parametrize("name", DOCUMENTS)
def test_committed_text_is_fresh(name):
    assert (FOLDER / name).read_text() == DOCUMENTS[name](), f"{name} is old: run `make docs`"


def test_every_register_is_in_the_document():
    text = registers_md()
    for register in registers.REGISTERS + registers.OPTIONAL:
        assert f"| {register.name} |" in text
        assert f"`{register.offset:#07x}" in text
    for number, name in enumerate(registers.COUNTERS):
        assert f"| {number} | `{registers.BY_NAME['COUNTER'].at(number):#07x}` | {name} |" in text


def test_tables_are_whole():
    lines = registers_md().splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|"), line


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++", "-std=c++11"]],
                         ids=["c", "c++"])
def test_a_compiler_agrees(tmp_path, language):
    compiler = shutil.which("g++")
    assert compiler, "g++ is needed, as for the simulator"
    checks = [(f"SMMU_{name}", register.offset) for name, register in registers.BY_NAME.items()]
    checks += [(f"SMMU_OP_{opcode.name}", opcode.value) for opcode in Opcode]
    checks += [("SMMU_STE_BYTES", 64), ("SMMU_COUNTER_FAULTS", 12), ("SMMU_EVT_F_PERMISSION", 0x13)]
    for name, field in fields(STE).items():
        checks += [(f"SMMU_STE_{name}_WORD", field.lsb // 64),
                   (f"SMMU_STE_{name}_SHIFT", field.lsb % 64),
                   (f"SMMU_STE_{name}_MASK", (1 << field.width) - 1 << field.lsb % 64)]
    source = '#include "smmu_regs.h"\n' + "".join(
        f"typedef char check_{n}[({macro}) == UINT64_C({value:#x}) ? 1 : -1];\n"
        for n, (macro, value) in enumerate(checks))
    (tmp_path / "check.c").write_text(source)
    done = subprocess.run([compiler, *language, "-fsyntax-only", "-Wall", "-Werror", "-I", FOLDER,
                           tmp_path / "check.c"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

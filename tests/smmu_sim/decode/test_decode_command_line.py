"""`smmu decode`: what it prints, what it refuses, and that it never ends in a traceback."""

import json
import random
from pathlib import Path

import pytest

from smmu.formats.core import fields, from_bytes, unpack
from smmu.formats.stream_table import STE

from smmu_sim.cli import main

EXAMPLES = json.loads((Path(__file__).parents[2] / "smmu" / "formats"
                       / "worked_examples.json").read_text())
STE_4 = ["800000082000002b", "00001000180000d6", "0000000000000007"]


def run(capsys, *arguments):
    """Return (status, lines of standard output, standard error)."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return end.value.code, output.out.splitlines(), output.err


def field_lines(lines):
    """Return ``{field: value}`` of the fields that were printed."""
    split = [line.split() for line in lines if line.startswith("    ")]
    return {parts[0]: int(parts[2], 0) for parts in split}


def test_every_field_is_printed_with_its_bits_and_value(capsys):
    status, lines, error = run(capsys, "decode", "ste", *STE_4)
    raw = sum(int(word, 16) << 64 * n for n, word in enumerate(STE_4))
    assert status == 0 and not error
    assert field_lines(lines) == unpack(STE, raw)
    for name, (lsb, width) in fields(STE).items():
        place = f"{lsb + width - 1}:{lsb}" if width > 1 else f"{lsb}"
        assert any(line.split()[:2] == [name, place] for line in lines), name


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "STE" == each["struct"]
                                     or each["struct"].startswith("CMD_")],
                         ids=lambda each: each["title"].split()[0])
def test_the_worked_examples_of_the_layouts(capsys, example):
    what = "ste" if example["struct"] == "STE" else "command"
    status, lines, _ = run(capsys, "decode", what, *example["words"])
    assert status == 0
    printed = field_lines(lines)
    assert {name: printed[name] for name in example["fields"]} == example["fields"]


def test_names_of_values_and_addresses_in_bytes(capsys):
    _, lines, _ = run(capsys, "decode", "ste", *STE_4)
    text = "\n".join(lines)
    for expected in ("S1_TRANS", "LEVEL2_64K", "address 0x820000000", "65536 CDs", "SSID0",
                     "INCOMING"):
        assert expected in text


@pytest.mark.parametrize("values", [
    ["7", "5"], ["0x7", "0x5"], ["00000000_00000007", "5"],
    [f"{5 << 64 | 7:x}"], [f"0x{5 << 64 | 7:032X}"]])
def test_ways_to_write_two_words(capsys, values):
    status, lines, _ = run(capsys, "decode", "command", *values)
    assert status == 0
    assert "  word 0: 0x0000000000000007" in lines and "  word 1: 0x0000000000000005" in lines


def test_words_of_32_bits(capsys):
    _, lines, _ = run(capsys, "decode", "command", "--word", 32, "1", "2", "3", "4")
    assert "  word 0: 0x0000000200000001" in lines and "  word 1: 0x0000000400000003" in lines


def test_a_text_file_with_several_commands(capsys, tmp_path):
    file = tmp_path / "queue.txt"
    file.write_text("# the queue\n40000000: 0000123400000003 1\n40000010: 46,0\n")
    status, lines, _ = run(capsys, "decode", "command", f"@{file}")
    assert status == 0
    assert [line for line in lines if line.startswith("[")] == [
        "[0] command: CMD_CFGI_STE", "[1] command: CMD_SYNC"]
    assert field_lines(lines)["StreamID"] == 0x1234


def test_a_binary_file_is_little_endian(capsys, tmp_path):
    file = tmp_path / "ste.bin"
    octets = b"".join(int(word, 16).to_bytes(8, "little") for word in STE_4).ljust(64, b"\0")
    file.write_bytes(octets)
    status, lines, _ = run(capsys, "decode", "ste", f"@{file}")
    assert status == 0 and field_lines(lines) == unpack(STE, from_bytes(STE, octets))


def test_a_binary_file_that_looks_like_text(capsys, tmp_path):
    file = tmp_path / "digits"
    file.write_bytes(b"30000046")
    assert field_lines(run(capsys, "decode", "pte", f"@{file}")[1])["Valid"] == 0
    assert field_lines(run(capsys, "decode", "pte", "--format", "binary", f"@{file}")[1])[
        "Valid"] == 1  # the digit 3 is 0x33


def test_standard_input(capsys, monkeypatch, tmp_path):
    file = tmp_path / "words"
    file.write_text("46 0")
    with file.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run(capsys, "decode", "command", "@-")[1][0] == "command: CMD_SYNC"


def test_a_path_needs_no_at_sign(capsys, tmp_path, monkeypatch):
    (tmp_path / "dump").write_text("46 0")       # digits, but for the u
    (tmp_path / "bad").write_text("30 0")        # digits alone: a number
    monkeypatch.chdir(tmp_path)
    for name in ("dump", "./dump", tmp_path / "dump"):
        assert run(capsys, "decode", "command", name)[1][0] == "command: CMD_SYNC"
    assert run(capsys, "decode", "command", "bad")[1][0] == "command: reserved opcode 0xad"
    assert "TLBI_NSNH_ALL" in run(capsys, "decode", "command", "./bad")[1][0]


@pytest.mark.parametrize("arguments, expected", [
    (["ste"], ["no value", "8 words of 64 bits", "STE"]),
    (["ste", "9", "xyz"], ["'xyz'", "word 1 of the STE", "hexadecimal"]),
    (["cd", "1" * 17, "2"], ["'11111111111111111'", "word 0 of the CD", "64 bits"]),
    (["event", "1", "2", "3", "4", "5"], ["5 words", "at most 4"]),
    (["command", f"{1 << 128:x}"], ["128 bits", "129"]),
    (["pte", "1" * 17], ["64 bits"]),
    (["command", "@nowhere"], ["nowhere", "No such file"]),
    (["command", "@nowhere", "1"], ["@nowhere alone"]),
    (["command", "1", "a/nowhere"], ["a/nowhere alone"]),
    (["command", "a/nowhere"], ["a/nowhere", "No such file"]),
    (["ste", "9", "--set", "oas=45"], ["oas = 45", "32, 36"]),
    (["ste", "9", "--config", "huge"], ["'huge'", "default"]),
    (["pte", "3", "--level", "4"], ["4", "--level"]),
    (["pte", "3", "--granule", "8k"], ["'8k'", "16k"]),
    (["register", "CR0"], ["'CR0'", "NAME=VALUE"]),
    (["register"], ["NAME=VALUE"]),
    (["register", "CR9=1"], ["'CR9'", "no register", "REGISTERS.md"]),
    (["register", "CR0=zz"], ["'zz'", "CR0"]),
    (["register", "CR0=100000000"], ["'100000000'", "CR0", "32 bits"]),
    (["register", "84=1"], ["'84'", "inside STRTAB_BASE", "0x80"]),
    (["register", "ff0000=1"], ["'ff0000'", "no register"]),
    (["register", "REMAP_IPA[99]=1"], ["REMAP_IPA", "0 to 15"]),
    (["tlb", "1"], ["tlb"]),
])
def test_bad_input_is_one_clear_error(capsys, arguments, expected):
    status, lines, error = run(capsys, "decode", *arguments)
    assert status == 2 and not lines
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in expected:
        assert part in error


def test_a_file_of_half_a_structure_more(capsys, tmp_path):
    file = tmp_path / "words"
    file.write_text("1 2 3")
    status, _, error = run(capsys, "decode", "command", f"@{file}")
    assert status == 2 and "3 words" in error and "multiple of 2" in error


def test_random_text_never_ends_in_a_traceback(capsys, tmp_path):
    rng, file = random.Random(1), tmp_path / "words"
    for number in range(300):
        file.write_bytes(rng.randbytes(rng.randrange(1, 70)) if number % 2 else
                         "".join(rng.choices("0123456789abcdefxX _,:#\n", k=40)).encode())
        what = rng.choice(["ste", "cd", "command", "event", "pte"])
        status, _, error = run(capsys, "decode", what, f"@{file}")
        assert status == 0 and not error or status == 2 and error.startswith("error: ")


@pytest.mark.parametrize("arguments, expected", [
    (["ste", "0"], "C_BAD_STE: V is 0"),
    (["ste", "1"], "abort: Config is 0"),
    (["ste", "880000000000000b"], "C_BAD_STE: S1CDMax is 17"),
    (["cd", "0"], "C_BAD_CD: V is 0"),
    (["command", "ff"], "CERROR_ILL: opcode 0xff is reserved"),
    (["command", "40"], "CERROR_ILL: CMD_ATC_INV: IDR0.ATS is 0"),
    (["command", "12", "400"], "CERROR_ILL: NUM and SCALE are 0"),
    (["command", "3046"], "CERROR_ILL: CS is 3"),
    (["pte", "0"], "F_TRANSLATION: Valid is 0"),
    (["pte", "1"], "F_TRANSLATION: Type is 0"),
    (["pte", "3"], "F_ACCESS: AF is 0"),
    (["pte", "--output-bits", "32", "100000403"], "F_ADDR_SIZE: output address 0x100000000"),
    (["register", "CMDQ_CONS=1000003"], "CERROR_ILL: the command at RD"),
    (["register", "PRIQ_BASE=1"], "RES0 in this build (IDR0.PRI is 0)"),
    (["register", "STRTAB_BASE_CFG=10250"], "SPLIT is 9, which is reserved: acts as 6"),
])
def test_what_is_flagged(capsys, arguments, expected):
    status, lines, error = run(capsys, "decode", *arguments)
    assert status == 0 and not error
    assert expected in "\n".join(lines)


@pytest.mark.parametrize("name, place", [
    ("CR0=0", "CR0 at 0x20, RW"), ("smmu_cr0=0", "CR0 at 0x20"), ("20=0", "CR0 at 0x20"),
    ("0x100a8=0", "EVENTQ_PROD at 0x100a8"), ("41020=0", "REMAP_STREAMID[1] at 0x41020"),
    ("REMAP_IPA[2]=0", "REMAP_IPA[2] at 0x41048"), ("tlb_hit=5", "COUNTER[3] (tlb_hit)")])
def test_registers_by_name_and_by_offset(capsys, name, place):
    status, lines, _ = run(capsys, "decode", "register", name)
    assert status == 0 and place in lines[0]
    assert run(capsys, "decode", "register", *name.split("="))[1] == lines


@pytest.mark.parametrize("arguments, effect", [
    (["cd", "00005205c0000010", "40000000"], "C_BAD_CD"), (["command", "44"], "CERROR_ILL")])
def test_an_smmu_that_stalls(capsys, arguments, effect):
    """The CD has S = 1 and nothing else that is wrong; the command is CMD_RESUME."""
    refused, allowed = (run(capsys, "decode", *arguments, *more)[1] for more in ([], ["--stall"]))
    assert any(f"{effect}: " in line and "STALL_MODEL is 1" in line for line in refused)
    assert "  nothing illegal" in allowed


def test_brief_leaves_out_zeros(capsys):
    _, lines, _ = run(capsys, "decode", "ste", "--brief", *STE_4)
    printed = field_lines(lines)
    assert set(printed) == {"V", "Config", "S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR",
                            "S1COR", "S1CSH", "S1STALLD", "EATS", "SHCFG", "S2VMID"} - {
                                name for name, value in printed.items() if not value}


def test_help_names_every_kind(capsys):
    status, lines, _ = run(capsys, "decode", "--help")
    assert status == 0
    assert {"ste", "cd", "command", "event", "pte", "register"} <= {
        line.split()[0] for line in lines if line.startswith("  ")}

"""Files of replayable scenarios: conformance vectors and recorded traces."""

import gzip
import json
import operator
import re
import zlib
from dataclasses import dataclass, field

from smmu.formats.core import fields, plain
from smmu.formats.descriptors import SIZE_BITS
from smmu.formats.registers import IDR0, IDR1, IDR3, IDR5, id_values

__all__ = ["Scenario", "ScenarioFileError", "load_scenarios", "settings_for", "unmet_requirements"]

# What every scenario relies on, and what a recorded Linux does besides.
ALWAYS = ("S1P=1", "S2P=1", "OAS>43")
BY_CLASS = {
    "linux": ("ST_LEVEL=1", "ASID16=1", "VMID16=1", "RIL=1", "SIDSIZE=16", "CMDQS>7", "EVENTQS>6")
}

RELATIONS = {"=": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt,
             "<=": operator.le}

# Capabilities that every build and its test bench have
GIVEN = {"RESET", "bus_abort_outside_ram", "GBPA_NO_UPDATE_WRITE_IGNORED", "V3.2_WRITE_IGNORED"}

ID_FIELDS = {
    name: (register.__name__, getattr(plain(register), name))
    for register in (IDR0, IDR1, IDR3, IDR5)
    for name in fields(register)
}


class ScenarioFileError(ValueError):
    """A file that can't be played. The message names file and line, and what was expected."""


@dataclass
class Scenario:
    """One scenario of a file, checked."""

    file: str
    line: int
    name: str
    ram: tuple
    requires: list
    setup: dict
    steps: list
    drain: bool = True
    tags: list = field(default_factory=list)

    @property
    def expectations(self):
        """How many things the scenario expects; ``replay`` counts the same."""
        return sum(count_expectations(step) for step in self.steps)


def count_expectations(step):
    """Return how many things a step expects: a DMA's outcome and its event count apart."""
    return ("expect" in step) + ("event" in step)


def unmet_requirements(scenario, params):
    """Return the entries of ``requires`` that a build with ``params`` doesn't meet."""
    return [requirement for requirement in scenario.requires if not _is_met(requirement, params)]


def _is_met(requirement, params):
    if requirement in GIVEN:
        return True
    name, relation, value = _parts(requirement)
    if name not in ID_FIELDS:
        return False
    register, accessor = ID_FIELDS[name]
    has = accessor(id_values(params)[register])
    if name == "OAS":
        has = SIZE_BITS[has]
    return RELATIONS[relation](has, value)


def _parts(requirement):
    """Return (ID field, relation, value); a name alone is one that must not be 0."""
    match = re.fullmatch(r"(\w+)(=|>=?|<=?)(\d+)", requirement)
    return (match[1], match[2], int(match[3])) if match else (requirement, ">", 0)


def settings_for(requirements):
    """Return the parameter settings that ``NAME=value`` requirements ask for."""
    parts = [_parts(requirement) for requirement in requirements if requirement not in GIVEN]
    return " ".join(f"{name.lower()}={value}" for name, relation, value in parts if relation == "=")


def load_scenarios(path):
    """Return the scenarios of a ``.jsonl.gz`` file. Raises :exc:`ScenarioFileError`."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise ScenarioFileError(
            f"{path}: no such file; expected a gzip file of scenarios"
        ) from None
    except IsADirectoryError:
        raise ScenarioFileError(
            f"{path}: is a directory; expected a gzip file of scenarios"
        ) from None
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise ScenarioFileError(f"{path}: expected a gzip file of JSON lines ({error})") from None
    except OSError as error:
        raise ScenarioFileError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not lines:
        raise ScenarioFileError(f'{path}:1: expected {{"header": ...}}, found an empty file')
    header = _Check(path, 1, _json(path, 1, lines[0])).header()
    scenarios = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            scenarios.append(_Check(path, number, _json(path, number, line)).scenario(header))
    return scenarios


def _json(path, number, line):
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ScenarioFileError(
            f"{path}:{number}: expected one JSON object a line "
            f"({error.msg} at column {error.colno})"
        ) from None


class _Check:
    """Checks one line, so that nobody who plays it finds something unexpected."""

    def __init__(self, path, number, value):
        self.path, self.number, self.value = path, number, value

    def need(self, condition, where, expected, found):
        if not condition:
            raise ScenarioFileError(
                f"{self.path}:{self.number}: {where}: expected {expected}, "
                f"found {json.dumps(found)[:80]}"
            )

    def unsigned(self, where, value, bits=64):
        self.need(
            type(value) is int and 0 <= value < 1 << bits,
            where,
            f"an unsigned {bits}-bit number",
            value,
        )

    def boolean(self, where, value):
        self.need(type(value) is bool, where, "true or false", value)

    def list_of(self, where, value, count=None):
        expected = "a list" if count is None else f"a list of {count}"
        self.need(
            isinstance(value, list) and (count is None or len(value) == count),
            where,
            expected,
            value,
        )
        return value

    def object_(self, where, value):
        self.need(isinstance(value, dict), where, "an object", value)

    def header(self):
        header = self.value.get("header") if isinstance(self.value, dict) else None
        self.need(isinstance(header, dict), "first line", '{"header": {...}}', self.value)
        for number in self.list_of("header.ram", header.get("ram"), 2):
            self.unsigned("header.ram", number)
        return header

    def scenario(self, header):
        value = self.value
        self.need(isinstance(value, dict), "scenario", "an object", value)
        self.need(isinstance(value.get("name"), str), "name", "a text", value.get("name"))
        setup = value.get("setup", {})
        self.object_("setup", setup)
        self.memory("setup.mem", setup.get("mem", []))
        for access in self.list_of("setup.regs", setup.get("regs", [])):
            self.register_write("setup.regs", access)
        steps = self.list_of("steps", value.get("steps"))
        for index, step in enumerate(steps):
            self.step(f"step {index}", step)
        requires = self.list_of("requires", value.get("requires", []))
        for entry in requires:
            self.need(isinstance(entry, str), "requires", "texts like OAS=44", entry)
        opts = value.get("opts") or {}
        self.object_("opts", opts)
        return Scenario(
            str(self.path),
            self.number,
            value["name"],
            tuple(header["ram"]),
            [*ALWAYS, *BY_CLASS.get(header.get("class"), ()), *requires],
            {"mem": setup.get("mem", []), "regs": setup.get("regs", [])},
            steps,
            opts.get("drain", True),
            value.get("tags", []),
        )

    def step(self, where, step):
        kinds = {
            "dma": self.dma,
            "mem": self.mem,
            "cmd": self.cmd,
            "reg": self.reg,
            "read": self.read,
            "poll": self.read,
        }
        found = [kind for kind in kinds if isinstance(step, dict) and kind in step]
        self.need(len(found) == 1, where, f"one step kind of {', '.join(kinds)}", step)
        kinds[found[0]](where, step, found[0])

    def dma(self, where, step, kind):
        dma = step["dma"]
        self.object_(f"{where} dma", dma)
        self.unsigned(f"{where} dma.sid", dma.get("sid"), 32)
        if dma.get("ssid") is not None:
            self.unsigned(f"{where} dma.ssid", dma["ssid"], 20)
        self.unsigned(f"{where} dma.iova", dma.get("iova"))
        for name in ("write", *({"priv", "instr"} & set(dma))):
            self.boolean(f"{where} dma.{name}", dma.get(name))
        length = dma.get("len")
        self.need(
            type(length) is int and 0 < length <= 4096, f"{where} dma.len", "1 to 4096", length
        )
        if "expect" in step:
            self.object_(f"{where} expect", step["expect"])
            self.boolean(f"{where} expect.ok", step["expect"].get("ok"))
            if step["expect"].get("pa") is not None:
                self.unsigned(f"{where} expect.pa", step["expect"].get("pa"), 56)
        for name in ("event", "event_mask"):
            if step.get(name) is not None:
                for word in self.list_of(f"{where} {name}", step[name], 4):
                    self.need(
                        isinstance(word, str) and re.fullmatch(r"[0-9a-fA-F]{1,16}", word),
                        f"{where} {name}",
                        "hexadecimal 64-bit words",
                        word,
                    )

    def mem(self, where, step, kind):
        self.memory(f"{where} mem", step["mem"])

    def memory(self, where, items):
        for item in self.list_of(where, items):
            addr, octets = self.list_of(where, item, 2)
            self.unsigned(where, addr)
            self.need(
                isinstance(octets, str) and re.fullmatch(r"([0-9a-fA-F]{2})*", octets),
                where,
                "[address, hex bytes]",
                item,
            )

    def cmd(self, where, step, kind):
        for command in self.list_of(f"{where} cmd", step["cmd"]):
            for word in self.list_of(f"{where} cmd", command, 2):
                self.unsigned(f"{where} cmd", word)
        self.object_(f"{where} expect", step.get("expect"))
        for name in ("cons", "err", "cmdq_err"):
            self.unsigned(f"{where} expect.{name}", step["expect"].get(name), 32)

    def reg(self, where, step, kind):
        self.register_write(f"{where} reg", step["reg"])

    def register_write(self, where, access):
        self.list_of(where, access, 3)
        self.need(access[0] in ("w32", "w64"), where, '["w32" or "w64", offset, value]', access)
        self.unsigned(f"{where} offset", access[1], 20)
        self.unsigned(f"{where} value", access[2], 32 if access[0] == "w32" else 64)

    def read(self, where, step, kind):
        access = self.list_of(f"{where} {kind}", step[kind], 2)
        self.need(
            access[0] in ("r32", "r64"), f"{where} {kind}", '["r32" or "r64", offset]', access
        )
        self.unsigned(f"{where} offset", access[1], 20)
        self.unsigned(f"{where} expect", step.get("expect"))
        self.unsigned(f"{where} mask", step.get("mask", 0))

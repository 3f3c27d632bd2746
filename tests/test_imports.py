"""Who may import whom: the table of the style guide, checked in the sources."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"smmu.formats": {"smmu.formats"}}
BASE["smmu.params"] = BASE["smmu.formats"] | {"smmu.params", "smmu.payloads"}
BASE["smmu.payloads"] = BASE["smmu.params"]
BASE["smmu.lib"] = BASE["smmu.bus"] = BASE["smmu.params"] | {"smmu.lib", "smmu.bus"}
# Instances and connections of more than one part, and the tools that are run on the whole.
WHOLE = {"smmu.top", "smmu.control", "smmu.tools", "smmu.__init__"}
# The core may use Amaranth; the host side is plain Python but for what shows it to people.
CORE_PACKAGES = {"amaranth"}
# What a bench builds, and where it lies.
DEVICE = {"smmu", "smmu.top", "smmu.tools"}


def modules():
    """Return ``{module name: path}`` of all our sources."""
    found = {}
    for root in ("hdl", "sim"):
        for path in sorted((ROOT / root).rglob("*.py")):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            found[".".join(parts)] = path
    return found


def unit(module):
    """Return the row of the table that a module belongs to: its first two names."""
    return ".".join(module.split(".")[:2])


def imports(path, *, everywhere):
    """Yield the modules that a file imports; those inside functions only if ``everywhere``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "smmu":
                yield from (f"smmu.{alias.name}" for alias in node.names)
            else:
                yield node.module


def is_bench(module):
    """Tell whether a module drives the design: part of ``smmu_sim.bench``."""
    return module == "smmu_sim.bench" or module.startswith("smmu_sim.bench.")


def allowed(module, imported):
    """Tell whether ``module`` may import ``imported``, a module of ours."""
    own, other = unit(module), unit(imported)
    if is_bench(module) or module.endswith(".__main__") and module.startswith("smmu_sim."):
        return other in {"smmu.formats", "smmu.params"} | DEVICE or imported.startswith("smmu_sim")
    if module.startswith("smmu_sim"):
        return (other in {"smmu.formats", "smmu.params"}
                or imported.startswith("smmu_sim") and not is_bench(imported))
    if imported.startswith("smmu_sim"):
        return False
    if own in WHOLE:
        return True
    return other in BASE.get(own, BASE["smmu.lib"] | {own})


MODULES = modules()
# The host side, from the ground up: a part imports only what stands in a row above its own.
FLOORS = (
    {"linux_error", "memory", "fields", "prot"},
    {"model", "table_tree", "process"},
    {"backend", "pagetable", "irq", "decode"},
    {"devices", "driver"},
    {"machine", "iommu"},
    {"vfio", "iommufd"},
    {"vmm"},
    {"scenarios"},
    {"cli"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
# Plays files on a ModelBackend, which is made of the rest of the model.
UPWARDS = {("smmu_sim.model.system", "smmu_sim.backend")}


def part(module):
    """Return the part of the host side that a module belongs to: its second name."""
    return (module.split(".") + [""])[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module):
    # What people start may start a bench: a `__main__`, or a function of a command line.
    everywhere = not module.startswith("smmu_sim") or is_bench(module)
    for imported in imports(MODULES[module], everywhere=everywhere):
        if imported.split(".")[0] in ("smmu", "smmu_sim"):
            assert allowed(module, imported), f"{module} must not import {imported}"


@pytest.mark.parametrize("module", [
    name for name in MODULES if name.startswith("smmu_sim.") and part(name) in FLOOR])
def test_no_part_of_the_host_side_imports_upwards(module):
    for imported in imports(MODULES[module], everywhere=False):
        if part(imported) in FLOOR and part(imported) != part(module):
            assert (FLOOR[part(imported)] < FLOOR[part(module)]
                    or (module, imported) in UPWARDS), f"{module} must not import {imported}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("smmu.")])
def test_the_core_needs_amaranth_only(module):
    for imported in imports(MODULES[module], everywhere=True):
        package = imported.split(".")[0]
        assert (package in sys.stdlib_module_names or package in CORE_PACKAGES
                or package == "smmu"), f"{module} imports {imported}"


@pytest.mark.parametrize("module, imported, verdict", [
    ("smmu.formats.core", "smmu.params", False),
    ("smmu.params", "smmu.formats.descriptors", True),
    ("smmu.params", "smmu.lib.stream_fifo", False),
    ("smmu.lib.stream_fifo", "smmu.payloads", True),
    ("smmu.tcu.lookup", "smmu.tcu.tlb", True),
    ("smmu.tcu.lookup", "smmu.tbu.tbu", False),
    ("smmu.tcu.lookup", "smmu.bus.axi", True),
    ("smmu.tcu.lookup", "smmu_sim.model", False),
    ("smmu.top", "smmu.tcu.tcu", True),
    ("smmu_sim.driver", "smmu.payloads", False),
    ("smmu_sim.driver", "smmu.formats.events", True),
    ("smmu_sim.driver", "smmu_sim.bench.bus", False),
    ("smmu_sim.bench.bus", "smmu_sim.memory", True),
    ("smmu_sim.benchmark.measure", "smmu_sim.bench.bus", False),
    ("smmu_sim.benchmark.measure", "smmu_sim.benchmark.setup", True),
    ("smmu_sim.benchmark.__main__", "smmu_sim.bench.bus", True),
    ("smmu_sim.bench.bus", "smmu.tcu.tlb", False),
])
def test_the_rule_itself(module, imported, verdict):
    assert allowed(module, imported) is verdict


def test_there_is_something_to_check():
    assert {"smmu.params", "smmu.formats.core", "smmu.top"} <= set(MODULES)

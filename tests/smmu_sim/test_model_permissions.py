"""The model's permission checks, against the tables of DDI 0487 written out."""

from itertools import product

import pytest

from smmu.formats.events import EventType
from smmu.formats.stream_table import INSTCFG, PRIVCFG, STEConfig, STRW
from smmu.params import Params
from smmu_sim.model.system import System

VA, PA = 0x12_3000, 0x5000_0000
CLASSES = ("pr", "pw", "px", "ur", "uw", "ux")  # privileged/unprivileged read, write, execute


def allowed(system):
    """Return the access classes that pass; the others must be permission faults."""
    passed = set()
    for name in CLASSES:
        write = name[1] == "w"
        result = system.dma(VA, write=write, priv=name[0] == "p", instr=name[1] == "x")
        events = system.events()
        if result.ok:
            passed.add(name)
            assert result.pa == PA and not events
        else:
            assert [event for event, _ in events] == [EventType.F_PERMISSION]
            fields = events[0][1]
            assert fields.get("RnW", 0) == (not write)
            assert fields.get("PnU", 0) == (name[0] == "p")
            assert fields.get("InD", 0) == (name[1] == "x")
    return passed


# AP[2:1] -> what WXN=0, PAN=0, PXN=UXN=0 allows. A page that is unprivileged-writable is never
# executable at the privileged level.
AP_TABLE = {
    0b00: {"pr", "pw", "px", "ux"},
    0b01: {"pr", "pw", "ur", "uw", "ux"},
    0b10: {"pr", "px", "ux"},
    0b11: {"pr", "px", "ur", "ux"},
}


def expected_stage1(ap, uxn, pxn, wxn, pan):
    passes = set(AP_TABLE[ap])
    if wxn and "uw" in passes:
        passes.discard("ux")
    if wxn and "pw" in passes:
        passes.discard("px")
    if uxn:
        passes.discard("ux")
    if pxn:
        passes.discard("px")
    if pan and AP_TABLE[ap] & {"ur", "uw"}:
        passes -= {"pr", "pw"}
    return passes


@pytest.mark.parametrize("wxn, pan", list(product((0, 1), repeat=2)))
@pytest.mark.parametrize("strw, e2h", [(STRW.NS_EL1, 0), (STRW.EL2, 1)])
def test_stage1_leaf(wxn, pan, strw, e2h):
    system = System(E2H=e2h)
    system.ste(STRW=strw)
    system.cd(WXN=wxn, PAN=pan)
    for ap, uxn, pxn in product(range(4), (0, 1), (0, 1)):
        system.map1(VA, PA, AP=ap, UXN=uxn, PXN=pxn)
        assert allowed(system) == expected_stage1(ap, uxn, pxn, wxn, pan), (ap, uxn, pxn)


@pytest.mark.parametrize("had", [0, 1])
@pytest.mark.parametrize("high", [False, True])
def test_stage1_hierarchy(had, high):
    """APTable[0] takes unprivileged access, APTable[1] takes writes; HADx ignores them all."""
    for aptable, uxn, pxn in product(range(4), (0, 1), (0, 1)):
        system = System()
        system.ste()
        other = {"HAD0": had} if high else {"HAD1": had}  # of the half that is not used
        system.cd(**{"HAD1" if high else "HAD0": had, **other}, EPD1=int(not high))
        system.map1(VA | (0xFFFF_FF80_0000_0000 if high else 0), PA, high=high,
                    table_flags={"APTable": aptable, "UXNTable": uxn, "PXNTable": pxn}, AP=0b01)
        ap = 0b01 & ~(aptable & 1) | aptable & 2
        expected = expected_stage1(*((0b01, 0, 0) if had else (ap, uxn, pxn)), 0, 0)
        passes = {name for name in CLASSES if system.dma(
            VA | (0xFFFF_FF80_0000_0000 if high else 0), write=name[1] == "w",
            priv=name[0] == "p", instr=name[1] == "x").ok}
        assert passes == expected, (aptable, uxn, pxn)


@pytest.mark.parametrize("wxn", [0, 1])
def test_stage1_el2_has_one_privilege(wxn):
    """Only AP[2] and XN count; AP[1], PXN and PAN don't."""
    system = System(E2H=0)
    system.ste(STRW=STRW.EL2)
    system.cd(WXN=wxn, PAN=1)
    for ap, uxn, pxn in product(range(4), (0, 1), (0, 1)):
        system.map1(VA, PA, AP=ap, UXN=uxn, PXN=pxn)
        expected = {"pr", "ur"}
        if not ap & 2:
            expected |= {"pw", "uw"}
        if not uxn and not (wxn and not ap & 2):
            expected |= {"px", "ux"}
        assert allowed(system) == expected, (ap, uxn, pxn)


@pytest.mark.parametrize("config", [STEConfig.S2_TRANS, STEConfig.NESTED])
def test_stage2(config):
    executable = {0: {"px", "ux"}, 1: {"ux"}, 2: set(), 3: {"px"}}
    for s2ap, xn in product(range(4), range(4)):
        system = System()
        system.ste(config=config)
        system.cd()
        if config == STEConfig.NESTED:
            # AP=01 would forbid privileged execution in stage 1, so AP=11: no writes here.
            system.map1(VA, VA, AP=0b11)
        system.map2(VA, PA, S2AP=s2ap, XN=xn)
        expected = set(executable[xn])
        expected |= {"pr", "ur"} if s2ap & 1 else set()
        expected |= {"pw", "uw"} if s2ap & 2 and config == STEConfig.S2_TRANS else set()
        assert allowed(system) == expected, (s2ap, xn)


@pytest.mark.parametrize("privcfg, instcfg, seen", [
    (PRIVCFG.INCOMING, INSTCFG.INCOMING, {(0, 0): (0, 0), (1, 0): (1, 0), (0, 1): (0, 1)}),
    (1, 1, {(0, 0): (0, 0), (1, 1): (1, 1)}),
    (PRIVCFG.PRIVILEGED, INSTCFG.INSTRUCTION, {(0, 0): (1, 1), (1, 1): (1, 1)}),
    (PRIVCFG.UNPRIVILEGED, INSTCFG.DATA, {(1, 1): (0, 0), (0, 0): (0, 0)}),
])
def test_overrides_reach_the_record_and_the_output(privcfg, instcfg, seen):
    system = System()
    system.cd()
    for (priv, instr), (out_priv, out_instr) in seen.items():
        system.ste(PRIVCFG=privcfg, INSTCFG=instcfg)
        system.dma(VA, priv=priv, instr=instr)
        system.dma(VA, priv=priv, instr=instr, write=True)
        read, write = [fields for _, fields in system.events()]
        assert (read.get("PnU", 0), read.get("InD", 0)) == (out_priv, out_instr)
        assert (write.get("PnU", 0), write.get("InD", 0)) == (out_priv, 0)
        system.ste(config=STEConfig.BYPASS, PRIVCFG=privcfg, INSTCFG=instcfg)
        for nonsecure in (0, 1):
            result = system.dma(VA, priv=priv, instr=instr, nonsecure=nonsecure)
            assert result.prot == out_priv | nonsecure << 1 | out_instr << 2
        assert system.dma(VA, priv=priv, instr=instr, write=True).prot == out_priv | 2


def test_overrides_need_attr_perms_ovr():
    system = System(Params(attr_perms_ovr=0))
    system.ste(config=STEConfig.BYPASS, PRIVCFG=PRIVCFG.PRIVILEGED, INSTCFG=INSTCFG.INSTRUCTION)
    assert system.dma(VA).prot == 2


@pytest.mark.parametrize("s2ptw, fwb, memattr, passes", [
    (0, 0, 0b0001, True), (1, 0, 0b0001, False), (1, 0, 0b1111, True), (1, 0, 0b0101, True),
    (1, 1, 0b1001, False), (1, 1, 0b0110, True), (1, 1, 0b0101, True), (0, 1, 0b0001, True)])
def test_s2ptw_forbids_tables_in_device_memory(s2ptw, fwb, memattr, passes):
    system = System()
    system.ste(config=STEConfig.NESTED, S2PTW=s2ptw, S2FWB=fwb)
    system.cd()
    system.map1(VA, PA)
    system.map2(PA, PA)
    for where, use in ((system.CDS, 0), (system.S1_TABLE, 1)):
        system.map2(where, where, MemAttr=memattr)
        result = system.dma(VA)
        fault = {"StreamID": 1, "RnW": 1, "S2": 1, "InputAddr": VA, "IPA": where >> 12}
        if use:
            fault |= {"CLASS": 1, "TTRnW": 1}
        events = system.events()
        if passes:
            assert result.pa == PA and not events
        else:
            assert not result.ok and events == [(EventType.F_PERMISSION, fault)]
        system.map2(where, where)


def test_tables_need_stage2_read_permission_only():
    system = System()
    system.ste(config=STEConfig.NESTED)
    system.cd()
    system.map1(VA, PA)
    for where in (system.CDS, system.S1_TABLE):
        system.map2(where, where, S2AP=1, XN=2)
        assert system.dma(VA, write=True).pa == PA
        system.map2(where, where, S2AP=2)
        assert not system.dma(VA, write=True).ok
        system.map2(where, where)
    cd, table = [fields for _, fields in system.events()]
    assert "RnW" not in cd and "CLASS" not in cd and cd["IPA"] == system.CDS >> 12
    assert "RnW" not in table and table["CLASS"] == 1 and table["TTRnW"] == 1

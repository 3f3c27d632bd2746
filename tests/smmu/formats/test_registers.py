"""The register table: places, reset and identification values, what software can write."""

from collections import Counter

import pytest

from smmu.formats import registers as r
from smmu.formats.core import fields, pack, plain
from smmu.params import CONFIGS, Params

# IHI 0070 chapter 6: offset, width, access
MANUAL = """
0x000 IDR0 32 RO, 0x004 IDR1 32 RO, 0x008 IDR2 32 RO, 0x00C IDR3 32 RO, 0x010 IDR4 32 RO,
0x014 IDR5 32 RO, 0x018 IIDR 32 RO, 0x01C AIDR 32 RO, 0x020 CR0 32 RW, 0x024 CR0ACK 32 RO,
0x028 CR1 32 RW, 0x02C CR2 32 RW, 0x040 STATUSR 32 RO, 0x044 GBPA 32 RW, 0x050 IRQ_CTRL 32 RW,
0x054 IRQ_CTRLACK 32 RO, 0x060 GERROR 32 RO, 0x064 GERRORN 32 RW, 0x068 GERROR_IRQ_CFG0 64 RW,
0x070 GERROR_IRQ_CFG1 32 RW, 0x074 GERROR_IRQ_CFG2 32 RW, 0x080 STRTAB_BASE 64 RW,
0x088 STRTAB_BASE_CFG 32 RW, 0x090 CMDQ_BASE 64 RW, 0x098 CMDQ_PROD 32 RW, 0x09C CMDQ_CONS 32 RW,
0x0A0 EVENTQ_BASE 64 RW, 0x0B0 EVENTQ_IRQ_CFG0 64 RW, 0x0B8 EVENTQ_IRQ_CFG1 32 RW,
0x0BC EVENTQ_IRQ_CFG2 32 RW, 0x0C0 PRIQ_BASE 64 RW, 0x0D0 PRIQ_IRQ_CFG0 64 RW,
0x0D8 PRIQ_IRQ_CFG1 32 RW, 0x0DC PRIQ_IRQ_CFG2 32 RW, 0x100 GATOS_CTRL 32 RW, 0x108 GATOS_SID 64 RW,
0x110 GATOS_ADDR 64 RW, 0x118 GATOS_PAR 64 RO, 0x180 VATOS_SEL 32 RW, 0xFD0 PIDR4 32 RO,
0xFD4 PIDR5 32 RO, 0xFD8 PIDR6 32 RO, 0xFDC PIDR7 32 RO, 0xFE0 PIDR0 32 RO, 0xFE4 PIDR1 32 RO,
0xFE8 PIDR2 32 RO, 0xFEC PIDR3 32 RO, 0xFF0 CIDR0 32 RO, 0xFF4 CIDR1 32 RO, 0xFF8 CIDR2 32 RO,
0xFFC CIDR3 32 RO, 0x100A8 EVENTQ_PROD 32 RW, 0x100AC EVENTQ_CONS 32 RW, 0x100C8 PRIQ_PROD 32 RW,
0x100CC PRIQ_CONS 32 RW, 0x40000 IMP_ID 32 RO, 0x40004 IMP_VERSION 32 RO, 0x40008 REMAP_COUNT 32 RO,
0x4000C REMAP_CTRL 32 RW, 0x41000 REMAP_STREAMID 64 RW, 0x41008 REMAP_IPA 64 RW,
0x41010 REMAP_DOORBELL 64 RW, 0x42000 COUNTER 64 RO
"""


def test_places_are_the_manuals():
    expected = {}
    for row in MANUAL.replace("\n", " ").split(","):
        offset, name, width, access = row.split()
        expected[name] = (int(offset, 16), int(width), access)
    assert {name: (register.offset, register.width, register.access)
            for name, register in r.BY_NAME.items()} == expected


@pytest.mark.parametrize("config", CONFIGS)
def test_no_overlap_and_natural_alignment(config):
    params = CONFIGS[config]
    words = Counter()
    for register in r.REGISTERS + r.OPTIONAL:
        for n in range(register.copies(params)):
            assert register.at(n) % (register.width // 8) == 0
            words.update(range(register.at(n), register.at(n) + register.width // 8, 4))
    assert set(words.values()) == {1}
    assert max(words) < 1 << 20


def test_structs_are_named_like_their_registers():
    for name, register in r.BY_NAME.items():
        if name[:4] not in ("PIDR", "CIDR"):
            assert register.struct.__name__ == name
            assert getattr(r, name) is register.struct


def test_default_id_values():
    ids = r.id_values(CONFIGS["default"])
    assert ids["IDR0"] == 0x094C_321B
    assert ids["IDR1"] == 0x0E73_0410
    assert ids["IDR2"] == ids["IDR4"] == 0
    assert ids["IDR3"] == 0x1514
    assert ids["IDR5"] == 0x75
    assert ids["AIDR"] == 2
    assert [ids[f"CIDR{n}"] for n in range(4)] == [0x0D, 0xF0, 0x05, 0xB1]
    assert [ids[f"PIDR{n}"] for n in range(4, 8)] == [0, 0, 0, 0]
    assert ids["PIDR2"] & 8
    assert ids["PIDR0"] | (ids["PIDR1"] & 0xF) << 8 == plain(r.IIDR).ProductID(ids["IIDR"])
    assert (ids["IMP_ID"], ids["IMP_VERSION"], ids["REMAP_COUNT"]) == (0x534D_4D55, 1, 16)


def test_ids_tell_what_was_built():
    params = Params.from_settings(
        "small", "oas=40 gran16k=0 term_model=1 ttendian=0 cohacc=0 bbml=1 asid16=0 vmid16=0 msi=0 "
                 "cd2l=0 attr_perms_ovr=0 attr_types_ovr=0 eventqs=7 cmdqs=8 st_level=0 sidsize=5")
    ids = r.id_values(params)
    idr0 = plain(r.IDR0)
    assert (idr0.TERM_MODEL(ids["IDR0"]), idr0.TTENDIAN(ids["IDR0"]), idr0.COHACC(ids["IDR0"])) == (
        1, 0, 0)
    assert not any(getattr(idr0, name)(ids["IDR0"])
                   for name in ("ASID16", "VMID16", "MSI", "CD2L", "ST_LEVEL"))
    assert ids["IDR1"] == pack(r.IDR1, {"SIDSIZE": 5, "EVENTQS": 7, "CMDQS": 8})
    assert plain(r.IDR3).BBML(ids["IDR3"]) == 1
    assert ids["IDR5"] == pack(r.IDR5, {"OAS": 2, "GRAN4K": 1, "GRAN64K": 1})
    assert ids["REMAP_COUNT"] == 4


def test_one_stage_only():
    ids = r.id_values(Params.from_settings("default", "s2p=0 hyp=0 xnx=0"))
    assert ids["IDR0"] & 0x203 == 2  # S1P without S2P and Hyp
    ids = r.id_values(Params.from_settings("default", "s1p=0 hyp=0 had=0"))
    assert ids["IDR0"] & 0x203 == 1


def test_every_read_only_value_has_a_source():
    ids = r.id_values(Params())
    assert {register.name for register in r.REGISTERS if register.reset is None} == set(ids)
    assert {register.name: register.reset for register in r.REGISTERS if register.reset} == {
        "GBPA": 0x1000}


def test_registers_of_absent_features():
    names = {register.name for register in r.implemented(Params(msi=0))}
    assert "GERROR_IRQ_CFG0" not in names and "EVENTQ_IRQ_CFG2" not in names and "CR0" in names
    assert "GERROR_IRQ_CFG0" in {register.name for register in r.implemented(Params())}
    assert not {register.name for register in r.implemented(Params())} & {
        register.name for register in r.OPTIONAL}


@pytest.mark.parametrize("name, mask", [
    ("CR0", 0xD), ("CR1", 0xFFF), ("CR2", 0x3), ("GBPA", 0x801F_3F1F), ("IRQ_CTRL", 0x5),
    ("GERRORN", 0x1B5), ("STRTAB_BASE", 0x4000_FFFF_FFFF_FFC0), ("STRTAB_BASE_CFG", 0x3_07FF),
    ("CMDQ_BASE", 0x4000_FFFF_FFFF_FFFF), ("CMDQ_PROD", 0xF_FFFF), ("CMDQ_CONS", 0x7F0F_FFFF),
    ("EVENTQ_PROD", 0x800F_FFFF), ("EVENTQ_CONS", 0x800F_FFFF),
    ("EVENTQ_IRQ_CFG0", 0xFFFF_FFFF_FFFC), ("EVENTQ_IRQ_CFG2", 0x3F), ("REMAP_CTRL", 1),
    ("REMAP_STREAMID", 0x8000_0000_FFFF_FFFF), ("IDR0", 0), ("GERROR", 0), ("PRIQ_BASE", 0),
])
def test_what_software_can_write(name, mask):
    assert r.write_mask(name, Params()) == mask


def test_what_software_can_write_in_other_builds():
    params = Params.from_settings(
        "small", "oas=36 msi=0 st_level=0 sidsize=6 attr_types_ovr=0 attr_perms_ovr=0")
    assert r.write_mask("STRTAB_BASE", params) == 0x4000_000F_FFFF_FFC0
    assert r.write_mask("STRTAB_BASE_CFG", params) == 0x7FF
    assert r.write_mask("GBPA", params) == 0x8010_0000
    assert r.write_mask("EVENTQ_IRQ_CFG0", params) == 0
    assert r.write_mask("GERRORN", params) == 0x105
    assert r.write_mask("CR2", Params.from_settings("small", "s2p=0 hyp=0 xnx=0")) == 2


def test_masks_stay_inside_the_fields():
    for register in r.REGISTERS:
        inside = sum(field.mask for field in fields(register.struct).values())
        assert r.write_mask(register.name, Params()) & ~inside == 0


def test_counters():
    assert r.COUNTERS == [
        "transactions", "utlb_hit", "utlb_miss", "tlb_hit", "tlb_miss", "cfg_hit", "cfg_miss",
        "s1_walk_cache_hit", "s1_walk_cache_miss", "s2_walk_cache_hit", "s2_walk_cache_miss",
        "table_reads", "faults"]
    assert r.BY_NAME["COUNTER"].at(12) == 0x4_2060
    assert r.BY_NAME["REMAP_DOORBELL"].at(2) == 0x4_1050

"""Domains with something in them, for tests of attaching."""

from smmu.formats.stream_table import S1DSS, STEConfig
from smmu_sim.driver import Stage1Domain, Stage2Domain

MIB = 1 << 20
SID, OTHER = 0x42, 0x43


def stage1(system, pa=0x8000_0000, **options):
    domain = Stage1Domain(system.driver, **options)
    domain.map(0x1000, pa, 0x4000)
    return domain


def stage2(system, pa=0xC000_0000, **options):
    domain = Stage2Domain(system.driver, **options)
    domain.map(0, pa, 2 * MIB)
    return domain


def config(system, sid=SID):
    """The Config and S1DSS of an STE."""
    ste = system.ste(sid)
    return STEConfig(ste.get("Config", 0)), S1DSS(ste.get("S1DSS", 0))

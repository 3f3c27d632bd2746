"""Bringing an SMMU into service, in Linux's order (Linux 7.0: ``arm_smmu_device_reset``)."""

from smmu.formats.commands import Opcode
from smmu.formats.descriptors import SH
from smmu.formats.registers import IRQ_CFG0

from smmu_sim.driver import commands
from smmu_sim.fields import address

__all__ = ["bring_up"]

_WB = 1                  # cacheability code of CR1
_MEMATTR_NGNRE = 0b0001


def bring_up(driver, msis):
    """Write all registers of a probed driver, up to SMMUEN.

    ``msis`` are ``{"eventq" | "gerror" | "priq": MSI}``.
    """
    registers, features = driver.registers, driver.features
    if registers.field("CR0", "SMMUEN"):
        driver.set_gbpa(ABORT=1)
    registers.write_acknowledged("CR0")
    registers.write("CR1", TABLE_SH=SH.ISH, TABLE_OC=_WB, TABLE_IC=_WB,
                    QUEUE_SH=SH.ISH, QUEUE_OC=_WB, QUEUE_IC=_WB)
    registers.write("CR2", PTM=1, RECINVSID=1, E2H=driver.e2h)
    driver.stream_table.set_up(registers)

    driver.command_queue.set_up()
    enables = {"CMDQEN": 1}
    registers.write_acknowledged("CR0", **enables)
    driver.errors.handle()
    driver.issue([commands.cfgi_all()])
    if features.Hyp:
        driver.issue([commands.tlbi(Opcode.CMD_TLBI_EL2_ALL)])
    driver.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])

    driver.event_queue.set_up()
    enables["EVENTQEN"] = 1
    registers.write_acknowledged("CR0", **enables)
    if features.PRI:
        driver.page_request_queue.set_up()
        enables["PRIQEN"] = 1
        registers.write_acknowledged("CR0", **enables)
    if features.ATS:
        enables["ATSCHK"] = 1
        registers.write_acknowledged("CR0", **enables)
    _set_up_interrupts(registers, features, msis)
    registers.write_acknowledged("CR0", **enables, SMMUEN=1)


def _set_up_interrupts(registers, features, msis):
    sources = ["gerror", "eventq", *["priq"] * features.PRI]
    registers.write_acknowledged("IRQ_CTRL")
    for source in sources if features.MSI else ():
        registers.write(f"{source.upper()}_IRQ_CFG0")
    for source in ("eventq", "gerror", "priq"):
        if source in msis and source in sources:
            name = f"{source.upper()}_IRQ_CFG"
            registers.write(name + "0", ADDR=address(IRQ_CFG0, "ADDR", msis[source].addr))
            registers.write(name + "1", DATA=msis[source].data)
            registers.write(name + "2", MemAttr=_MEMATTR_NGNRE)
    priq = {"PRIQ_IRQEN": 1} if features.PRI else {}
    registers.write_acknowledged("IRQ_CTRL", EVENTQ_IRQEN=1, GERROR_IRQEN=1, **priq)

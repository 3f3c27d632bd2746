"""Layouts of the GIC's registers, commands and tables, as plain integers.

The SMMU's own are in :mod:`smmu.formats`. Field names are those of the GIC architecture
(IHI 0069: 5.3 commands, 12.19 ITS registers).
"""

__all__ = ["BASER", "CBASER", "COMMAND", "CREADR", "CTE", "CTLR", "CWRITER", "DTE", "ITE", "Layout",
           "MSI_TYPER", "Opcode", "TYPER"]


class Layout:
    """Named bit fields of an integer: ``Layout(V=(63, 1), ICID=(0, 16))``, each (lsb, width)."""

    def __init__(self, **fields):
        self.fields = fields

    def pack(self, **values):
        """Return the integer with these fields, others 0; ValueError if a value does not fit."""
        raw = 0
        for name, value in values.items():
            lsb, width = self.fields[name]
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} = {value:#x} does not fit {width} bits")
            raw |= value << lsb
        return raw

    def get(self, raw, name):
        """Return one field of ``raw``."""
        lsb, width = self.fields[name]
        return raw >> lsb & (1 << width) - 1

    def mask(self, *names):
        """Return the bits of some fields."""
        return sum((1 << width) - 1 << lsb for lsb, width in map(self.fields.get, names))


class Opcode:
    """Numbers of the ITS commands."""

    MOVI, INT, CLEAR, SYNC = 0x01, 0x03, 0x04, 0x05
    MAPD, MAPC, MAPTI, MAPI = 0x08, 0x09, 0x0A, 0x0B
    INV, INVALL, MOVALL, DISCARD = 0x0C, 0x0D, 0x0E, 0x0F


# All commands in one: 32 bytes. Which fields count depends on Opcode. ITT holds address bits 51:8,
# RDbase and RDbase2 what TYPER.PTA says, here a processor number.
COMMAND = Layout(
    Opcode=(0, 8), DeviceID=(32, 32),
    Size=(64, 5), EventID=(64, 32), pINTID=(96, 32),
    ICID=(128, 16), ITT=(136, 44), RDbase=(144, 36), V=(191, 1),
    RDbase2=(208, 36))

CTLR = Layout(Enabled=(0, 1), Quiescent=(31, 1))
TYPER = Layout(Physical=(0, 1), ITT_entry_size=(4, 4), ID_bits=(8, 5), Devbits=(13, 5), PTA=(19, 1),
               HCC=(24, 8), CIDbits=(32, 4), CIL=(36, 1))
CBASER = Layout(Size=(0, 8), Shareability=(10, 2), ADDR=(12, 40), OuterCache=(53, 3),
                InnerCache=(59, 3), Valid=(63, 1))
CWRITER = Layout(Retry=(0, 1), Offset=(5, 15))
CREADR = Layout(Stalled=(0, 1), Offset=(5, 15))
BASER = Layout(Size=(0, 8), Page_Size=(8, 2), Shareability=(10, 2), ADDR=(12, 36),
               Entry_Size=(48, 5), OuterCache=(53, 3), Type=(56, 3), InnerCache=(59, 3),
               Indirect=(62, 1), Valid=(63, 1))

# Contents of the tables: the architecture leaves them to the implementation. 8 bytes each.
DTE = Layout(Size=(0, 5), ITT=(8, 44), V=(63, 1))
CTE = Layout(RDbase=(0, 36), V=(63, 1))
ITE = Layout(pINTID=(0, 32), ICID=(32, 16), V=(63, 1))

MSI_TYPER = Layout(count=(0, 10), first=(16, 10))

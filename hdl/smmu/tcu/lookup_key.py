from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.stream_table import INSTCFG, PRIVCFG
from smmu.params import Params
from smmu.payloads import LookupConfig, Permissions, TLBKey, World

__all__ = ["LookupKey", "incoming_permissions"]

SHORTEST, LONGEST = 25, 48  # input sizes that TxSZ of 39 to 16 can name, in bits


def incoming_permissions(perms, overrides):
    """`Permissions` by the class of the incoming access, from those by effective class.

    PRIVCFG and INSTCFG (IHI 0070, 5.2) make one class of access another. Writes are data whatever
    INSTCFG says.
    """
    demoted = overrides.PRIVCFG == PRIVCFG.UNPRIVILEGED
    promoted = overrides.PRIVCFG == PRIVCFG.PRIVILEGED
    as_data = overrides.INSTCFG == INSTCFG.DATA
    as_instruction = overrides.INSTCFG == INSTCFG.INSTRUCTION
    pr = Mux(demoted, perms.ur, perms.pr)
    pw = Mux(demoted, perms.uw, perms.pw)
    px = Mux(demoted, perms.ux, perms.px)
    ur = Mux(promoted, perms.pr, perms.ur)
    uw = Mux(promoted, perms.pw, perms.uw)
    ux = Mux(promoted, perms.px, perms.ux)
    classes = {
        "pr": Mux(as_instruction, px, pr), "pw": pw, "px": Mux(as_data, pr, px),
        "ur": Mux(as_instruction, ux, ur), "uw": uw, "ux": Mux(as_data, ur, ux),
    }
    return Permissions(Cat(classes[name] for name, _ in Permissions.as_shape()))


class LookupKey(wiring.Component):
    """Make the main TLB's key of an input address, and check its range.

    Spec
        SMMUV3 7.2, 8.1. Stage 1: TxSZ, TBI and EPD of the half that VA[55] selects. Stage 2 only:
        the input address size, which is the output address size, and S2T0SZ.
    Timing
        Latency 1 cycle, a new input each cycle.

    Members
    -------
    config : :py:`In(LookupConfig)`
    addr : :py:`In(64)`
        The input address, as it came.
    key : :py:`Out(TLBKey)`
    legal : :py:`Out(1)`
        The address passes the checks that come before a walk. Means nothing if both stages are
        bypassed.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "config": In(LookupConfig),
            "addr": In(64),
            "key": Out(TLBKey),
            "legal": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, addr = self.config, self.addr
        upper = Signal()  # the half of TTB1
        size0 = Signal(6)
        m.d.comb += [
            upper.eq(config.s1 & addr[55] & (config.world != World.EL2)),
            size0.eq(Mux(config.s1, config.T0SZ, config.S2T0SZ)),
        ]

        # Bits from 64 - TxSZ up must be those of the half.
        def outside(bits, size):
            return Cat(bits[n] & (size >= 64 - n) for n in range(SHORTEST, LONGEST)).any()

        ignored = Mux(config.s1, Mux(upper, config.TBI1, config.TBI0), 0)
        tops = [Cat(addr[LONGEST:56], addr[56:] & ~ignored.replicate(8)),
                Cat(~addr[LONGEST:56], ~addr[56:] & ~ignored.replicate(8))]
        lower_is_legal = ~(outside(addr, size0) | tops[0].any() | (config.s1 & config.EPD0))
        upper_is_legal = ~(outside(~addr, config.T1SZ) | tops[1].any() | config.EPD1)
        fits = config.s1 | ~addr[self.params.oas:].any()

        m.d.sync += [
            self.key.world.eq(config.world),
            self.key.ipa.eq(~config.s1),
            self.key.vmid.eq(config.vmid),
            self.key.asid.eq(Mux(config.s1, config.asid, 0)),
            self.key.aset.eq(config.s1 & config.aset),
            self.key.va55.eq(upper),
            self.key.addr.eq(addr[12:48]),
            self.legal.eq(Mux(upper, upper_is_legal, lower_is_legal) & fits),
        ]

        return m

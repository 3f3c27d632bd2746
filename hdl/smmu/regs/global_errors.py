from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.core import fields
from smmu.formats.registers import GERROR, GERRORN

__all__ = ["GlobalErrors"]


class GlobalErrors(wiring.Component):
    """Raise global errors: invert a bit of GERROR if its error is not active.

    Spec
        IHI 0070: 6.3 (GERROR, GERRORN).
    Timing
        GERROR changes 1 cycle after the raise, together with `rise`.

    Members
    -------
    raises : :py:`In(GERROR)`
        Strobes.
    GERRORN : :py:`In(GERRORN)`
    GERROR : :py:`Out(GERROR)`
    active : :py:`Out(GERROR)`
    rise : :py:`Out(1)`
        Strobe: an error has become active, not only MSI_GERROR_ABT_ERR.
    """

    raises: In(GERROR)
    GERRORN: In(GERRORN)
    GERROR: Out(GERROR)
    active: Out(GERROR)
    rise: Out(1)

    def elaborate(self, platform):
        m = Module()
        raises, active = self.raises.as_value(), self.active.as_value()
        silent = fields(GERROR)["MSI_GERROR_ABT_ERR"].mask

        m.d.comb += active.eq(self.GERROR.as_value() ^ self.GERRORN.as_value())
        m.d.sync += [
            self.GERROR.as_value().eq(self.GERROR.as_value() ^ (raises & ~active)),
            self.rise.eq((raises & ~active & ~silent).any()),
        ]
        return m

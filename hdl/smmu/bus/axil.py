"""AXI4-Lite as a signature: every signal a plain member with its AXI name in lower case."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI4Lite"]


class AXI4Lite(wiring.Signature):
    """AXI4-Lite, seen from the manager: ``Out`` is what a manager drives.

    Members
    -------
    awaddr, awprot, awvalid, awready
        Write address channel.
    wdata, wstrb, wvalid, wready
        Write data channel.
    bresp, bvalid, bready
        Write response channel.
    araddr, arprot, arvalid, arready
        Read address channel.
    rdata, rresp, rvalid, rready
        Read data channel.
    """

    def __init__(self, *, addr_width, data_width=64):
        if data_width not in (32, 64):
            raise ValueError(f"data_width = {data_width}: expected 32 or 64")
        self._addr_width = addr_width
        self._data_width = data_width
        super().__init__({
            "awaddr": Out(addr_width),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(data_width),
            "wstrb": Out(data_width // 8),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(addr_width),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(data_width),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        })

    @property
    def addr_width(self):
        """Width of the addresses in bits."""
        return self._addr_width

    @property
    def data_width(self):
        """Width of the data in bits."""
        return self._data_width

    def __eq__(self, other):
        return isinstance(other, AXI4Lite) and self.members == other.members

    def __repr__(self):
        return f"AXI4Lite(addr_width={self._addr_width}, data_width={self._data_width})"

"""AXI4 as a signature: every signal a plain member with its AXI name in lower case."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI4"]


class AXI4(wiring.Signature):
    """AXI4, seen from the manager: ``Out`` is what a manager drives.

    Members
    -------
    awid .. awuser, awvalid, awready
        Write address channel. ``awuser`` is left out if ``awuser_width`` is 0.
    wdata, wstrb, wlast, wvalid, wready
        Write data channel.
    bid, bresp, bvalid, bready
        Write response channel.
    arid .. aruser, arvalid, arready
        Read address channel. ``aruser`` is left out if ``aruser_width`` is 0.
    rid, rdata, rresp, rlast, rvalid, rready
        Read data channel.
    """

    def __init__(self, *, id_width, addr_width, data_width=64, awuser_width=0, aruser_width=0):
        if id_width < 1:
            raise ValueError(f"id_width = {id_width}: expected at least 1")
        if data_width not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise ValueError(f"data_width = {data_width}: expected a power of two, 8 to 1024")
        self._id_width = id_width
        self._addr_width = addr_width
        self._data_width = data_width
        self._awuser_width = awuser_width
        self._aruser_width = aruser_width
        super().__init__({
            **self._address("aw", awuser_width),
            "wdata": Out(data_width),
            "wstrb": Out(data_width // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_width),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            **self._address("ar", aruser_width),
            "rid": In(id_width),
            "rdata": In(data_width),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        })

    def _address(self, ax, user_width):
        return {
            f"{ax}id": Out(self._id_width),
            f"{ax}addr": Out(self._addr_width),
            f"{ax}len": Out(8),
            f"{ax}size": Out(3),
            f"{ax}burst": Out(2),
            f"{ax}lock": Out(1),
            f"{ax}cache": Out(4),
            f"{ax}prot": Out(3),
            f"{ax}qos": Out(4),
            f"{ax}region": Out(4),
            **({f"{ax}user": Out(user_width)} if user_width else {}),
            f"{ax}valid": Out(1),
            f"{ax}ready": In(1),
        }

    @property
    def id_width(self):
        """Width of the IDs in bits."""
        return self._id_width

    @property
    def addr_width(self):
        """Width of the addresses in bits."""
        return self._addr_width

    @property
    def data_width(self):
        """Width of the data in bits."""
        return self._data_width

    @property
    def awuser_width(self):
        """Width of ``awuser`` in bits, 0 without it."""
        return self._awuser_width

    @property
    def aruser_width(self):
        """Width of ``aruser`` in bits, 0 without it."""
        return self._aruser_width

    def __eq__(self, other):
        return isinstance(other, AXI4) and self.members == other.members

    def __repr__(self):
        return (f"AXI4(id_width={self._id_width}, addr_width={self._addr_width}, "
                f"data_width={self._data_width}, awuser_width={self._awuser_width}, "
                f"aruser_width={self._aruser_width})")

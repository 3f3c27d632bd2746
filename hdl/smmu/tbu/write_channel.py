"""Writes of a translation buffer: addresses and data one way, responses the other."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.payloads import FaultRecord
from smmu.tbu.address_channel import SHARED, AddressChannel, share
from smmu.tbu.records import transaction, translated
from smmu.tbu.responses import ResponseMerge, response
from smmu.tbu.write_data import WriteData, write_beat

__all__ = ["WriteChannel"]


class WriteChannel(wiring.Component):
    """Translate writes with their data, or absorb the data and answer them here.

    Timing    As `AddressChannel`, `WriteData` and `ResponseMerge`.
    Errors    F_UUT of MSI writes, see `AddressChannel`.

    Members
    -------
    aw, w, b : :py:`In(stream)`, :py:`In(stream)`, :py:`Out(stream)`
        The device's side.
    m_aw, m_w, m_b : :py:`Out(stream)`, :py:`Out(stream)`, :py:`In(stream)`
        Downstream.
    faults : :py:`Out(stream.Signature(FaultRecord))`
    ``SHARED`` : as in `AddressChannel`.
    """

    def __init__(self, params):
        self._params = params
        i, o = stream.Signature(transaction(params)), stream.Signature(translated(params))
        beat = stream.Signature(response(params, write=True))
        w = stream.Signature(write_beat(params))
        super().__init__({
            "aw": In(i), "w": In(w), "b": Out(beat),
            "m_aw": Out(o), "m_w": Out(w), "m_b": In(beat),
            "faults": Out(stream.Signature(FaultRecord)),
            **SHARED,
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.address = address = AddressChannel(self._params, write=True)
        m.submodules.data = data = WriteData(self._params)
        m.submodules.merge = merge = ResponseMerge(self._params, write=True)
        share(m, self, address)
        connect(m, flipped(self.aw), address.i)
        connect(m, flipped(self.m_aw), address.o)
        connect(m, flipped(self.w), data.i)
        connect(m, flipped(self.m_w), data.o)
        connect(m, flipped(self.m_b), merge.i)
        connect(m, flipped(self.b), merge.o)
        connect(m, flipped(self.faults), address.faults)
        connect(m, address.terminations, merge.terminations)
        connect(m, address.releases, merge.releases)
        m.d.comb += [
            address.query.eq(merge.query), merge.idle.eq(address.idle),
            address.answered.eq(merge.answered), address.answered_id.eq(merge.answered_id),
            data.arrivals.eq(address.arrivals), data.departures.eq(address.departures),
            address.arrival_room.eq(data.arrival_room),
            address.departure_room.eq(data.departure_room), data.absorb.eq(address.absorb),
            address.first_beat.eq(data.first_beat), address.bad_strobes.eq(data.bad_strobes),
            address.all_beats.eq(data.all_beats), address.data_busy.eq(data.busy),
            data.release.eq(merge.releases.valid & merge.releases.ready),
            data.released.eq(merge.releases.p),
        ]
        return m

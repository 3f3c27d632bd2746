"""Reads of a translation buffer: addresses one way, data the other."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.tbu.address_channel import SHARED, AddressChannel, share
from smmu.tbu.records import transaction, translated
from smmu.tbu.responses import ResponseMerge, response

__all__ = ["ReadChannel"]


class ReadChannel(wiring.Component):
    """Translate reads, or answer them here.

    Timing    As `AddressChannel` and `ResponseMerge`.

    Members
    -------
    ar, r : :py:`In(stream)`, :py:`Out(stream)`
        The device's side.
    m_ar, m_r : :py:`Out(stream)`, :py:`In(stream)`
        Downstream.
    ``SHARED`` : as in `AddressChannel`.
    """

    def __init__(self, params):
        self._params = params
        i, o = stream.Signature(transaction(params)), stream.Signature(translated(params))
        beat = stream.Signature(response(params, write=False))
        super().__init__({
            "ar": In(i), "m_ar": Out(o), "r": Out(beat), "m_r": In(beat),
            **SHARED,
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.address = address = AddressChannel(self._params, write=False)
        m.submodules.merge = merge = ResponseMerge(self._params, write=False)
        share(m, self, address)
        connect(m, flipped(self.ar), address.i)
        connect(m, flipped(self.m_ar), address.o)
        connect(m, flipped(self.m_r), merge.i)
        connect(m, flipped(self.r), merge.o)
        connect(m, address.terminations, merge.terminations)
        connect(m, address.releases, merge.releases)
        m.d.comb += [
            address.query.eq(merge.query), merge.idle.eq(address.idle),
            address.answered.eq(merge.answered), address.answered_id.eq(merge.answered_id),
            address.arrival_room.eq(1), address.departure_room.eq(1),
            address.all_beats.eq(-1),
        ]
        return m

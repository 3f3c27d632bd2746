"""Network traffic as a NIC sees it: a mix of packet sizes, in bursts, of unequal flows."""

import random
import struct
import zlib
from typing import NamedTuple

__all__ = ["Frame", "TrafficGenerator"]

# Bytes without the frame check sequence, and their share: the usual "simple IMIX".
_SIZES, _SHARES = (60, 590, 1514), (7, 4, 1)
_ETHERNET = struct.Struct(">6s6sH")
_IPV4 = struct.Struct(">BBHHHBBHII")
_UDP = struct.Struct(">HHHH")
_TAG = struct.Struct(">HIH")      # source, number, flow
_CRC = struct.Struct(">I")
_HEADERS = _ETHERNET.size + _IPV4.size + _UDP.size
_TYPE_IPV4, _VERSION_IHL, _PROTOCOL_UDP = 0x0800, 0x45, 17
_LARGEST_BURST = 64


class Frame(NamedTuple):
    """One Ethernet frame with an IPv4 UDP packet in it.

    The first bytes of the payload say whose it is, and a CRC at the end guards all of it.
    """

    data: bytes

    @property
    def source(self):
        """The number of the generator that made it."""
        return _TAG.unpack_from(self.data, _HEADERS)[0]

    @property
    def number(self):
        """Its number at its generator, from 0 on."""
        return _TAG.unpack_from(self.data, _HEADERS)[1]

    @property
    def flow(self):
        """The number of its flow."""
        return _TAG.unpack_from(self.data, _HEADERS)[2]

    @property
    def intact(self):
        """Whether no byte was changed."""
        return (len(self.data) >= _HEADERS + _TAG.size + _CRC.size
                and zlib.crc32(self.data[:-_CRC.size]) == _CRC.unpack(self.data[-_CRC.size:])[0])


class TrafficGenerator:
    """Make bursts of frames, the same for the same seed.

    Parameters
    ----------
    seed
        Of the random numbers.
    source
        Number that all frames carry, 16 bits.
    flows
        Number of flows; flow n has 1 / (n + 1) of the weight of flow 0.
    burst
        Mean number of frames in a burst; lengths are geometric, 64 at most.
    """

    def __init__(self, seed, *, source=0, flows=16, burst=8):
        if flows < 1 or burst < 1:
            raise ValueError(f"{flows} flows, bursts of {burst}: both are 1 or more")
        self._random = random.Random(seed)
        self.source, self.flows, self._more = source, flows, 1 - 1 / burst
        self._weights = [1 / (n + 1) for n in range(flows)]
        self.made = 0

    def frame(self, flow=None, size=None):
        """Return the next frame, of a random flow and size unless given (60 bytes and more)."""
        rng = self._random
        flow = rng.choices(range(self.flows), self._weights)[0] if flow is None else flow
        size = rng.choices(_SIZES, _SHARES)[0] if size is None else size
        if size < _SIZES[0]:
            raise ValueError(f"{size} bytes; the smallest frame has {_SIZES[0]}")
        ethernet = _ETHERNET.pack(b"\x02\0\0\0\0\1", b"\x02\0\0\0\1\0", _TYPE_IPV4)
        length = size - len(ethernet)
        header = _IPV4.pack(_VERSION_IHL, 0, length, self.made & 0xFFFF, 0, 64, _PROTOCOL_UDP, 0,
                            10 << 24 | self.source, 10 << 24 | 1 << 16 | flow)
        udp = _UDP.pack(1024 + flow, 4789, length - _IPV4.size, 0)
        tag = _TAG.pack(self.source, self.made & 0xFFFF_FFFF, flow)
        payload = rng.randbytes(size - _HEADERS - len(tag) - _CRC.size)
        data = ethernet + header + udp + tag + payload
        self.made += 1
        return Frame(data + _CRC.pack(zlib.crc32(data)))

    def burst(self):
        """Return the frames of one burst."""
        frames = [self.frame()]
        while len(frames) < _LARGEST_BURST and self._random.random() < self._more:
            frames.append(self.frame())
        return frames

"""virtio-net with a host at its other end that answers pings (Virtio 1.2, 5.1)."""

import struct
from collections import deque

from smmu_sim.live.virtio.queue import gather, scatter

__all__ = ["Net", "PEER_IP"]

PEER_IP = bytes((10, 0, 0, 1))
_PEER_MAC = bytes.fromhex("525400534d55")
_RX, _TX = 0, 1
_HEADER = struct.Struct("<BBHHHHH")  # with num_buffers, as VERSION_1 has it
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERTYPE_IP, _ETHERTYPE_ARP = 0x0800, 0x0806
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMP, _ECHO_REQUEST, _ECHO_REPLY = 1, 8, 0


class Net:
    """Take frames, and receive the answers of a host ``10.0.0.1``: ARP, and ICMP echo.

    Everything else is dropped. Offered feature bits 0 and 1 (checksums may be left to the other
    side) don't matter to either: their packets have checksums from the start.
    """

    queues, config = 2, b""

    def __init__(self, port):
        self._port, self._waiting = port, deque(maxlen=64)
        self.received = self.sent = self.echoes = 0

    def serve(self, queues, features, limit):
        """Serve at most ``limit`` frames in each direction; how many chains were given back."""
        done = 0
        if _TX in queues:
            for chain in queues[_TX].take(limit):
                packet = gather(self._port, chain.readable)[_HEADER.size:]
                queues[_TX].give_back(chain, 0)
                self.sent += 1
                done += 1
                answer = self._answer(packet)
                if answer is not None:
                    self._waiting.append(answer)
        if _RX in queues and self._waiting:
            for chain in queues[_RX].take(len(self._waiting)):
                data = _HEADER.pack(0, 0, 0, 0, 0, 0, 1) + self._waiting.popleft()
                queues[_RX].give_back(chain, scatter(self._port, chain.writable, data))
                self.received += 1
                done += 1
        return done

    def _answer(self, packet):
        """Return the frame that the peer answers with, or None."""
        if len(packet) < _ETHERNET.size:
            return None
        _, source, kind = _ETHERNET.unpack_from(packet)
        body = packet[_ETHERNET.size:]
        answer = None
        if kind == _ETHERTYPE_ARP and len(body) >= _ARP.size:
            answer = _arp_reply(body)
        elif kind == _ETHERTYPE_IP:
            answer = _echo_reply(body)
            self.echoes += answer is not None
        return answer and _ETHERNET.pack(source, _PEER_MAC, kind) + answer


def _arp_reply(body):
    hardware, protocol, hardware_size, protocol_size, operation, mac, ip, _, wanted = \
        _ARP.unpack_from(body)
    if operation != _ARP_REQUEST or wanted != PEER_IP:
        return None
    return _ARP.pack(hardware, protocol, hardware_size, protocol_size, _ARP_REPLY,
                     _PEER_MAC, PEER_IP, mac, ip)


def _echo_reply(body):
    """Return the IP packet that answers an echo request to the peer, or None."""
    if len(body) < 20:
        return None
    header_size, length = (body[0] & 0xF) * 4, int.from_bytes(body[2:4], "big")
    echo = body[header_size:length]
    if body[9] != _ICMP or body[16:20] != PEER_IP or len(echo) < 8 or echo[0] != _ECHO_REQUEST:
        return None
    answer = bytearray(echo)
    answer[0], answer[2:4] = _ECHO_REPLY, b"\0\0"
    answer[2:4] = _checksum(answer).to_bytes(2, "big")
    header = bytearray(body[:20])
    header[0] = 0x45  # options are not repeated
    header[2:4] = (20 + len(answer)).to_bytes(2, "big")
    header[8] = 64
    header[10:12] = b"\0\0"
    header[12:16], header[16:20] = PEER_IP, body[12:16]
    header[10:12] = _checksum(header).to_bytes(2, "big")
    return bytes(header + answer)


def _checksum(data):
    """The Internet checksum (RFC 1071)."""
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""virtio-blk: a disk in memory (Virtio 1.2, 5.2)."""

import hashlib
import struct

from smmu_sim.live.virtio.queue import QueueError, gather, scatter

__all__ = ["Block", "SECTOR_BYTES"]

SECTOR_BYTES = 512
_SIZE_MAX = 128 << 10  # of one buffer
_HEADER = struct.Struct("<IIQ")
_IN, _OUT, _GET_ID = 0, 1, 8
_OK, _IOERR, _UNSUPPORTED = b"\0", b"\1", b"\2"
_ID = b"open-smmu-disk".ljust(20, b"\0")


class Block:
    """A disk whose contents are ``data``, a bytearray of whole sectors.

    Attributes
    ----------
    reads, writes
        Bytes that the driver has read and written.
    """

    queues = 1

    def __init__(self, port, data):
        if not data or len(data) % SECTOR_BYTES:
            raise ValueError(f"a disk of {len(data)} bytes: expected whole sectors")
        self._port, self.data = port, data
        self.reads = self.writes = 0
        # Feature bit 1, SIZE_MAX, is offered: see `virtio.frame`.
        self.config = struct.pack("<QI", len(data) // SECTOR_BYTES, _SIZE_MAX)

    @property
    def md5(self):
        """MD5 of the whole disk, as ``md5sum`` prints it."""
        return hashlib.md5(self.data).hexdigest()

    def serve(self, queues, features, limit):
        """Serve at most ``limit`` requests; how many."""
        done = 0
        queue = queues.get(0)
        for chain in queue.take(limit) if queue else ():
            queue.give_back(chain, self._request(chain))
            done += 1
        return done

    def _request(self, chain):
        """Do one request; how many bytes were written into its buffers."""
        readable, writable = chain.readable, chain.writable
        if not readable or readable[0].size < _HEADER.size or not writable:
            raise QueueError("a block request without a header or a status byte")
        kind, _, sector = _HEADER.unpack(self._port.read(readable[0].addr, _HEADER.size))
        *data_in, status_buffer = writable
        written, status = 0, _OK
        start = sector * SECTOR_BYTES
        if kind == _IN:
            size = sum(buffer.size for buffer in data_in)
            if start + size > len(self.data):
                status = _IOERR
            else:
                written = scatter(self._port, data_in, self.data[start:start + size])
                self.reads += written
        elif kind == _OUT:
            data = gather(self._port, readable[1:])
            if start + len(data) > len(self.data):
                status = _IOERR
            else:
                self.data[start:start + len(data)] = data
                self.writes += len(data)
        elif kind == _GET_ID:
            written = scatter(self._port, data_in, _ID)
        else:
            status = _UNSUPPORTED
        self._port.write(status_buffer.addr, status)
        return written + 1

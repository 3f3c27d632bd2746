"""What every device does on the bus: reads and writes, through the SMMU."""

from smmu_sim.backend import Resp, Result, Transaction

__all__ = ["BusMaster"]

_PAYLOADS = (8, 16, 32, 64, 128, 256)  # all divide 4096, which no AXI burst crosses
_DEVICE, _NORMAL = 0b0000, 0b0011  # AxCACHE


class BusMaster:
    """A device as the SMMU's StreamID sees it; also a platform device without anything else.

    An access of any length becomes AXI bursts of at most ``payload`` bytes. All of them are in
    flight at once where the backend has ``dma_all`` (the RTL); their order is then not defined.
    An access is complete when it returns: what follows it, follows it in memory too.

    Parameters
    ----------
    backend
        The SMMU with its memory.
    sid
        StreamID.
    name
        For messages.
    port
        Device port of the SMMU.
    payload
        Bytes of the largest burst, a power of two from 8 to 256: an unaligned burst has one byte in
        each beat, and AXI allows 256 beats.
    """

    def __init__(self, backend, sid, *, name, port=0, payload=256):
        if payload not in _PAYLOADS:
            raise ValueError(f"payload is {payload}: expected one of {_PAYLOADS}")
        self.backend, self.sid, self.name, self.port = backend, sid, name, port
        self.payload = payload

    def __repr__(self):
        return f"{type(self).__name__}({self.name}, StreamID {self.sid:#x})"

    def read(self, addr, length, pasid=None, priv=False):
        """Read ``length`` bytes; return a :class:`Result`. After an error it has no data."""
        return self.read_all([(addr, length)], pasid, priv)[0]

    def write(self, addr, data, pasid=None, priv=False):
        """Write bytes; return a :class:`Result`."""
        return self.write_all([(addr, data)], pasid, priv)[0]

    def read_all(self, reads, pasid=None, priv=False):
        """Read each (addr, length), all at once where possible; return their results in order."""
        return self._accesses([
            [self._transaction(start, pasid, priv, length=count)
             for start, count in self._bursts(addr, length)] for addr, length in reads])

    def write_all(self, writes, pasid=None, priv=False):
        """Write each (addr, data), all at once where possible; return their results in order."""
        return self._accesses([
            [self._transaction(start, pasid, priv, write=True,
                               data=bytes(data[start - addr:start - addr + count]))
             for start, count in self._bursts(addr, len(data))] for addr, data in writes])

    def write_message(self, addr, data):
        """Write 32 bits as a message: one burst, Device memory, no PASID; return the result."""
        return self.transfer([Transaction(
            sid=self.sid, addr=addr, write=True, data=data.to_bytes(4, "little"), cache=_DEVICE,
            port=self.port)])[0]

    def submit(self, addr, *, length=None, data=None, pasid=None, priv=False):
        """Start one burst that may stall and return its pending object; ``result`` is None so far.

        Only backends with ``submit`` can (:class:`ModelBackend`). Neither PCI nor a caller that
        waits for the result can stall.
        """
        work = {"length": length} if data is None else {"write": True, "data": bytes(data)}
        return self.backend.submit(self._transaction(addr, pasid, priv, **work))

    def transfer(self, transactions):
        """Perform transactions, at once where the backend can; return their results."""
        at_once = getattr(self.backend, "dma_all", None)
        if at_once is not None:
            return at_once(transactions)
        return [self.backend.dma(transaction) for transaction in transactions]

    def _transaction(self, addr, pasid, priv, **work):
        return Transaction(sid=self.sid, addr=addr, ssid=pasid, priv=priv, port=self.port,
                           cache=_NORMAL, **work)

    def _bursts(self, addr, length):
        """Yield (address, bytes) of the bursts of an access."""
        if length <= 0:
            raise ValueError(f"{self.name}: an access of {length} bytes")
        while length:
            count = min(length, self.payload - addr % self.payload)
            yield addr, count
            addr, length = addr + count, length - count

    def _accesses(self, accesses):
        """Perform accesses, each a list of transactions; return one result for each."""
        results = iter(self.transfer([each for access in accesses for each in access]))
        return [self._together([next(results) for _ in access]) for access in accesses]

    @staticmethod
    def _together(results):
        """Return one result for all bursts of an access: that of the first, or of the first error.

        Its data is that of all, None after an error.
        """
        failed = next((result for result in results if result.resp != Resp.OKAY), None)
        first = results[0] if failed is None else failed
        data = None
        if failed is None and first.data is not None:
            data = b"".join(result.data for result in results)
        return Result(resp=first.resp, data=data, pa=first.pa, cache=first.cache,
                      shareability=first.shareability, prot=first.prot,
                      device_id=first.device_id, msi=first.msi)

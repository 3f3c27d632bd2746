"""A backend that notes how long the translation of each transaction took."""

__all__ = ["Measured"]


class Measured:
    """An :class:`RTLBackend` that keeps ``latencies``.

    They are clocks from the address in to the address out, of the transactions that left.
    """

    def __init__(self, backend):
        self._backend = backend
        self.latencies = []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def dma(self, transaction):
        return self.dma_all([transaction])[0]

    def dma_all(self, transactions):
        transfers = self._backend.submit_all(transactions)
        self._backend.finish(transfers)
        self.latencies += [transfer.latency for transfer in transfers
                           if transfer.latency is not None]
        return [self._backend.result(transfer) for transfer in transfers]

"""virtio-rng: random bytes (Virtio 1.2, 5.4)."""

import random

from smmu_sim.live.virtio.queue import scatter

__all__ = ["RNG"]


class RNG:
    """Fill every buffer with bytes of a seeded generator. ``delivered`` counts them."""

    queues, config = 1, b""

    def __init__(self, port, seed=1):
        self._port, self._random = port, random.Random(seed)
        self.delivered = 0

    def serve(self, queues, features, limit):
        """Serve at most ``limit`` chains; how many."""
        done = 0
        queue = queues.get(0)
        for chain in queue.take(limit) if queue else ():
            size = sum(buffer.size for buffer in chain.writable)
            self.delivered += scatter(self._port, chain.writable, self._random.randbytes(size))
            queue.give_back(chain, size)
            done += 1
        return done

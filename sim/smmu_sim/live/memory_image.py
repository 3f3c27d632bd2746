"""Memory of which only some bytes are known."""

__all__ = ["MemoryImage"]

_PAGE_BYTES = 4096


class MemoryImage:
    """Bytes by address, each known or not. At first all are known to be 0, as in a replay."""

    def __init__(self):
        self._pages = {}  # number: (bytes, whether each is known)

    def holds(self, addr, data):
        """Whether all these bytes are known to be there."""
        return all(bytes(page[start:end]) == part and all(known[start:end])
                   for page, known, start, end, part in self._parts(addr, data))

    def put(self, addr, data):
        """These bytes are there."""
        for page, known, start, end, part in self._parts(addr, data):
            page[start:end] = part
            known[start:end] = b"\1" * (end - start)

    def forget(self, addr, size):
        """Something else is there, nobody knows what."""
        for _, known, start, end, _ in self._parts(addr, bytes(size)):
            known[start:end] = bytes(end - start)

    def _parts(self, addr, data):
        place = 0
        while place < len(data):
            number, start = divmod(addr + place, _PAGE_BYTES)
            count = min(len(data) - place, _PAGE_BYTES - start)
            if number not in self._pages:
                self._pages[number] = (bytearray(_PAGE_BYTES), bytearray(b"\1" * _PAGE_BYTES))
            page, known = self._pages[number]
            yield page, known, start, start + count, data[place:place + count]
            place += count

"""A file descriptor that reads from a queue of an iommufd."""

from smmu_sim.linux_error import LinuxError

__all__ = ["QueueFile"]


class QueueFile:
    """The open file of a FAULT queue or a VEVENTQ. It keeps the queue and the iommufd alive.

    ``queue`` has ``read(count)`` and ``readable``, and ``write(data)`` where that is possible.
    """

    def __init__(self, iommufd, queue):
        self.queue, self._iommufd, self._open = queue, iommufd, True
        queue.users += 1
        iommufd.hold()

    def read(self, count, pos=0):
        """Return whole records of at most ``count`` bytes; nothing is there: ``b""``.

        ESPIPE: a position, or a count that the queue does not take. EBADF: closed.
        """
        self._check(pos)
        return self.queue.read(count)

    def write(self, data, pos=0):
        """Pass ``data`` to the queue, and return the bytes taken. EBADF: closed, or read-only."""
        self._check(pos)
        if not hasattr(self.queue, "write"):
            raise LinuxError("EBADF", "the file is read-only")
        return self.queue.write(bytes(data))

    def _check(self, pos):
        if not self._open:
            raise LinuxError("EBADF", "the file is closed")
        if pos:
            raise LinuxError("ESPIPE", f"position {pos}: the file has none")

    def poll(self):
        """Return whether there is something to read (EPOLLIN)."""
        return self._open and self.queue.readable

    def close(self):
        """Close it. The second time nothing happens."""
        if self._open:
            self._open = False
            self.queue.users -= 1
            self._iommufd.release_hold()

    # What a process calls when its last file descriptor is closed.
    release = close

"""What the driver raises. Every message names the register, command or StreamID it is about."""

__all__ = ["CommandError", "DriverError", "OutOfMemory", "ProbeError", "QueueFull", "TimedOut"]


class DriverError(Exception):
    """The SMMU, or the caller, did something that the driver cannot go on with."""


class ProbeError(DriverError):
    """This SMMU cannot be driven. The message says which ID field is the reason."""


class TimedOut(DriverError):
    """The SMMU did not do in time what it was told to."""


class QueueFull(DriverError):
    """More commands than the queue can hold."""


class OutOfMemory(DriverError):
    """The allocator has no block of this size left."""


class CommandError(DriverError):
    """The SMMU refused a command. The queue runs again: a CMD_SYNC took the command's place."""

    def __init__(self, code, index, command):
        super().__init__(f"{code.name} at index {index}: {command:#034x}")
        self.code, self.index, self.command = code, index, command

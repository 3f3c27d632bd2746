"""The versions of Linux's nesting interface before iommufd."""

from smmu_sim.linux_error import LinuxError

__all__ = ["GENERATIONS", "check_generation"]

GENERATIONS = ("G1", "V8", "V15", "V16")  # RFC v3 (2019), v8, v15 (2021), RFC v16
_ALIASES = {"G2": "V15"}


def check_generation(name):
    """Return the name of a generation; ``"G2"`` is V15. Raises EINVAL for an unknown one."""
    name = _ALIASES.get(name, name)
    if name not in GENERATIONS:
        raise LinuxError("EINVAL", f"generation is {name!r}; it is one of "
                                   f"{', '.join((*GENERATIONS, *_ALIASES))}")
    return name

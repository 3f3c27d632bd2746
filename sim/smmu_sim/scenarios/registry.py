"""The scenarios by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Scenario", "SCENARIOS", "scenario"]

_NAME = re.compile(r"[a-z0-9-]+")
_NEEDS = {"s1p": 1, "s2p": 1, "gran4k": 1, "oas": 36, "sidsize": 7}
SCENARIOS = {}


@dataclass(frozen=True)
class Scenario:
    """One scenario: a function that builds something and checks what it does.

    Attributes
    ----------
    name, shows
        What ``smmu scenarios`` prints.
    play
        ``play(world)`` with a :class:`smmu_sim.scenarios.world.World`.
    rtl
        It runs on the RTL as well: devices' transactions are translated in it.
    settings
        Parameters over the configuration, like ``"hyp=0"``.
    stall
        It needs an SMMU that stalls, which the model can be and the core cannot.
    needs
        ``{parameter: least value}`` of the builds that it can be played on.
    """

    name: str
    shows: str
    play: Callable
    rtl: bool
    settings: str
    stall: bool
    needs: dict = field(default_factory=dict)

    def lacking(self, params):
        """Return what a build lacks: a text for each, like ``ssidsize = 0: expected at least 4``.
        """
        return [f"{name} = {getattr(params, name)}: expected at least {least}"
                for name, least in self.needs.items() if getattr(params, name) < least]


def scenario(name, shows, *, rtl=True, settings="", stall=False, needs=()):
    """Register a function as the scenario ``name``. Raises :exc:`ValueError` for a bad name.

    ``needs`` goes over what nearly all need: both stages, 4 KiB pages, and the machine's addresses
    and StreamIDs.
    """
    if not _NAME.fullmatch(name) or name in SCENARIOS:
        raise ValueError(f"scenario {name!r}: expected a new name of a-z, 0-9 and -")
    if "\n" in shows or not shows:
        raise ValueError(f"scenario {name!r}: expected one line about what it shows")

    def register(function):
        SCENARIOS[name] = Scenario(name, shows, function, rtl and not (stall or settings),
                                   settings, stall, {**_NEEDS, **dict(needs)})
        return function
    return register

"""How a scenario ended, and how one is played on a backend that is at hand."""

import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smmu_sim.scenarios.world import Check, World

__all__ = ["Outcome", "play_on"]


@dataclass
class Outcome:
    """The checks of one scenario, as plain values. A scenario without checks is not ok."""

    name: str
    checks: list = field(default_factory=list)

    @property
    def ok(self):
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def failures(self):
        """A line for each failed check."""
        return [f"{check.statement}: {check.detail}" for check in self.checks if not check.ok]

    def as_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        return cls(values["name"], [Check(**check) for check in values["checks"]])


def play_on(backend, scenario, tell=lambda entry: None):
    """Play a scenario on a backend; return the :class:`Outcome`. The backend is left as it was.

    An exception that the scenario does not expect is a failed check.
    """
    backend.reset()
    world = World(backend, tell)
    try:
        scenario.play(world)
    except BrokenPipeError:  # nobody listens to the story
        raise
    except Exception as error:  # whatever it is, the others shall be played
        where = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(where) if "scenarios" in frame.filename), where[-1])
        last = where[-1]
        world.check("the scenario comes to its end", False,
                    f"{type(error).__name__}: {error} ({_place(own)}"
                    + (f", {_place(last)})" if last is not own else ")"))
    finally:
        world.close()
    return Outcome(scenario.name, world.checks)


def _place(frame):
    return f"{Path(frame.filename).name}, line {frame.lineno}"

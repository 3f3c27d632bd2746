"""Part 2 of the main job: what a real Linux did with an SMMU, replayed."""

from dataclasses import dataclass, field
from pathlib import Path

from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, CMDQ_BASE, COUNTERS

from smmu_sim.player import Mismatch, replay
from smmu_sim.scenario_files import load_scenarios, unmet_requirements

__all__ = ["TRACES", "TraceOutcome", "load", "play"]

TRACES = ("linux-7.2.13.jsonl.gz", "linux-7.2.13-nested-a.jsonl.gz",
          "linux-7.2.13-nested-b.jsonl.gz")
_TELL_EACH = 50  # accesses


@dataclass
class TraceOutcome:
    """What the replay of one file found. Plain values, as those of part 1."""

    file: str
    steps: int = 0
    expectations: int = 0
    commands: int = 0
    accesses: int = 0
    mismatches: list = field(default_factory=list)
    counters: dict = field(default_factory=dict)
    latencies: list = field(default_factory=list)
    lacking: list = field(default_factory=list)  # what the SMMU lacks, so it was not played

    @classmethod
    def from_dict(cls, values):
        return cls(**{**values, "mismatches": [Mismatch(**m) for m in values["mismatches"]]})


def load(folder, names=TRACES):
    """Return ``{file name: [Scenario]}``. Raises :exc:`ScenarioFileError`."""
    return {name: load_scenarios(Path(folder) / name) for name in names}


def _counters(backend):
    register = BY_NAME["COUNTER"]
    return {name: backend.read64(register.at(n)) for n, name in enumerate(COUNTERS)}


def _commands(scenario):
    """The number of commands that the recorded driver published."""
    count, last, log2size = 0, 0, 0
    for step in scenario.steps:
        if "reg" not in step:
            continue
        _, offset, value = step["reg"]
        if offset == BY_NAME["CMDQ_BASE"].offset:
            log2size = plain(CMDQ_BASE).LOG2SIZE(value)
        elif offset == BY_NAME["CMDQ_PROD"].offset:
            count, last = count + (value - last) % (2 << log2size), value
    return count


class _Told:
    """A backend that tells how many accesses devices have made."""

    def __init__(self, backend, total, told):
        self._backend, self._total, self._told, self._done = backend, total, told, 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def dma(self, transaction):
        self._done += 1
        if self._done % _TELL_EACH == 0:
            self._told(self._done / self._total)
        return self._backend.dma(transaction)


def play(backend, scenarios, step=lambda text, share=None: None):
    """Replay files on a backend; return a :class:`TraceOutcome` for each.

    ``step(text, share)`` tells how far it is, ``share`` from 0 to 1.
    """
    outcomes = []
    for name, several in scenarios.items():
        step(f"replaying {name}", 0.0)
        outcome = TraceOutcome(name)
        outcomes.append(outcome)
        outcome.lacking = sorted({requirement for scenario in several for requirement
                                  in unmet_requirements(scenario, backend.params)})
        if outcome.lacking:
            continue
        first = len(getattr(backend, "latencies", ()))

        def done(scenario, outcome=outcome):
            outcome.steps += len(scenario.steps)
            outcome.commands += _commands(scenario)
            outcome.accesses += sum("dma" in step for step in scenario.steps)
            for counter, value in _counters(backend).items():
                outcome.counters[counter] = outcome.counters.get(counter, 0) + value

        total = sum("dma" in each for scenario in several for each in scenario.steps)
        told = _Told(backend, total, lambda share, name=name: step(f"replaying {name}", share))
        report = replay(told, several, done)
        outcome.expectations, outcome.mismatches = report.expectations, report.mismatches
        outcome.latencies = list(getattr(backend, "latencies", ()))[first:]
    return outcomes

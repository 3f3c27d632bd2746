"""The lines that the guest's scripts write, out of everything on its console."""

import re
from dataclasses import dataclass, field

__all__ = ["GuestReport", "Reported"]

_LINE = re.compile(r"(CHECK|VALUE|STAGE|LOG) (.*)")
_DONE = "CHECKS DONE"


@dataclass(frozen=True)
class Reported:
    """What the guest found out by itself."""

    ok: bool
    detail: str


@dataclass
class GuestReport:
    """The report of one boot, as far as it came.

    ``checks`` is ``{name: Reported}``; of two with the same name a failed one stays. ``values`` is
    ``{name: [text]}``, in order. ``log`` are the lines of the kernel's log that the guest passed
    on. ``stage`` is the last one that it started, ``done`` tells that it came to the end.
    """

    checks: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)
    log: list = field(default_factory=list)
    stage: str = ""
    done: bool = False

    @classmethod
    def from_console(cls, text):
        """Read the whole console; lines that are not ours are passed over."""
        report = cls()
        for line in text.splitlines():
            report.add(line)
        return report

    def add(self, line):
        """Take in one line of the console."""
        line = line.rstrip()
        if line == _DONE:
            self.done = True
        elif found := _LINE.match(line):
            getattr(self, f"_add_{found[1].lower()}")(found[2])

    def value(self, name, default=""):
        """Return the last text with this name."""
        return self.values.get(name, [default])[-1]

    def _add_check(self, text):
        name, verdict, detail = f"{text}  ".split(" ", 2)
        reported = Reported(verdict == "ok", detail.strip())
        if name not in self.checks or self.checks[name].ok:
            self.checks[name] = reported

    def _add_value(self, text):
        name, _, value = text.partition(" ")
        self.values.setdefault(name, []).append(value)

    def _add_log(self, text):
        self.log.append(text)

    def _add_stage(self, text):
        self.stage = text

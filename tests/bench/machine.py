"""The machine the bench runs on: its cores, who uses them, and what a process has used.

Nothing here knows what is measured. A figure is only worth something when nobody else was running, so whoever measures
asks `wait_until_quiet` before, and `Watch` after: CPU time of the two cores that was neither idle nor ours.
"""
import os
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
QUIET = 0.06  # share of one core that others may use while a figure is taken


class Busy(Exception):
    """Something else uses the machine."""


def cores():
    """(server's core, client's core): two of those this process may use; with one core alone both are it."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1 % len(allowed)])


def crowd_cores():
    """Where the clients of a crowd may run, who need more time than their server: on all cores but the server's, or where
    that leaves one alone, on both. The server gets what is fair of its own, and always has something to do."""
    allowed = os.sched_getaffinity(0)
    others = allowed - {cores()[0]}
    return others if len(others) > 1 else allowed


def busy_seconds():
    """CPU seconds of all cores that were not idle (user, system, irq ... without idle, iowait, steal)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TICK


def cpu_seconds(pid):
    """User and system, of a process and all its threads, so far: to the microsecond, where /proc/PID/stat counts ticks."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid returns: CPUCLOCK_SCHED of that process


def wanted_seconds(pid):
    """Seconds that the threads of a process ran or waited for a core, so far: when it had something to do."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(nanoseconds) for file in files for nanoseconds in file.read_text().split()[:2]) / 1e9


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_until_quiet(patience, share=QUIET):
    """Returns when all cores together were busy for less than `share` of one core for half a second."""
    until = time.monotonic() + patience
    while True:
        before, began = busy_seconds(), time.monotonic()
        time.sleep(0.5)
        used = (busy_seconds() - before) / (time.monotonic() - began)
        if used < share:
            return
        if time.monotonic() > until:
            raise Busy(f"other programs use {used:.0%} of a core")


class Watch:
    """How much CPU time others took while it ran: `others(ours)` in seconds, and as a share of the time."""

    def __init__(self):
        self.before, self.began = busy_seconds(), time.monotonic()

    def others(self, ours):
        elapsed = time.monotonic() - self.began
        return max(0.0, busy_seconds() - self.before - ours) / elapsed


def start(command, *cores, **kwargs):
    return subprocess.Popen(command, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores), **kwargs)

#!/usr/bin/env python3
"""Measure what the watcher spends when a container is started and stopped beside others that only stand there.

    cargo build --release
    tests/bench/mounts.py [--ccwatch target/release/ccwatch] [--others 10,200] [--rounds 3]

Needs root. For a container stands its overlay of twelve layers, mounted and unmounted a hundred times; printed is the CPU
of the thread that watches mounts, for each time. In pairs: mounts listed by number, where the kernel does (6.11), and all
of mountinfo read each time, as on older ones, whose calls tests/common/older.c leaves it. It is no test: it judges nothing.
"""
import argparse, os, tempfile, time
from pathlib import Path

from measure import HERE, Syslog, Watcher, sh

TIMES = 100
# Longer than the watcher waits for what else changes.
APART = 0.012


class Overlays:
    """Mounts in a directory of their own."""

    def __init__(self, base):
        self.base = base
        sh("mount", "-t", "tmpfs", "none", base)
        self.layers = [base / f"layer{n}" for n in range(12)]
        for layer in self.layers:
            layer.mkdir()

    def mount(self, name):
        upper, work, merged = (self.base / f"{name}-{part}" for part in ("upper", "work", "merged"))
        for directory in (upper, work, merged):
            directory.mkdir(exist_ok=True)
        lower = ":".join(map(str, self.layers))
        sh("mount", "-t", "overlay", "none", merged, "-o", f"lowerdir={lower},upperdir={upper},workdir={work}")

    def unmount(self, name):
        # As container runtimes do it.
        sh("umount", "-l", self.base / f"{name}-merged")


def cpu(watcher):
    """Nanoseconds of its thread that watches mounts."""
    [task] = [t for t in Path(f"/proc/{watcher.pid}/task").iterdir() if (t / "comm").read_text() == "mounts\n"]
    return int((task / "schedstat").read_text().split()[0])


def measure(command, overlays):
    with tempfile.TemporaryDirectory() as home:
        watcher = Watcher(command, Path(home), Syslog(Path(home) / "log").path, {})
        try:
            before = cpu(watcher)
            for _ in range(TIMES):
                overlays.mount("one")
                time.sleep(APART)
                overlays.unmount("one")
                time.sleep(APART)
            # What it believes for a second is asked for again.
            time.sleep(1.5)
            return (cpu(watcher) - before) / TIMES / 1e6
        finally:
            watcher.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ccwatch", default="target/release/ccwatch")
    parser.add_argument("--others", default="10,200")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        older = f"{base}.older"
        sh("gcc", "-O2", "-o", older, HERE.parent / "common/older.c")
        overlays = Overlays(Path(base))
        count = 0
        try:
            for others in map(int, options.others.split(",")):
                for count in range(count, others):
                    overlays.mount(count)
                count = others
                for _ in range(options.rounds):
                    listed, read = (measure([*before, options.ccwatch], overlays) for before in ([], [older, "6.7"]))
                    print(f"{others} others: {listed:.2f} ms a start and stop, {read:.2f} with mountinfo", flush=True)
        finally:
            for name in range(count):
                overlays.unmount(name)
            sh("umount", "-l", base)
            os.unlink(older)


main()

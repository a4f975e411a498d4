#!/usr/bin/env python3
"""Measure what the watcher costs the programs it watches, by kind of work and by sensor.

    cargo build --release
    tests/bench/loads.py [--ccwatch target/release/ccwatch] [--rounds 7] [--sensors both,connector,...] [--loads tool,...]

Needs root, a running Docker Engine (without one: `dockerd --bridge none --iptables=false &`), gcc, and a machine that
does nothing else. In each round each load runs without the watcher, with it, and without it again; printed are, of its
time with the watcher over the mean of those beside it, the median and each round's. It is no test: it judges nothing.

    tool     10,000 execs of a static program that lives 30 us, in a container, under a name that is no compiler's
    dynamic  3,000 execs of a program with libc, in a container
    memory   10,000 execs of the static program from a tmpfs, where no verdict is remembered
    host     10,000 execs of the static program, on the host
    unpack   tar unpacks 50,000 files in a container
    grep     grep -r over these
    gcc      10,000 execs of the static program in a container, named gcc; also the share that was counted as such

    both       the connector and fanotify's exec events
    connector  fanotify = "off"
    fanotify   proc-connector = "off"
    open       fanotify = "open", as on kernels without exec events
"""
import argparse, json, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

from measure import HERE, Syslog, Watcher, closes, sh

SENSORS = {
    "both": {},
    "connector": {"fanotify": "off"},
    "fanotify": {"proc-connector": "off"},
    "open": {"fanotify": "open"},
}
FILES = 50_000
STATIC, DYNAMIC = 10_000, 3_000
IMAGE = "ccwatch-loads:1"


def with_libraries(root, program):
    """Copies a program and what it is linked with to the places that they have here."""
    path = shutil.which(program)
    libraries = [word for word in sh("ldd", path).split() if word.startswith("/")]
    for file in [path, *libraries]:
        place = root / file.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return path


def image(work):
    root = work / "root"
    for d in ("usr/bin", "tmp"):
        (root / d).mkdir(parents=True)
    sh("gcc", "-nostdlib", "-static", "-s", "-o", root / "usr/bin/tool", HERE / "tiny.S")
    shutil.copy(root / "usr/bin/tool", root / "usr/bin/gcc")
    sh("gcc", "-O2", "-static", "-o", root / "usr/bin/storm", HERE / "storm.c")
    programs = {name: with_libraries(root, name) for name in ("true", "tar", "grep", "rm", "cp")}
    files = work / "files"
    for number in range(FILES):
        directory = files / str(number % 500)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / str(number)).write_bytes(b"nothing to be found here\n" * 40)
    sh("tar", "-C", files, "-cf", root / "files.tar", ".")
    shutil.rmtree(files)
    tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    sh("docker", "import", "-", IMAGE, stdin=tar.stdout)
    if tar.wait() != 0:
        sys.exit("tar failed")
    return programs


class Bench:
    def __init__(self, work, programs):
        self.work, self.programs = work, programs
        idle = ["/usr/bin/storm", "1000000000", "/none", "999000"]
        self.container = sh("docker", "run", "-d", "--network", "none", "--tmpfs", "/memory:exec", IMAGE, *idle)
        self.inside(programs["cp"], "/usr/bin/tool", "/memory/tool")
        self.inside(programs["tar"], "--one-top-level=/tmp/searched", "-xf", "/files.tar")

    def inside(self, *command):
        """Runs a command in the container: what it said, and the seconds it took."""
        begin = time.monotonic()
        done = subprocess.run(["docker", "exec", self.container, *command], capture_output=True, text=True)
        # grep finds nothing, which is 1.
        if done.returncode > (command[0] == self.programs["grep"]):
            sys.exit(f"{command}: {done.stderr}")
        return done.stdout, time.monotonic() - begin

    def run(self, load):
        """The time of one run, in whatever unit."""
        if load == "host":
            root = self.work / "root/usr/bin"
            return json.loads(sh(root / "storm", str(STATIC), root / "tool"))["us_per_exec"]
        if load in ("tool", "gcc", "memory", "dynamic"):
            count, program = STATIC, "/memory/tool" if load == "memory" else f"/usr/bin/{load}"
            if load == "dynamic":
                count, program = DYNAMIC, self.programs["true"]
            return json.loads(self.inside("/usr/bin/storm", str(count), program)[0])["us_per_exec"]
        if load == "unpack":
            self.inside(self.programs["rm"], "-rf", "/tmp/unpacked")
            sh("sync")
            return self.inside(self.programs["tar"], "--one-top-level=/tmp/unpacked", "-xf", "/files.tar")[1]
        return self.inside(self.programs["grep"], "-r", "no such text", "/tmp/searched")[1]


def measure(bench, binary, home, sensors, load, rounds):
    """Each round's cost, and the least share of the execs that were counted."""
    ratios, share = [], 1.0
    for number in range(rounds):
        directory = home / f"{sensors}-{load}-{number}"
        directory.mkdir()
        before = bench.run(load)
        syslog = Syslog(directory / "log")
        watcher = Watcher([binary], directory, syslog.path, SENSORS[sensors])
        # It has read what runs already.
        time.sleep(1)
        during = bench.run(load)
        if load == "gcc":
            syslog.wait_closed(bench.container)
        watcher.stop()
        ratios.append(during / ((before + bench.run(load)) / 2))
        counted = sum(a["ccwatch"]["session"]["execs"] for _, a in syslog.received if closes(a, bench.container))
        share = min(share, counted / STATIC)
    return ratios, share


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--ccwatch", default=str(HERE.parent.parent / "target/release/ccwatch"))
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--sensors", default=",".join(SENSORS))
    ap.add_argument("--loads", default="tool,dynamic,host,unpack,grep,gcc")
    a = ap.parse_args()
    work = Path(tempfile.mkdtemp(prefix="ccwatch-loads-"))
    bench = None
    try:
        bench = Bench(work, image(work))
        print(f"{'sensors':<10} {'load':<8} {'time, x of none':>15} {'counted':>8}  each round")
        for sensors in a.sensors.split(","):
            for load in a.loads.split(","):
                ratios, share = measure(bench, a.ccwatch, work, sensors, load, a.rounds)
                counted = f"{share:.1%}" if load == "gcc" else ""
                each = " ".join(f"{ratio:.2f}" for ratio in ratios)
                print(f"{sensors:<10} {load:<8} {statistics.median(ratios):>15.2f} {counted:>8}  {each}", flush=True)
    finally:
        if bench:
            subprocess.run(["docker", "rm", "-f", bench.container], capture_output=True)
        subprocess.run(["docker", "rmi", "-f", IMAGE], capture_output=True)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

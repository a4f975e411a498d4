#!/usr/bin/env python3
"""Measure the watcher's own figures on this machine and print them beside their budgets.

    cargo build --release
    tests/bench/measure.py [--ccwatch target/release/ccwatch] [--fanotify auto|on|off] [--only ready,latency,...] [--json]

Needs root, a running Docker Engine (without one: `dockerd --bridge none --iptables=false &`), gcc, and a machine that
does nothing else. Takes about three minutes. It is no test: it judges nothing and its exit code says only whether it
could measure. What an exec costs with and without the watcher, and beside other tools, is compare.py's part.

    ready    from the watcher's start until it says `watching`, with all containers running; 20 starts
    latency  from just before the exec of a 5 ms program named gcc in a container, stamped there, until its `opened`
             alert is received on the syslog socket; `seen` the same file executed before, `new` the first exec of a file
    beside   the same for a file seen before, while another container executes an innocent 30 us program as fast as it can
    cpu100   CPU of the watcher while a container runs 100 programs a second for 20 s: `tool` lives 30 us, `nap` 5 ms
    cpu1000  the same with 1,000 a second, 10 s
    storm    20,000 execs of a 30-us program named gcc, as fast as they go: the share counted in sessions, the share
             that died unseen (`unexamined`), and what the socket dropped
    memory   resident and peak memory after all that, with all containers running
    idle     wake-ups (voluntary context switches of all its threads) in 30 s in which nothing happens

The containers come from an image of this directory's programs; everything that is started is stopped again.
"""
import argparse, contextlib, json, os, re, shutil, socket, statistics, subprocess, sys, tempfile, threading, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTAINERS = 10
SESSIONS = 15  # of one container in ten minutes: the sixteenth would share its session with all later ones


def sh(*command, **kw):
    return subprocess.run(command, check=True, capture_output=True, text=True, **kw).stdout.strip()


def state(alert):
    return alert["ccwatch"].get("session", {}).get("state")


def closes(alert, container):
    return state(alert) == "closed" and alert["container"]["id"] == container


class Syslog:
    """A datagram socket in place of /dev/log: each alert with the time of its arrival."""

    def __init__(self, path):
        self.path, self.received = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            data = self.socket.recv(65536)
            at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self.received.append((at, json.loads(data[data.index(b"{"):])))

    def wait_closed(self, container, since=0, seconds=60):
        """Waits for an alert that closes a session of this container, not among the first `since`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(closes(a, container) for _, a in self.received[since:]):
                return
            time.sleep(0.05)
        sys.exit("an awaited alert did not come")


class Watcher:
    def __init__(self, command, directory, syslog, sensors, gap="1s"):
        """`command`: the program and what stands before it; `sensors`: that section's keys."""
        config = directory / "ccwatch.toml"
        chosen = "".join(f'{key} = "{value}"\n' for key, value in sensors.items())
        config.write_text(
            f'[state]\ndirectory = "{directory}/state"\n[alert-file]\npath = "{directory}/alerts.json"\n'
            f'[syslog]\ntarget = "unix:{syslog}"\n[session]\ngap = "{gap}"\n'
            f"[sensors]\n{chosen}"
        )
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "run", "--config", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line.decode(errors="replace"))
            if line.startswith(b"watching"):
                break
        else:
            sys.exit(f"the watcher ended: {''.join(self.said)}")
        self.ready = time.monotonic() - begin
        self.pid = self.process.pid
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def stop(self):
        self.process.terminate()
        if self.process.wait(60) != 0:
            sys.exit(f"the watcher left with {self.process.returncode}")

    def cpu_seconds(self):
        """All threads, those that have ended too; in clock ticks, so only long runs tell something."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status(self, key):
        return int(re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.M).group(1))

    def switches(self):
        text = "".join(t.read_text() for t in Path(f"/proc/{self.pid}/task").glob("*/status"))
        return sum(int(n) for n in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M))

    def drops(self):
        """Drops of its connector sockets: last column but one of /proc/net/netlink, protocol 11."""
        inodes = set()
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd))
            if match:
                inodes.add(match.group(1))
        lines = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:]]
        return sum(int(f[8]) for f in lines if f[1] == "11" and f[9] in inodes)


def image(work):
    root = work / "root"
    for d in ("usr/bin", "bin", "tmp", "etc"):
        (root / d).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    for name in ("storm", "sessions"):
        sh("gcc", "-O2", "-static", "-o", root / "bin" / name, HERE / f"{name}.c")
    sh("gcc", "-O2", "-static", "-s", "-o", root / "usr/bin/nap", HERE / "nap.c")
    sh("gcc", "-nostdlib", "-static", "-s", "-o", root / "usr/bin/tool", HERE / "tiny.S")
    (root / "storm").mkdir()
    shutil.copy(root / "usr/bin/nap", root / "usr/bin/gcc")
    shutil.copy(root / "usr/bin/tool", root / "storm/gcc")
    tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    sh("docker", "import", "-", "ccwatch-measure:1", stdin=tar.stdout)
    if tar.wait() != 0:
        sys.exit("tar failed")


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def measure_ready(start, _containers, _syslog):
    times = []
    for _ in range(20):
        watcher = start()
        times.append(watcher.ready * 1000)
        watcher.stop()
    return [("ready, median", statistics.median(times), "ms", 200), ("ready, slowest of 20", max(times), "ms", 200)]


@contextlib.contextmanager
def storming(container):
    """An innocent program is executed there as fast as it can be, until the block ends."""
    ended = threading.Event()

    def storm():
        while not ended.is_set():
            sh("docker", "exec", container, "/bin/storm", "5000", "/usr/bin/tool")

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def latencies(start, containers, syslog):
    """Milliseconds from the exec to the alert in syslog: of new files, of those seen before, and of these by latency_us."""
    watcher = start()
    for c in containers:
        sh("docker", "exec", c, "/bin/sessions", str(SESSIONS), "/usr/bin/gcc", "30")
    syslog.wait_closed(containers[-1])
    watcher.stop()
    new, seen, own, known = [], [], [], set()
    for at, a in sorted(syslog.received, key=lambda r: r[0]):
        if state(a) != "opened":
            continue
        args = a["process"].get("args", [])
        if len(args) != 2 or not args[1].startswith("t="):
            continue
        container = a["container"]["id"]
        (seen if container in known else new).append((at - int(args[1][2:])) / 1e6)
        if container in known:
            own.append(a["ccwatch"]["latency_us"] / 1000)
        known.add(container)
    return new, seen, own


def rows_of(name, values, budgets):
    return [(f"{name}, p{p}", percentile(values, p), "ms", b) for p, b in zip((50, 99), budgets) if values]


def measure_latency(start, containers, syslog):
    new, seen, own = latencies(start, containers, syslog)
    expected = SESSIONS * len(containers)
    rows = [("alerts received with their stamp", len(new) + len(seen), f"of {expected}", expected)]
    rows += rows_of("latency seen", seen, (2, 10)) + rows_of("latency new", new, (50, None))
    return rows + rows_of("latency seen, latency_us", own, (2, 10))


def measure_beside(start, containers, syslog):
    with storming(containers[0]):
        _, seen, own = latencies(start, containers[1:], syslog)
    return rows_of("latency beside a storm", seen, (None, None)) + rows_of("the same, latency_us", own, (None, None))


def cpu(start, container, program, per_second, seconds):
    watcher = start()
    gap_us = 1_000_000 / per_second
    # The time that an exec takes itself comes off the gap, so that the rate is right.
    one = json.loads(sh("docker", "exec", container, "/bin/storm", "50", program, "1000"))["us_per_exec"] - 1000
    before, begin = watcher.cpu_seconds(), time.monotonic()
    done = json.loads(sh("docker", "exec", container, "/bin/storm", str(per_second * seconds), program, str(max(gap_us - one, 1))))
    used, passed = watcher.cpu_seconds() - before, time.monotonic() - begin
    watcher.stop()
    return used / passed * 100, done["execs"] / done["seconds"]


def measure_cpu(start, container, per_second, seconds, budget):
    rows = []
    for name in ("tool", "nap"):
        if name == "nap" and per_second > 150:
            continue  # one after another, a program of 5 ms cannot run that often
        percent, rate = cpu(start, container, f"/usr/bin/{name}", per_second, seconds)
        rows.append((f"cpu, {name} {rate:.0f}/s", percent, "% of a core", budget))
    return rows


def measure_storm(start, containers, syslog):
    watcher, container, execs = start(), containers[0], 20_000
    first = len(syslog.received)
    sh("docker", "exec", container, "/bin/storm", str(execs), "/storm/gcc")
    syslog.wait_closed(container, first)
    drops = watcher.drops()
    watcher.stop()
    alerts = [a for _, a in syslog.received[first:]]
    closed = [a for a in alerts if closes(a, container)]
    counted = sum(a["ccwatch"]["session"]["execs"] for a in closed)
    named = sum(c["execs"] for a in closed for c in a["ccwatch"]["session"]["compilers"] if c["name"] == "gcc")
    unexamined = sum(a["ccwatch"].get("coverage", {}).get("unexamined", 0) for a in closed)
    lost = sum(a["event"]["action"] == "events-lost" for a in alerts)
    return [
        ("storm, counted in sessions", counted / execs * 100, "%", None),
        ("storm, known as gcc", named / execs * 100, "%", None),
        ("storm, counted or unexamined", (counted + unexamined) / execs * 100, "%", 100),
        ("storm, dropped by the socket", drops, "events", 0),
        ("storm, events-lost alerts", lost, "", 0),
    ]


def measure_memory(start, containers, syslog):
    watcher = start()
    for c in containers:
        sh("docker", "exec", c, "/bin/sessions", "3", "/usr/bin/gcc", "10")
    sh("docker", "exec", containers[0], "/bin/storm", "5000", "/storm/gcc")
    time.sleep(5)
    rows = [("resident", watcher.status("VmRSS") / 1024, "MiB", 10), ("resident, anonymous", watcher.status("RssAnon") / 1024, "MiB", None),
            ("resident, peak", watcher.status("VmHWM") / 1024, "MiB", None)]
    watcher.stop()
    return rows


def measure_idle(start, containers, syslog):
    watcher = start()
    time.sleep(5)
    before = watcher.switches()
    time.sleep(30)
    rate = (watcher.switches() - before) / 30
    watcher.stop()
    return [("idle, wake-ups", rate, "a second", 1)]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--ccwatch", default=str(HERE.parent.parent / "target/release/ccwatch"))
    ap.add_argument("--fanotify", default="auto", choices=["auto", "on", "off"])
    ap.add_argument("--only", default="ready,latency,beside,cpu100,cpu1000,storm,memory,idle")
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    parts = {
        "ready": measure_ready,
        "latency": measure_latency,
        "beside": measure_beside,
        "cpu100": lambda start, c, _: measure_cpu(start, c[0], 100, 20, 1),
        "cpu1000": lambda start, c, _: measure_cpu(start, c[0], 1000, 10, None),
        "storm": measure_storm,
        "memory": measure_memory,
        "idle": measure_idle,
    }
    wanted = a.only.split(",")
    unknown = [w for w in wanted if w not in parts]
    if unknown:
        ap.error(f"unknown part {unknown[0]}; known: {', '.join(parts)}")
    work = Path(tempfile.mkdtemp(prefix="ccwatch-measure-"))
    containers, rows = [], []
    try:
        image(work)
        for _ in range(CONTAINERS):
            containers.append(sh("docker", "run", "-d", "--network", "none", "ccwatch-measure:1", "/usr/bin/nap", "forever"))
        time.sleep(2)
        for name in wanted:
            home = work / name
            home.mkdir()
            syslog = Syslog(home / "log")
            running = []

            def start():
                running.append(Watcher([a.ccwatch], home, syslog.path, {"fanotify": a.fanotify}))
                return running[-1]

            try:
                rows += [(name, *row) for row in parts[name](start, containers, syslog)]
            finally:
                for watcher in running:
                    if watcher.process.poll() is None:
                        watcher.process.kill()
                        watcher.process.wait()
    finally:
        for c in containers:
            subprocess.run(["docker", "rm", "-f", c], capture_output=True)
        subprocess.run(["docker", "rmi", "-f", "ccwatch-measure:1"], capture_output=True)
        shutil.rmtree(work, ignore_errors=True)
    print(f"{'figure':<36} {'measured':>12} {'unit':<14} {'budget':>8}")
    for _, figure, value, unit, budget in rows:
        print(f"{figure:<36} {value:>12.2f} {unit:<14} {'' if budget is None else budget:>8}")
    if a.json:
        print(json.dumps([dict(zip(("part", "figure", "value", "unit", "budget"), row)) for row in rows]))


if __name__ == "__main__":
    main()

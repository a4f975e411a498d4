# For tests/packages.sh: a root to install in, and what is asked of it. The caller has home and root, say and fail.
# shellcheck shell=bash disable=SC2154
lost=''

# A root of its own: this machine's, without what runs in it. The upper directory is in memory.
open_root() {
    close_root
    mkdir -p "$home/upper" "$root"
    mount -t tmpfs -o mode=755 none "$home/upper"
    mkdir "$home/upper/files" "$home/upper/work"
    mount -t overlay -o "lowerdir=/,upperdir=$home/upper/files,workdir=$home/upper/work" none "$root"
    mount -t proc proc "$root/proc"
    local directory device
    for directory in dev run; do mount -t tmpfs -o mode=755 none "$root/$directory"; done
    for device in null zero urandom random tty; do cp -a "/dev/$device" "$root/dev/$device"; done
    # A machine that starts no services would forbid it here too.
    rm -f "$root/usr/sbin/policy-rc.d"
    # Booted by SysV's init; without a runlevel nothing would be started, as in a chroot.
    rm -f "$root/usr/sbin/runlevel"
    printf '#!/bin/sh\necho N 2\n' >"$root/usr/sbin/runlevel"
    chmod 755 "$root/usr/sbin/runlevel"
    # Not what this machine has of ccwatch.
    rm -rf "$root/etc/ccwatch" "$root/var/lib/ccwatch" "$root/var/log/ccwatch"
    mkdir -p "$root/packages"
    cp "$home"/old/*.deb "$home"/old/*.rpm "$home"/new/*.deb "$home"/new/*.rpm "$root/packages"
}
close_root() {
    if [ -r "$root/run/ccwatch.pid" ]; then kill -KILL "$(cat "$root/run/ccwatch.pid")" 2>/dev/null; fi
    # One whose pid file a test has taken away.
    if [ "/proc/${lost:-none}/root/." -ef "$root/." ]; then kill -KILL "$lost"; fi
    local directory
    for directory in var/log/ccwatch proc dev run ''; do
        if mountpoint -q "$root/$directory"; then umount "$root/$directory" || umount -l "$root/$directory"; fi
    done
    if mountpoint -q "$home/upper"; then umount -l "$home/upper"; fi
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" </dev/null; }
# With a database of its own: dpkg's packages are none for rpm.
in_rpm() { rpm --root "$root" --dbpath /var/lib/rpm-of-test "$@" 2> >(grep -v "^rpm: " >&2) </dev/null; }
# What was written in this root, without what package managers and their triggers keep for themselves.
listing() {
    (cd "$home/upper/files" && find . \( -path ./packages -o -path ./var/lib/dpkg -o -path ./var/lib/rpm-of-test \
        -o -path ./var/cache -o -path ./var/log/dpkg.log -o -path ./var/log/alternatives.log \) -prune \
        -o ! -type d -print -o -name '*ccwatch*' -print | sort)
}
has() { [ -e "$root$1" ] || [ -L "$root$1" ] || fail "$2: $1 is missing"; }
has_not() { if [ -e "$root$1" ] || [ -L "$root$1" ]; then fail "$2: $1 is there"; fi; }
mode() {
    local is
    is=$(stat -c '%a %U:%G' "$root$2")
    [ "$is" = "$1 ${3:-root:root}" ] || fail "$2 is $is, not $1 ${3:-root:root}"
}
alerts() { cat "$root/var/log/ccwatch/alerts.json" 2>/dev/null || true; }
# code NUMBER COMMAND...: it ends with this exit code.
code() {
    local wanted=$1 is=0
    shift
    in_root "$@" >"$home/log" 2>&1 || is=$?
    [ "$is" = "$wanted" ] || fail "$*: $is and not $wanted: $(cat "$home/log")"
}
# eventually COMMAND...: it succeeds within 20 s.
eventually() {
    for _ in $(seq 200); do
        "$@" && return
        sleep 0.1
    done
    fail "never: $*; the last alerts: $(alerts | tail -n 3)"
}
# await TEXT: an alert with it.
await() { eventually grep -qsF -- "$1" "$root/var/log/ccwatch/alerts.json"; }
same() { [ "$1" = "$2" ] || fail "$3: $(diff <(echo "$1") <(echo "$2"))"; }

#!/usr/bin/env bash
# Boots a Debian with systemd and lives the package's life in it, tests/vm/guest.sh.
#
#   tests/vm/run.sh vm|container SUITE OLD.deb NEW.deb
#
# vm: a virtual machine, all in software if need be, with the suite's own kernel and its sensors. container: the same
# root in systemd-nspawn, where no connector is to be had. Needs root, debootstrap, and qemu-system-x86 or
# systemd-container; the roots are made once and kept in CCWATCH_ROOTS (target/roots).
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'tests/vm/run.sh: %s\n' "$*" >&2; }
[ $# -eq 4 ] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 64; }
mode=$1 suite=$2 old=$3 new=$4
roots=${CCWATCH_ROOTS:-$PWD/target/roots}
# Where apt gets this machine's packages from; debootstrap knows another where that is not said.
mirror=${CCWATCH_MIRROR:-$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m 1 '/debian/*$' || true)}
mkdir -p "$roots"
root=$roots/$suite

make_root() {
    say "debootstrap $suite"
    rm -rf "$root"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,udev,dbus,tcc,crun,procps,iproute2,linux-image-cloud-amd64 \
        "$suite" "$root.new" ${mirror:+"$mirror"} </dev/null >"$root.log" 2>&1 || { tail -n 3 "$root.log" >&2; return 1; }
    rm -rf "$root.new"/var/cache/apt/archives/*.deb "$root.new"/var/lib/apt/lists/*
    echo 0123456789abcdef0123456789abcdef >"$root.new/etc/machine-id"
    echo "ccwatch-$suite" >"$root.new/etc/hostname"
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        getty@tty1.service serial-getty@ttyS0.service console-getty.service systemd-logind.service \
        systemd-timesyncd.service dpkg-db-backup.timer; do
        ln -sf /dev/null "$root.new/etc/systemd/system/$unit"
    done
    # Everything in the journal, however fast it comes: it is what the test reads.
    mkdir -p "$root.new/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRateLimitBurst=0\n' \
        >"$root.new/etc/systemd/journald.conf.d/test.conf"
    cat >"$root.new/etc/systemd/system/test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=simple
ExecStart=/bin/sh -c 'mkdir -p /ccwatch-test; if [ -b /dev/nvme1n1 ]; then tar xf /dev/nvme1n1 -C /ccwatch-test; fi; sh /ccwatch-test/start; sync; systemctl poweroff -f -f'
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
UNIT
    ln -sf ../test.service "$root.new/etc/systemd/system/multi-user.target.wants/test.service"
    mv "$root.new" "$root"
}
[ -d "$root" ] || make_root
[ -z "${CCWATCH_ONLY_ROOT:-}" ] || exit 0

work=$(mktemp -d /var/tmp/ccwatch-vm.XXXXXX)
clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "${guest:-}" ]; then kill "$guest" 2>/dev/null || true; fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
mkdir "$work/test"
cp tests/vm/guest.sh "$work/test/"
cp "$old" "$work/test/old.deb"
cp "$new" "$work/test/new.deb"

began=$SECONDS
: >"$work/console"
case $mode in
vm)
    echo 'sh /ccwatch-test/guest.sh vm' >"$work/test/start"
    if [ ! -e "$root.ext4" ]; then
        mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -d "$root" "$root.ext4.new" 1800M
        mv "$root.ext4.new" "$root.ext4"
    fi
    tar cf "$work/test.tar" -C "$work/test" .
    truncate --size=%1M "$work/test.tar"
    # In software: a /dev/kvm inside of a virtual machine is often one that does not work.
    timeout 600 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -smp 2 -cpu max -m 1024 \
        -kernel "$(ls "$root"/boot/vmlinuz-*-cloud-amd64 | tail -n 1)" \
        -append "root=/dev/nvme0n1 rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=0 panic=-1" \
        -drive "file=$root.ext4,if=none,id=d0,format=raw,cache=unsafe,snapshot=on" -device nvme,drive=d0,serial=root \
        -drive "file=$work/test.tar,if=none,id=d1,format=raw,readonly=on" -device nvme,drive=d1,serial=test \
        -display none -serial stdio -monitor none -no-reboot -nic none </dev/null >"$work/console" 2>&1 &
    guest=$!
    ;;
container)
    # Its console is a pipe that journald does not know.
    echo 'sh /ccwatch-test/guest.sh container >/ccwatch-test/console 2>&1' >"$work/test/start"
    : >"$work/test/console"
    ln -sf test/console "$work/console"
    # A /run of its own: nspawn refuses one that lies on a disk.
    timeout 300 unshare --mount sh -c 'mount -t tmpfs none /run && exec "$@"' sh \
        systemd-nspawn -q -D "$root" --volatile=overlay --boot --register=no --keep-unit --console=pipe \
        --private-network --bind="$work/test:/ccwatch-test" </dev/null >"$work/nspawn" 2>&1 &
    guest=$!
    ;;
*) say "vm or container"; exit 64 ;;
esac
# What it says, as it comes.
tail --pid="$guest" -n +1 -f "$work/console" | stdbuf -oL tr -d '\r' | sed -u 's/^.*\(ok - \|NOT OK - \|failed: \)/\1/' | grep --line-buffered -E '^(ok - |NOT OK - |failed: |    )' || true
wait "$guest" || true
guest=''
if ! tr -d '\r' <"$work/console" | grep -q 'failed: 0$'; then
    say "$mode $suite failed; the end of its console:"
    tail -n 40 "$work/console" >&2
    exit 1
fi
say "$mode $suite: all well in $((SECONDS - began)) s"

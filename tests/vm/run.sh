#!/usr/bin/env bash
# Boots a Debian with systemd and lives the package's life in it, tests/vm/guest.sh.
#
#   tests/vm/run.sh vm|container SUITE OLD.deb NEW.deb
#   tests/vm/run.sh root SUITE
#
# vm: a virtual machine, all in software, with the suite's own kernel and its sensors; the package is installed there.
# container: the same root in systemd-nspawn, where no connector is to be had; the package is installed by chroot before
# systemd starts. Needs root, debootstrap, mke2fs, and qemu-system-x86 or systemd-container. The roots are made once and
# kept in CCWATCH_ROOTS (target/roots); root makes one and no more. Packages come from CCWATCH_MIRROR, else from where
# apt gets Debian's, else from debootstrap's own default.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'tests/vm/run.sh: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 64; }
mode=${1:-} suite=${2:-}
case $mode-$# in
vm-4 | container-4) old=$3 new=$4 ;;
root-2) ;;
*) usage ;;
esac
roots=${CCWATCH_ROOTS:-$PWD/target/roots}
root=$roots/$suite
mkdir -p "$roots"

# --- The root, as a directory and as a disk ---------------------------------------------------------------------------
mirror() {
    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | sed 1q
}
make_root() {
    local mirror=${CCWATCH_MIRROR:-$(mirror)} unit
    say "debootstrap $suite $mirror"
    # An interrupted debootstrap may have left its mounts.
    umount -l "$root.new/proc" "$root.new/sys" 2>/dev/null || true
    rm -rf --one-file-system "$root" "$root.ext4" "$root.new" "$root.ext4.new"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,udev,dbus,tcc,crun,procps,iproute2,linux-image-cloud-amd64 \
        "$suite" "$root.new" ${mirror:+"$mirror"} </dev/null >"$root.log" 2>&1 || { tail -n 3 "$root.log" >&2; return 1; }
    rm -rf "$root.new"/var/cache/apt/archives/*.deb "$root.new"/var/lib/apt/lists/*
    echo 0123456789abcdef0123456789abcdef >"$root.new/etc/machine-id"
    echo "ccwatch-$suite" >"$root.new/etc/hostname"
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        getty@tty1.service serial-getty@ttyS0.service console-getty.service systemd-logind.service \
        systemd-timesyncd.service dpkg-db-backup.timer; do
        ln -sf /dev/null "$root.new/etc/systemd/system/$unit"
    done
    # Everything in the journal, however fast it comes: it is what the test reads.
    mkdir -p "$root.new/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRateLimitBurst=0\n' \
        >"$root.new/etc/systemd/journald.conf.d/test.conf"
    # A virtual machine's test is an archive that is a disk; nspawn binds the directory.
    cat >"$root.new/etc/systemd/system/test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=simple
ExecStartPre=/bin/sh -c 'mkdir -p /ccwatch-test; udevadm settle; if [ -b /dev/vda ]; then tar xf /dev/vda -C /ccwatch-test; fi'
ExecStart=/bin/sh -c 'sh /ccwatch-test/start; sync; systemctl poweroff -f -f'
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
UNIT
    ln -sf ../test.service "$root.new/etc/systemd/system/multi-user.target.wants/test.service"
    mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -d "$root.new" "$root.ext4.new" 1800M </dev/null >>"$root.log" 2>&1
    mv "$root.new" "$root"
    mv "$root.ext4.new" "$root.ext4"
    echo "$made_by" >"$root.made-by"
}
# One that an older version of this script has made is made anew.
made_by=$(declare -f make_root | sha256sum)
[ "$(cat "$root.made-by" 2>/dev/null)" = "$made_by" ] || make_root
[ "$mode" != root ] || exit 0

# --- The guest --------------------------------------------------------------------------------------------------------
work=$(mktemp -d /var/tmp/ccwatch-vm.XXXXXX)
guest=''
clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "$guest" ]; then kill "$guest" 2>/dev/null && wait "$guest"; fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/test"
cp tests/vm/guest.sh "$work/test/"
cp "$old" "$work/test/old.deb"
cp "$new" "$work/test/new.deb"

began=$SECONDS
: >"$work/console"
case $mode in
vm)
    echo 'sh /ccwatch-test/guest.sh vm' >"$work/test/start"
    tar cf "$work/test.tar" -C "$work/test" .
    truncate --size=%1M "$work/test.tar"
    kernels=("$root"/boot/vmlinuz-*-cloud-amd64)
    # In software: a /dev/kvm inside of a virtual machine is often one that does not work. The root's driver is in the
    # kernel, the other disk's a module: two of a kind would get their names in the order in which they answer.
    timeout -k 10 600 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -smp 2 -cpu max -m 1024 \
        -kernel "${kernels[-1]}" \
        -append "root=/dev/nvme0n1 rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=0 panic=-1" \
        -drive "file=$root.ext4,if=none,id=root,format=raw,cache=unsafe,snapshot=on" -device nvme,drive=root,serial=root \
        -drive "file=$work/test.tar,if=virtio,format=raw,readonly=on" \
        -display none -serial stdio -monitor none -no-reboot -nic none </dev/null >"$work/console" 2>&1 &
    guest=$!
    ;;
container)
    # Its console is a pipe that journald does not know.
    echo 'sh /ccwatch-test/guest.sh container >/ccwatch-test/console 2>&1' >"$work/test/start"
    : >"$work/test/console"
    ln -sf test/console "$work/console"
    mkdir "$work/root" "$work/layers"
    cat >"$work/boot" <<'BOOT'
set -e
work=$1 lower=$2
mount --make-rprivate /
mount -t tmpfs none "$work/layers"
mkdir "$work/layers/upper" "$work/layers/work" "$work/layers/run"
mount -t overlay -o "lowerdir=$lower,upperdir=$work/layers/upper,workdir=$work/layers/work" none "$work/root"
# As somebody does who builds an image: nothing runs there, and nothing must be started there.
mkdir "$work/root/ccwatch-test"
cp "$work/test/old.deb" "$work/root/"
chroot "$work/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
    dpkg -i /old.deb >"$work/test/installed" 2>&1 || { cat "$work/test/installed"; exit 1; }
rm "$work/root/old.deb"
for process in /proc/[0-9]*; do
    [ ! "$process/root" -ef "$work/root" ] || { echo "started by chroot: $(tr '\0' ' ' <"$process/cmdline")"; exit 1; }
done
# A /run of its own: nspawn refuses one that lies on a disk.
mount -t tmpfs none /run
exec systemd-nspawn -q -D "$work/root" --boot --register=no --keep-unit --console=pipe --private-network \
    --bind="$work/test:/ccwatch-test"
BOOT
    timeout -k 10 300 unshare --mount sh "$work/boot" "$work" "$(realpath "$root")" </dev/null >"$work/nspawn" 2>&1 &
    guest=$!
    ;;
esac
# What it says, as it comes.
tail --pid="$guest" -n +1 -f "$work/console" | stdbuf -oL tr -d '\r' |
    sed -u 's/^.*\] sh\[[0-9]*\]: //' | grep --line-buffered -E '^(ok - |NOT OK - |failed: |    )' || true
wait "$guest" || true
guest=''
if ! tr -d '\r' <"$work/console" | grep -q 'failed: 0$'; then
    say "$mode $suite failed; the end of its console:"
    tail -qn 40 "$work/console" >&2
    if [ -e "$work/nspawn" ]; then tail -n 20 "$work/nspawn" >&2; fi
    exit 1
fi
say "$mode $suite: all well in $((SECONDS - began)) s"

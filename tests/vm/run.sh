#!/usr/bin/env bash
# Boots a Debian and lives the packages' life in it.
#
#   tests/vm/run.sh vm|reboot|container|sysv SUITE OLD NEW
#   tests/vm/run.sh root SUITE[-sysv]
#
# OLD and NEW are directories with a .deb and an .rpm each. vm: a virtual machine, all in software, with the suite's own
# kernel and its sensors; the .deb is installed there (guest.sh). reboot: the same with rsyslog and logrotate, and rebooted
# (reboot.sh). container: the same root in systemd-nspawn, where no connector is to be had; the .deb is installed by chroot
# before systemd starts (guest.sh), and after it the .rpm lives there (rpm.sh). sysv: a root whose process 1 is SysV's
# init; the .deb lives in it by chroot before it is booted, and as a service then (sysv.sh).
# Needs root, debootstrap, mke2fs, and qemu-system-x86 or systemd-container. The roots are made once and kept in
# CCWATCH_ROOTS (target/roots); root makes one and no more. Packages come from CCWATCH_MIRROR, else from where apt gets
# Debian's, else from debootstrap's own default.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'tests/vm/run.sh: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 64; }
mode=${1:-} suite=${2:-}
case $mode-$# in
vm-4 | reboot-4 | container-4) old=$3 new=$4 ;;
sysv-4) old=$3 new=$4 suite=$suite-sysv ;;
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
# bootstrap PACKAGES: a new root with them, in $root.new.
bootstrap() {
    local mirror=${CCWATCH_MIRROR:-$(mirror)}
    say "debootstrap ${suite%-sysv} $mirror, with $1"
    # An interrupted debootstrap may have left its mounts.
    umount -l "$root.new/proc" "$root.new/sys" 2>/dev/null || true
    rm -rf --one-file-system "$root" "$root.ext4" "$root.new" "$root.ext4.new"
    debootstrap --variant=minbase --include="$1" "${suite%-sysv}" "$root.new" ${mirror:+"$mirror"} </dev/null \
        >"$root.log" 2>&1 || { tail -n 3 "$root.log" >&2; return 1; }
    rm -rf "$root.new"/var/cache/apt/archives/*.deb "$root.new"/var/lib/apt/lists/*
    echo 0123456789abcdef0123456789abcdef >"$root.new/etc/machine-id"
    echo "ccwatch-$suite" >"$root.new/etc/hostname"
}
make_root() {
    local unit generator packages=systemd,systemd-sysv,udev,dbus,tcc,crun,procps,iproute2,linux-image-cloud-amd64,rpm,rsyslog,logrotate
    # The newest one's is large, and none of CI's.
    if [ "$suite" = trixie ]; then packages+=,podman; fi
    bootstrap "$packages"
    # syslog.socket, rsyslog, cron: the test that has the use for them unmasks them. The last two rows cost each boot a
    # second of a processor that is software.
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        getty@tty1.service serial-getty@ttyS0.service console-getty.service systemd-logind.service \
        systemd-timesyncd.service dpkg-db-backup.timer logrotate.timer cron.service rsyslog.service syslog.socket \
        dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount kmod-static-nodes.service \
        modprobe@.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service; do
        ln -sf /dev/null "$root.new/etc/systemd/system/$unit"
    done
    # Each systemctl daemon-reload runs all of them, and here they find nothing: no fstab, no encrypted disk. The one for
    # init scripts has something to find.
    mkdir -p "$root.new/etc/systemd/system-generators"
    for generator in "$root.new"/lib/systemd/system-generators/*; do
        if [ "${generator##*/}" != systemd-sysv-generator ]; then
            ln -s /dev/null "$root.new/etc/systemd/system-generators/${generator##*/}"
        fi
    done
    # As if systemd had seen this /usr before: otherwise the boot builds caches.
    touch "$root.new/etc/.updated" "$root.new/var/.updated"
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
}
# Where process 1 is SysV's init.
make_sysv_root() {
    local packages=sysvinit-core,procps
    # The newest one's asks for cron, whose packages ask for systemd's.
    if [ "$suite" != trixie-sysv ]; then packages+=,logrotate; fi
    bootstrap "$packages"
    # No terminal is there; the test begins once all of the runlevel has been started.
    sed -i '/getty/d' "$root.new/etc/inittab"
    echo 'test:2:once:/bin/sh -c "sh /ccwatch-test/start; poweroff -f"' >>"$root.new/etc/inittab"
    mv "$root.new" "$root"
}
case $suite in
*-sysv) make=make_sysv_root ;;
*) make=make_root ;;
esac
# One that an older version of this script has made is made anew.
made_by=$(declare -f bootstrap "$make" | sha256sum)
if [ "$(cat "$root.made-by" 2>/dev/null)" != "$made_by" ]; then
    $make
    echo "$made_by" >"$root.made-by"
fi
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
cp tests/vm/*.sh "$work/test/"
for kind in deb rpm; do
    cp "$old"/*.$kind "$work/test/old.$kind"
    cp "$new"/*.$kind "$work/test/new.$kind"
done

began=$SECONDS
: >"$work/console"
# boot DISK OPTION...: a virtual machine of which DISK is the root, to its end or to its reboot.
boot() {
    local disk=$1 kernels=("$root"/boot/vmlinuz-*-cloud-amd64)
    shift
    # In software: a /dev/kvm inside of a virtual machine is often one that does not work. The root's driver is in the
    # kernel, the other disk's a module: two of a kind would get their names in the order in which they answer.
    # Translated code is found again by its address (QEMU before 8.0): with random ones each exec is translated anew, which
    # takes five times as long.
    timeout -k 10 600 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -smp 2 -cpu qemu64,+rdrand -m 1024 \
        -kernel "${kernels[-1]}" -append "root=/dev/nvme0n1 rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=0 \
panic=-1 norandmaps mitigations=off audit=0 init_on_alloc=0" \
        -drive "file=$disk,if=none,id=root,format=raw,cache=unsafe$*" -device nvme,drive=root,serial=root \
        -drive "file=$work/test.tar,if=virtio,format=raw,readonly=on" \
        -display none -serial stdio -monitor none -no-reboot -nic none </dev/null >>"$work/console" 2>&1 &
    guest=$!
}
# What the guest says, as it comes, to its end, of which $status is the code.
listen() {
    tail --pid="$guest" -n +"${1:-1}" -f "$work/console" | stdbuf -oL tr -d '\r' |
        sed -u 's/^.*\] sh\[[0-9]*\]: //' | grep --line-buffered -E '^(ok - |NOT OK - |failed: |    )' || true
    status=0
    wait "$guest" || status=$?
    guest=''
}
# once_more_if_crashed BOOT: an emulator's segmentation fault, as of one boot in a hundred, says nothing of its guest.
once_more_if_crashed() {
    "$1"
    if [ "$status" = 139 ]; then
        say "the emulator crashed: once more"
        "$1"
    fi
}
as_shipped() { boot "$root.ext4" ,snapshot=on; listen; }
# Its own disk: what the first boot writes the second one finds.
on_a_new_disk() { cp --sparse=always "$root.ext4" "$work/disk"; boot "$work/disk"; listen; }
on_the_disk_again() { boot "$work/disk"; listen $((lines + 1)); }
# Everything to be said by so many scripts, each with nothing failed.
scripts=1
case $mode in
vm | reboot)
    if [ "$mode" = vm ]; then script='guest.sh vm'; else script=reboot.sh; fi
    echo "sh /ccwatch-test/$script" >"$work/test/start"
    tar cf "$work/test.tar" -C "$work/test" .
    truncate --size=%1M "$work/test.tar"
    if [ "$mode" = vm ]; then
        once_more_if_crashed as_shipped
    else
        scripts=2
        once_more_if_crashed on_a_new_disk
        lines=$(wc -l <"$work/console")
        once_more_if_crashed on_the_disk_again
    fi
    ;;
container | sysv)
    # Its console is a pipe that journald does not know.
    if [ "$mode" = container ]; then
        scripts=2
        tests='sh /ccwatch-test/guest.sh container; sh /ccwatch-test/rpm.sh'
    else
        tests='sh /ccwatch-test/sysv.sh'
    fi
    echo "{ $tests; } >/ccwatch-test/console 2>&1" >"$work/test/start"
    : >"$work/test/console"
    ln -sf test/console "$work/console"
    mkdir "$work/root" "$work/layers"
    timeout -k 10 300 unshare --mount sh tests/vm/boot-container.sh "$mode" "$work" "$(realpath "$root")" \
        </dev/null >"$work/nspawn" 2>&1 &
    guest=$!
    listen
    ;;
esac
if [ "$(tr -d '\r' <"$work/console" | grep -c 'failed: 0$')" != $scripts ]; then
    say "$mode $suite failed; the end of its console:"
    tail -qn 40 "$work/console" >&2
    if [ -e "$work/nspawn" ]; then tail -n 20 "$work/nspawn" >&2; fi
    exit 1
fi
say "$mode $suite: all well in $((SECONDS - began)) s"

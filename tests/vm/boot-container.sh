#!/bin/sh
# Boots a root directory as a container, in a mount namespace of its own: tests/vm/run.sh starts it there. Before that the
# .deb is installed by chroot, as somebody does who builds an image: nothing runs there, and nothing must be started there.
#
#   boot-container.sh container|sysv WORK LOWER
set -eu
mode=$1 work=$2 lower=$3
root=$work/root

mount --make-rprivate /
mount -t tmpfs none "$work/layers"
mkdir "$work/layers/upper" "$work/layers/work"
mount -t overlay -o "lowerdir=$lower,upperdir=$work/layers/upper,workdir=$work/layers/work" none "$root"
mkdir "$root/ccwatch-test"
mkdir "$root/packages"
cp "$work/test/old.deb" "$work/test/new.deb" "$root/packages"

fail() { echo "failed in the chroot: $*"; exit 1; }
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" </dev/null; }
dpkg_() {
    in_root dpkg "$@" >"$work/test/installed" 2>&1 || { cat "$work/test/installed"; fail "dpkg $*"; }
    for process in /proc/[0-9]*; do
        [ ! "$process/root" -ef "$root" ] || fail "dpkg $* started $(tr '\0' ' ' <"$process/cmdline")"
    done
}
# What is written, without what dpkg and its helpers keep for themselves; insserv orders the others' links anew, too.
listing() {
    (cd "$work/layers/upper" && find . \( -path ./packages -o -path ./ccwatch-test -o -path ./var/lib/dpkg -o -path ./var/log \
        -o -path ./var/cache \) -prune -o ! -type d -print |
        awk '/ccwatch/ || !/^.\/etc\/(init.d\/.depend|rc..d\/)/' | sort)
}
if [ "$mode" = sysv ]; then
    before=$(listing)
    dpkg_ -i /packages/old.deb
    dpkg_ -i /packages/old.deb
    echo '# changed' >>"$root/etc/ccwatch/ccwatch.toml"
    dpkg_ --force-confold -i /packages/new.deb
    [ "$(tail -n 1 "$root/etc/ccwatch/ccwatch.toml")" = '# changed' ] || fail "the upgrade changed the configuration"
    dpkg_ -r ccwatch
    [ -e "$root/etc/ccwatch/ccwatch.toml" ] || fail "removed and not purged, and the configuration is gone"
    dpkg_ -P ccwatch
    after=$(listing)
    [ "$before" = "$after" ] || fail "left after the purge: $after"
    [ ! -e "$root/var/log/ccwatch" ] && [ ! -e "$root/var/lib/ccwatch" ] || fail "state or alerts are left after the purge"
    echo "the .deb in a chroot: all well" >>"$work/test/console"
fi
dpkg_ -i /packages/old.deb
rm -r "$root/packages"
# A /run of its own: nspawn refuses one that lies on a disk.
mount -t tmpfs none /run
exec systemd-nspawn -q -D "$root" --boot --register=no --keep-unit --console=pipe --private-network \
    --bind="$work/test:/ccwatch-test"

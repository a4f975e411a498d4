#!/usr/bin/env bash
# The life of the .rpm in a root of its own, with a systemctl that writes down how it is called, and with none.
#
#   tests/vm/rpm.sh WORK OLD.rpm NEW.rpm
set -euo pipefail
work=$1 old=$2 new=$3
fail() { echo "NOT OK - rpm: $*"; exit 1; }

# root NAME: what the scriptlets need and nothing else, from this machine's files.
root() {
    root=$work/rpm-$1
    mkdir -p "$root"/{bin,lib,lib64,usr/bin,etc,proc,var/run,run,tmp}
    local tool
    for tool in sh sed mkdir ln rm rmdir basename readlink sleep cat setsid tail kill; do
        cp -L "$(command -v $tool)" "$root/usr/bin/$tool"
    done
    cp -L /bin/sh "$root/bin/sh"
    { for tool in "$root"/usr/bin/* "$root/bin/sh"; do ldd "$tool" 2>/dev/null; done; } |
        grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
    # The program's own.
    ldd /bin/sh | grep -o '/[^ ]*libc\.so[^ ]*' | while read -r libc; do
        for library in libm.so.6 libpthread.so.0 libdl.so.2; do cp -L "$(dirname "$libc")/$library" "$root$(dirname "$libc")/"; done
    done
}
run() { rpm --root "$root" --nodeps --nosignature "$@"; }
calls() { sed 's/ --no-reload//; s/ --quiet//' "$root/calls" 2>/dev/null | tr '\n' ';'; rm -f "$root/calls"; }
expect() {
    local got
    got=$(calls)
    [ "$got" = "$2" ] || fail "$1 calls systemctl: $got; expected: $2"
}

root systemd
mkdir -p "$root/run/systemd/system"
cat >"$root/usr/bin/systemctl" <<'STUB'
#!/bin/sh
case $1 in
--version) echo 'systemd 219' ;;
*) echo "$*" >>/calls ;;
esac
STUB
chmod 755 "$root/usr/bin/systemctl"
run -i "$old"
expect install "daemon-reload;preset ccwatch.service;is-enabled ccwatch.service;start ccwatch.service;"
run -V ccwatch || fail "rpm -V after the installation"
[ "$(ls "$root/usr/lib/systemd/system/ccwatch.service.d")" = below-232.conf ] || fail "drop-ins for systemd 219"
[ "$(stat -c '%a' "$root/var/lib/ccwatch" "$root/var/log/ccwatch" "$root/etc/ccwatch/ccwatch.toml" | tr '\n' ' ')" = "700 750 640 " ] || fail modes
echo '# changed by the administrator' >>"$root/etc/ccwatch/ccwatch.toml"
sed -i 's/219/252/' "$root/usr/bin/systemctl"
run -U "$new"
expect upgrade "daemon-reload;daemon-reload;try-restart ccwatch.service;"
grep -q 'changed by the administrator' "$root/etc/ccwatch/ccwatch.toml" || fail "the changed configuration is not kept"
[ "$(run -V ccwatch | awk '{ print $NF }')" = /etc/ccwatch/ccwatch.toml ] || fail "rpm -V after the upgrade"
[ -e "$root/usr/lib/systemd/system/ccwatch.service.d/from-245.conf" ] || fail "drop-ins for systemd 252"
[ ! -e "$root/usr/lib/systemd/system/ccwatch.service.d/below-232.conf" ] || fail "drop-ins for old ones"
run -e ccwatch
expect erase "disable ccwatch.service;stop ccwatch.service;daemon-reload;"
left=$(find "$root" -name '*ccwatch*' ! -path "$root/var/lib/rpm/*" ! -path "$root/proc/*")
[ "$left" = "$root/etc/ccwatch
$root/etc/ccwatch/ccwatch.toml.rpmsave" ] || [ "$left" = "$root/etc/ccwatch/ccwatch.toml.rpmsave" ] || fail "left: $left"

root sysv
mount -t proc none "$root/proc"
cat >"$root/usr/bin/chkconfig" <<'STUB'
#!/bin/sh
echo "chkconfig $*" >>/calls
STUB
chmod 755 "$root/usr/bin/chkconfig"
run -i "$old"
# A root that is not the machine's own: nothing is started there.
expect install "chkconfig --add ccwatch;"
chroot "$root" /bin/sh /etc/rc.d/init.d/ccwatch start || fail "the init script does not start it"
before=$(cat "$root/var/run/ccwatch.pid")
run -U "$new"
expect upgrade ""
[ "$(cat "$root/var/run/ccwatch.pid")" != "$before" ] || fail "the upgrade does not restart it"
chroot "$root" /bin/sh /etc/rc.d/init.d/ccwatch status || fail "it does not run"
run -e ccwatch
expect erase "chkconfig --del ccwatch;"
[ ! -e "$root/var/run/ccwatch.pid" ] || fail "the removal does not stop it"
umount "$root/proc"
echo "ok - rpm"

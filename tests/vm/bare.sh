#!/bin/sh
# The life of the .deb where systemd does not run: run by tests/packages.sh in a chroot that has /old.deb and /new.deb.
#
#   bare.sh chroot    services are not to be started there (policy-rc.d), as where images are made
#   bare.sh sysv      they are, and nobody has systemctl
set -eu
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
fail() { echo "NOT OK - $*"; exit 1; }
init=/etc/init.d/ccwatch
[ ! -d /run/systemd/system ] || fail "systemd runs here"

rm -f /usr/sbin/policy-rc.d
if [ "$1" = chroot ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
else
    mv /usr/bin/systemctl /usr/bin/systemctl.away
fi
# The exit code of the init script.
status() { code=0; $init status || code=$?; echo "$code" >/code; }
expect() { [ "$(cat /code)" = "$1" ] || fail "status is $(cat /code), not $1"; }
pid() { cat /var/run/ccwatch.pid; }

dpkg -i /old.deb
[ "$(stat -c %a /var/lib/ccwatch /var/log/ccwatch /etc/ccwatch/ccwatch.toml | tr '\n' ' ')" = "700 750 640 " ] || fail modes
[ -e /etc/rc2.d/S*ccwatch ] || fail "not enabled for runlevel 2"
status
if [ "$1" = chroot ]; then
    expect 3
    [ -L /etc/systemd/system/multi-user.target.wants/ccwatch.service ] || fail "not enabled for a systemd to come"
else
    expect 0
    [ ! -e /lib/systemd/system/ccwatch.service.d ] || fail "drop-ins without systemd"
    first=$(pid)
    $init start
    [ "$(pid)" = "$first" ] || fail "a second start is a second watcher"
    $init reload
    $init force-reload
    $init try-restart
    [ "$(pid)" != "$first" ] || fail "not restarted"
fi

echo '# changed by the administrator' >>/etc/ccwatch/ccwatch.toml
sum=$(sha256sum /etc/ccwatch/ccwatch.toml)
if [ "$1" = sysv ]; then before=$(pid); fi
dpkg --force-confold -i /new.deb
[ "$(sha256sum /etc/ccwatch/ccwatch.toml)" = "$sum" ] || fail "the changed configuration is not kept"
if [ "$1" = sysv ]; then
    status; expect 0
    [ "$(pid)" != "$before" ] || fail "not restarted by the upgrade"
    for action in watcher-started watcher-stopped; do
        grep -q "\"action\":\"$action\"" /var/log/ccwatch/alerts.json || fail "no $action in the alert file"
    done
    $init stop
    status; expect 3
    $init stop
    # A service that fails makes no installation fail.
    cp /etc/ccwatch/ccwatch.toml /kept.toml
    echo 'nonsense = 1' >>/etc/ccwatch/ccwatch.toml
    code=0; $init start || code=$?
    [ "$code" = 6 ] || fail "a bad configuration is $code for the init script, not 6"
    dpkg --force-confold -i /new.deb
    cp /kept.toml /etc/ccwatch/ccwatch.toml
    $init start
    kill -9 "$(pid)"
    while [ -e "/proc/$(pid)/exe" ]; do sleep 0.1; done
    status; expect 1
    $init restart
    status; expect 0
    $init bogus 2>/dev/null && fail "an unknown verb is no error"
fi
for script in postinst prerm postrm; do sh -n "/var/lib/dpkg/info/ccwatch.$script"; done
sh /var/lib/dpkg/info/ccwatch.postinst configure 0
sh /var/lib/dpkg/info/ccwatch.prerm upgrade 1

dpkg -r ccwatch
if [ -e /var/run/ccwatch.pid ]; then fail "it still runs"; fi
[ -e /etc/ccwatch/ccwatch.toml ] || fail "configuration removed"
dpkg -P ccwatch
sh -c 'dpkg -P ccwatch' 2>/dev/null || true
left=$(find / -xdev \( -path /proc -o -path /run \) -prune -o -name '*ccwatch*' -print)
[ -z "$left" ] || fail "left: $left"
if [ "$1" = sysv ]; then mv /usr/bin/systemctl.away /usr/bin/systemctl; fi
rm -f /usr/sbin/policy-rc.d /kept.toml /code
echo "ok - $1"

#!/bin/sh
# The life of the .deb where SysV's init is process 1, in a container: there the kernel has no connector for the watcher.
. "$(dirname "$0")/checks.sh"

alerts() { cat /var/log/ccwatch/alerts.json; }
status() { service ccwatch status; }
is_dead() { status; [ $? = 1 ]; }
runs_not() { ! pgrep -x ccwatch; }
pid() { cat /var/run/ccwatch.pid; }

# --- Started by the boot ----------------------------------------------------------------------------------------------
check "process 1 is SysV's init" [ "$(cat /proc/1/comm)" = init ]
check "installed by chroot, it is started at the boot" status
check "in the runlevel's order" ls /etc/rc2.d/S*ccwatch /etc/rc0.d/K*ccwatch /etc/rc6.d/K*ccwatch
check "its start is told" alerted '"reason":"first-start"'
check "without the kernel's connector it says so" alerted '"action":"sensor-degraded".*"sensor":"connector"'
check "dpkg finds nothing changed" dpkg --verify ccwatch
modes() { stat -c %a /var/lib/ccwatch /var/log/ccwatch /etc/ccwatch/ccwatch.toml | tr '\n' ' '; }
check "state is for root alone" [ "$(modes)" = "700 750 640 " ]

# --- Upgraded ---------------------------------------------------------------------------------------------------------
echo '# changed by the administrator' >>/etc/ccwatch/ccwatch.toml
sum=$(sha256sum /etc/ccwatch/ccwatch.toml)
check "it is reloaded" service ccwatch reload
check "the changed configuration is read" alerted '"reason":"configuration-changed"'
before=$(pid)
last=$(numbers | tail -n 1)
check "dpkg upgrades it" dpkg --force-confold -i "$here/new.deb"
check "the changed configuration is kept" [ "$(sha256sum /etc/ccwatch/ccwatch.toml)" = "$sum" ]
check "it runs" status
check "it was restarted" [ "$(pid)" != "$before" ]
check "the start of the new one is told, with the gap" alerted '"reason":"after-stop".*"gap_ms":\|"gap_ms":.*"reason":"after-stop"'
check "event.sequence goes on without a gap" goes_on "${last:-0}"
kill -9 "$(pid)"
check "one that was killed is dead" await is_dead
check "it is started again" service ccwatch start
check "and says that one was killed" alerted '"reason":"after-kill"'
check "a restart" service ccwatch restart
check "it runs after it" status

# --- Rotated ----------------------------------------------------------------------------------------------------------
if command -v logrotate >/dev/null; then
    said=/var/log/ccwatch/ccwatch.log
    held=$(stat -c %i /var/log/ccwatch/alerts.json)
    lines=$(wc -l <$said)
    check "logrotate rotates" logrotate -f /etc/logrotate.d/ccwatch
    check "what it says of itself was copied" [ "$(zcat -f $said.1* | wc -l)" -ge "$lines" ]
    check "and cut" [ "$(wc -l <$said)" -lt "$lines" ]
    check "the alert file was moved" [ "$(stat -c %i /var/log/ccwatch/alerts.json.1)" = "$held" ]
    check "and is opened anew" await test -e /var/log/ccwatch/alerts.json
    echo '# changed again' >>/etc/ccwatch/ccwatch.toml
    check "it is reloaded again" service ccwatch reload
    check "the new file has its alerts" alerted '"reason":"configuration-changed"'
    check "and the log its words" await grep -q 'configuration was read again' $said
else
    echo "ok - no logrotate in this root: nothing is rotated"
fi

# --- A configuration that cannot be used ------------------------------------------------------------------------------
cp /etc/ccwatch/ccwatch.toml "$here/kept.toml"
echo 'nonsense = 1' >>/etc/ccwatch/ccwatch.toml
refused() { service ccwatch restart; [ $? = 6 ]; }
check "with a bad configuration the restart fails with LSB's 6" refused
check "dpkg installs all the same" dpkg --force-confold -i "$here/new.deb"
cp "$here/kept.toml" /etc/ccwatch/ccwatch.toml
check "with the good one it is started" service ccwatch start

# --- Disabled by the administrator, removed, purged -------------------------------------------------------------------
update-rc.d ccwatch disable
service ccwatch stop >/dev/null
check "dpkg installs it again" dpkg --force-confold -i "$here/new.deb"
check "what is disabled stays disabled" sh -c '! ls /etc/rc2.d/S*ccwatch'
check "and is not started" runs_not
update-rc.d ccwatch enable
service ccwatch start >/dev/null
check "dpkg removes it" dpkg -r ccwatch
check "it is stopped" runs_not
check "configuration and state are kept" test -e /etc/ccwatch/ccwatch.toml -a -e /var/lib/ccwatch/sequence
check "what is left of its script starts nothing, and is no failure" service ccwatch start
check "dpkg purges it" dpkg -P ccwatch
check "nothing of it is left" left
echo "failed: $failed"

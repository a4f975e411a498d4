#!/bin/sh
# The life of the .deb where systemd is process 1: in a virtual machine, where the sensors are those of a host, or in a
# container, where the kernel has no connector for them.
#
#   guest.sh vm|container
mode=$1
. "$(dirname "$0")/checks.sh"

# --- Installed --------------------------------------------------------------------------------------------------------
if [ "$mode" = vm ]; then
    check "dpkg installs it" dpkg -i "$here/old.deb"
else
    # By then all has started that the boot starts: this test is the last.
    monotonic() { systemctl show -p ActiveEnterTimestampMonotonic "$1" | sed 's/^[^=]*=//'; }
    check "installed by chroot, it is started at the boot" active
    check "the boot waits for it and goes on" [ "$(monotonic ccwatch.service)" -le "$(monotonic multi-user.target)" ]
fi
check "it is enabled" systemctl is-enabled ccwatch.service
check "it is active" active
check "no restart was needed" is NRestarts 0
check "the drop-ins are those for this systemd" fitting /lib/systemd/system
check "systemd says nothing against unit and drop-ins" sh -c '! journalctl --no-pager -q -b _PID=1 | grep -i "ccwatch.service.*:[0-9]*:"'
verified() {
    said=$(systemd-analyze verify --man=no /lib/systemd/system/ccwatch.service 2>&1 | grep ccwatch)
    echo "$said"
    [ -z "$said" ]
}
check "systemd-analyze verify is clean" verified
check "its start is told" alerted '"action":"watcher-started"'
modes() { stat -c %a /var/lib/ccwatch /var/log/ccwatch /etc/ccwatch/ccwatch.toml | tr '\n' ' '; }
check "state is for root alone" [ "$(modes)" = "700 750 640 " ]
check "doctor shows what it may do" sh -c 'ccwatch doctor | grep "watcher.*: 4 capabilities, no new privileges, system calls filtered"'
mkdir -p /srv/alerts
printf '[alert-file]\npath = "/srv/alerts/alerts.json"\n' >/etc/ccwatch/elsewhere.toml
check "doctor knows what the unit does not let it write to" sh -c 'ccwatch doctor --config /etc/ccwatch/elsewhere.toml | grep "degraded.*alert file.*ReadWritePaths"'
rm -r /etc/ccwatch/elsewhere.toml /srv/alerts

if [ "$mode" = vm ]; then
    check "every sensor is up" sh -c 'systemctl show -p StatusText ccwatch | tee /dev/stderr | grep -q "sensors connector, fanotify, procfs-poll" && ! systemctl show -p StatusText ccwatch | grep -q degraded'
    check "doctor finds nothing degraded" ccwatch doctor
    container_up >"$here/container" 2>&1
    # The unit gives it a mount namespace of its own, where a mark would see nothing.
    device=$(printf 'fanotify sdev:%x ' "$(stat -c %d /run/test-bundle/rootfs)")
    marked() { cat "/proc/$(show MainPID)"/fdinfo/* 2>/dev/null | grep "$device"; }
    check "the container's root is marked on the host" await marked
    check "a container compiles" container first tcc -c /answer.c -o /answer.o
    check "and is alerted through the journal" alerted '"action":"compiler-executed".*"tcc"'

    # Four seconds instead of a minute, and no call that the filter does not know.
    mkdir -p /run/systemd/system/ccwatch.service.d
    printf '[Service]\nWatchdogSec=4\nEnvironment=CCWATCH_REFUSED_CALL=kill\n' >/run/systemd/system/ccwatch.service.d/test.conf
    systemctl daemon-reload
    systemctl restart ccwatch
    check "active with a watchdog of four seconds" active
    check "the end of what had compiled is alerted, by then" alerted '"state":"closed".*"tcc"\|"tcc".*"state":"closed"'
    restarted() { [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ] && [ "$(show ActiveState)" = active ]; }
    pid=$(show MainPID)
    kill -9 "$pid"
    check "after kill -9 it is started again" await restarted "$pid"
    check "and says that one was killed" alerted '"reason":"after-kill"'
    # Its arguments may be gone: one container is one alert, and this one has none from before.
    seen_since_the_start() { alerts | awk '/"watcher-started"/ { seen = 0 } /"compiler-executed"/ && /tcc/ { seen = 1 } END { exit !seen }'; }
    pid=$(show MainPID)
    kill -STOP "$pid"
    check "after SIGSTOP the watchdog starts it again" await restarted "$pid"
    check "the watchdog it was" sh -c 'journalctl --no-pager -q -b -u ccwatch | grep -i "watchdog timeout"'
    check "a container compiles again" container second tcc -c /answer.c -o /second.o
    check "and it is alerted as before" await seen_since_the_start
else
    check "without the kernel's connector it says so" alerted '"action":"sensor-degraded".*"sensor":"connector"'
fi

# --- Reloaded ---------------------------------------------------------------------------------------------------------
echo '# changed by the administrator' >>/etc/ccwatch/ccwatch.toml
sum=$(sha256sum /etc/ccwatch/ccwatch.toml)
check "it is reloaded" systemctl reload ccwatch
check "the changed configuration is read" alerted '"reason":"configuration-changed"'

# --- Upgraded, with a configuration that cannot be used, removed -------------------------------------------------------
# Each installation takes ten seconds of a processor that is software: what needs none of the machine's sensors is tested
# in the container. reboot.sh has an upgrade while something compiles.
if [ "$mode" = container ]; then
    pid=$(show MainPID)
    last=$(numbers | tail -n 1)
    check "dpkg upgrades it" dpkg --force-confold -i "$here/new.deb"
    check "the changed configuration is kept" sh -c "[ \"\$(sha256sum /etc/ccwatch/ccwatch.toml)\" = '$sum' ]"
    check "it is active" active
    check "it was restarted" sh -c "[ $(show MainPID) != $pid ]"
    check "it is the new one" sh -c "[ \"\$(dpkg-query -W -f '\${Version}' ccwatch)\" = \"\$(dpkg-deb -f '$here/new.deb' Version)\" ]"
    check "the end of the old one is told" alerted '"action":"watcher-stopped"'
    check "the start of the new one is told, with the gap" alerted '"reason":"after-stop".*"gap_ms":\|"gap_ms":.*"reason":"after-stop"'
    check "event.sequence goes on without a gap" goes_on "${last:-0}"

    cp /etc/ccwatch/ccwatch.toml "$here/kept.toml"
    echo 'nonsense = 1' >>/etc/ccwatch/ccwatch.toml
    systemctl restart ccwatch >/dev/null 2>&1
    check "with a bad configuration it fails with 78" await is ExecMainStatus 78
    check "and is not started again and again" is NRestarts 0
    check "dpkg installs all the same" dpkg --force-confold -i "$here/new.deb"
    cp "$here/kept.toml" /etc/ccwatch/ccwatch.toml
    systemctl reset-failed ccwatch
    systemctl start ccwatch
    check "with the good one it is active again" active

    # Disabled by the administrator, and removed.
    systemctl disable ccwatch >/dev/null 2>&1
    check "dpkg installs it again" dpkg --force-confold -i "$here/new.deb"
    check "what is disabled stays disabled" sh -c '! systemctl is-enabled ccwatch.service'
    check "dpkg removes it" dpkg -r ccwatch
    check "it is stopped" sh -c '! pgrep -x ccwatch'
    check "configuration and state are kept" test -e /etc/ccwatch/ccwatch.toml -a -e /var/lib/ccwatch/sequence
    systemctl daemon-reload
    systemctl start ccwatch 2>/dev/null
    check "what is left of it is no unit that fails" sh -c '! systemctl is-failed ccwatch.service'
fi

# --- Purged -----------------------------------------------------------------------------------------------------------
check "dpkg purges it" dpkg -P ccwatch
rm -f /run/systemd/system/ccwatch.service.d/test.conf
check "nothing of it is left" left
echo "failed: $failed"

#!/bin/sh
# The life of the .rpm where systemd is process 1: what its scriptlets do there. The rpm database is one of the test's, in
# which nothing else is installed.
. "$(dirname "$0")/checks.sh"

rpm_() { rpm --dbpath /run/test-rpm "$@"; }
is_not_there() { ! systemctl cat ccwatch.service; }
runs_not() { ! pgrep -x ccwatch; }
presets=/etc/systemd/system-preset

# --- Installed --------------------------------------------------------------------------------------------------------
check "rpm installs it" rpm_ -i --nodeps "$here/old.rpm"
check "its preset enables it" systemctl is-enabled ccwatch.service
check "it is active" active
check "no restart was needed" is NRestarts 0
check "the drop-ins are those for this systemd" fitting /usr/lib/systemd/system
check "rpm -V finds nothing changed" rpm_ -V --nodeps ccwatch
modes() { stat -c %a /var/lib/ccwatch /var/log/ccwatch /etc/ccwatch/ccwatch.toml | tr '\n' ' '; }
check "state is for root alone" [ "$(modes)" = "700 750 640 " ]

# --- Upgraded ---------------------------------------------------------------------------------------------------------
echo '# changed by the administrator' >>/etc/ccwatch/ccwatch.toml
sum=$(sha256sum /etc/ccwatch/ccwatch.toml)
only_the_configuration() { [ "$(rpm_ -V --nodeps ccwatch | awk '{ print $NF }')" = /etc/ccwatch/ccwatch.toml ]; }
check "rpm -V finds the changed configuration alone" only_the_configuration
pid=$(show MainPID)
last=$(numbers | tail -n 1)
check "rpm upgrades it" rpm_ -U --nodeps "$here/new.rpm"
check "it is the new one" [ "$(rpm_ -q --qf '%{VERSION}' ccwatch)" = 99.0 ]
check "the changed configuration is kept" [ "$(sha256sum /etc/ccwatch/ccwatch.toml)" = "$sum" ]
check "it is active" active
check "it was restarted" [ "$(show MainPID)" != "$pid" ]
check "event.sequence goes on" [ "$(numbers | tail -n 1)" -gt "${last:-0}" ]
check "it is still enabled" systemctl is-enabled ccwatch.service
check "its drop-ins are still there" fitting /usr/lib/systemd/system
systemctl stop ccwatch
check "rpm installs it again" rpm_ -U --nodeps --force "$here/new.rpm"
check "what is stopped stays stopped" is ActiveState inactive
systemctl start ccwatch

# --- A configuration that cannot be used ------------------------------------------------------------------------------
echo 'nonsense = 1' >>/etc/ccwatch/ccwatch.toml
pid=$(show MainPID)
# One that only the old package had: its file goes after the new one's are there.
obsolete=/usr/lib/systemd/system/ccwatch.service.d/from-1.conf
ln -s /usr/lib/ccwatch/systemd/from-1.conf $obsolete
check "a configuration that cannot be used hinders no upgrade" rpm_ -U --nodeps --force "$here/new.rpm"
check "the watcher goes on as it was" is MainPID "$pid"
check "a drop-in that the new one has not is gone" [ ! -L $obsolete ]
echo '# changed by the administrator' >/etc/ccwatch/ccwatch.toml
check "with a good one the upgrade restarts it" rpm_ -U --nodeps --force "$here/new.rpm"
check "it is active again" active
check "as another process" [ "$(show MainPID)" != "$pid" ]

# --- Erased -----------------------------------------------------------------------------------------------------------
check "rpm erases it" rpm_ -e ccwatch
check "it is stopped" runs_not
check "its unit is gone" is_not_there
# State, alerts and the changed configuration are the administrator's.
check "nothing else of it is left" left '^(/var/l(ib|og)/ccwatch|/etc/ccwatch|/etc/ccwatch/ccwatch.toml.rpmsave)$'

# --- Forbidden by the administrator's preset --------------------------------------------------------------------------
mkdir -p $presets
echo 'disable ccwatch.service' >$presets/00-test.preset
check "rpm installs it against a preset" rpm_ -i --nodeps "$here/old.rpm"
check "it is not enabled" sh -c '! systemctl is-enabled ccwatch.service'
check "and not started" runs_not
check "rpm erases it again" rpm_ -e ccwatch
rm -rf $presets/00-test.preset /var/lib/ccwatch /var/log/ccwatch /etc/ccwatch
echo "failed: $failed"

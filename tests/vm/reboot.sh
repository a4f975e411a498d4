#!/bin/sh
# The package on a machine that goes on: rsyslog is its log, logrotate rotates, containers are podman's where there is one,
# and the machine is rebooted. Started at each boot; the first one installs.
. "$(dirname "$0")/checks.sh"

stage=/var/lib/test-stage
# As rsyslog writes them by the example that comes with the package.
log=/var/log/ccwatch/syslog.json
file=/var/log/ccwatch/alerts.json
# Written by rsyslog anew: with blanks, and with slashes escaped.
alerts() { cat $log.1 $log 2>/dev/null | sed 's/": /":/g; s/\\\//\//g'; }
sequences() { cat $file.1 $file 2>/dev/null | sed -n 's/.*"sequence":\([0-9]*\).*/\1/p'; }
contiguous() { sequences | awk '$1 != NR { print NR, $1; bad = 1; exit } END { print NR, "alerts"; exit bad || NR == 0 }'; }
# What the alert file has, the log has too, as far as it was there to hear it: from FIRST on.
same_in_both() {
    sequences | awk -v first="$1" '$1 >= first' >"$here/of-file"
    numbers | awk -v first="$1" '$1 >= first' >"$here/of-log"
    diff "$here/of-file" "$here/of-log"
}
every_sensor() { show StatusText; show StatusText | grep -q 'sensors connector, fanotify, procfs-poll' && ! show StatusText | grep -q degraded; }

if command -v podman >/dev/null; then
    # With its own cgroups, by systemd, as podman has them by default.
    run() { podman run --rm -i --network=none --name "$@"; }
    image="--rootfs /run/test-bundle/rootfs"
    engine=podman
else
    run() { container "$@"; }
    image=''
    engine=crun
fi
compile() {
    name=$1
    # shellcheck disable=SC2086 # words or none
    run "$name" $image tcc -c /answer.c -o "/$name.o"
}
# told STATE NUMBER: so many build sessions of tcc have at least been told in the machine's log. In software tcc may be
# gone before its arguments are read, so none is known by them.
told() { [ "$(alerts | grep '"family":"tcc"' | grep -c "\"state\":\"$1\"")" -ge "$2" ]; }
of_podman() { alerts | grep '"family":"tcc"' | grep -q '"runtime":"podman"'; }
is_json() { ! grep -v '^{ "@timestamp"' $log; }

if [ ! -e $stage ]; then
    # --- Before the reboot --------------------------------------------------------------------------------------------
    dpkg-deb --fsys-tarfile "$here/old.deb" | tar -xO ./usr/share/doc/ccwatch/examples/30-ccwatch.conf >/etc/rsyslog.d/30-ccwatch.conf
    mkdir -p /var/log/ccwatch
    systemctl unmask syslog.socket rsyslog.service >/dev/null 2>&1
    systemctl daemon-reload
    check "rsyslog takes the example" rsyslogd -N1
    check "rsyslog is the machine's log" systemctl start rsyslog.service
    check "dpkg installs it" dpkg -i "$here/old.deb"
    check "it is active" active
    check "its start is in rsyslog's file" alerted '"reason":"first-start"'
    container_up >"$here/container" 2>&1
    began=$(date +%s)
    check "$engine's container compiles" compile first
    echo "    $engine took $(($(date +%s) - began)) s"
    check "it is alerted through rsyslog" await told opened 1
    if [ $engine = podman ]; then check "as podman's" of_podman; fi
    check "nothing but alerts is in rsyslog's file" is_json
    check "its mode and owner are the example's" [ "$(stat -c '%a %U' $log)" = "640 root" ]

    # --- Rotated while alerts come ------------------------------------------------------------------------------------
    held=$(stat -c %i $file)
    (for i in 1 2 3; do compile "turn$i"; done) >"$here/turns" 2>&1 &
    turns=$!
    check "logrotate rotates" logrotate -f /etc/logrotate.d/ccwatch
    wait $turns
    check "the old file was moved" [ "$(stat -c %i $file.1)" = "$held" ]
    check "the alert file is opened anew" await test -s $file
    check "what compiled meanwhile is in rsyslog's file" await told opened 4
    check "and its end" await told closed 4
    check "nothing is lost of the alert file" contiguous
    check "nor on the way to rsyslog" await same_in_both 1
    old=$(wc -c <$file.1)
    check "another compiles" compile after
    check "it is alerted" await told opened 5
    check "to the new file alone" [ "$(wc -c <$file.1)" = "$old" ]
    check "and rsyslog to its new one" grep -q '"state": "opened"' $log

    # --- Upgraded while something compiles ----------------------------------------------------------------------------
    mkfifo /run/source
    exec 9<>/run/source
    # shellcheck disable=SC2086 # words or none
    (exec 9>&-; run during $image tcc -c - -o /during.o) </run/source >"$here/during" 2>&1 &
    during=$!
    check "a compiler waits for its source" await told opened 6
    check "dpkg upgrades it" dpkg --force-confold -i "$here/new.deb"
    check "it is the new one" [ "$(dpkg-query -W -f '${Version}' ccwatch)" = "$(dpkg-deb -f "$here/new.deb" Version)" ]
    check "what compiles was told as closed" await told closed 6
    check "and is found again" await told opened 7
    exec 9>&-
    wait $during
    check "its end is told" await told closed 7
    check "nothing is lost of the alert file by the upgrade" contiguous
    sequences | tail -n 1 >$stage
    echo "failed: $failed"
    systemctl reboot
    exec sleep infinity
fi

# --- After it ---------------------------------------------------------------------------------------------------------
last=$(cat $stage)
check "it is active after the boot" active
check "every sensor is up" await every_sensor
check "no restart was needed" is NRestarts 0
reason() { grep -o "\"reason\":\"$1\"" $file | grep -q .; }
check "the end before the reboot is told" reason stopped
check "the start after it, as one after a stop" await reason after-stop
gap() { grep '"reason":"after-stop"' $file | sed -n 's/.*"gap_ms":\([0-9]*\).*/\1/p' | tail -n 1; }
check "with the gap" [ "$(gap)" -gt 0 ]
echo "    nobody watched for $(gap) ms"
check "event.sequence goes on without a gap" contiguous
check "beyond the last before the reboot" [ "$(sequences | tail -n 1)" -gt "$last" ]
check "the start is in rsyslog's file too" alerted '"reason":"after-stop"'
container_up >"$here/container" 2>&1
check "$engine's container compiles" compile second
check "it is alerted through rsyslog" await told opened 8
check "doctor finds nothing degraded" ccwatch doctor
echo "failed: $failed"

# What the tests inside of a guest have in common: they say "ok" or "NOT OK" line by line, and at the end how many were
# not. tests/vm/run.sh starts them. To be sourced.
set -u
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
failed=0

check() {
    what=$1
    shift
    if "$@" >"$here/said" 2>&1; then
        echo "ok - $what"
    else
        echo "NOT OK - $what"
        tail -n 12 "$here/said" | cut -c 1-400 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}
# Asks again until it holds: nothing here takes a minute, even in software on a busy machine.
await() {
    end=$(($(date +%s) + 60))
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.1
    done
}
show() { systemctl show -p "$1" ccwatch.service | sed 's/^[^=]*=//'; }
is() { [ "$(show "$1")" = "$2" ] || { echo "$1 is $(show "$1"), not $2"; systemctl status --no-pager ccwatch; return 1; }; }
active() { await is ActiveState active; }
# Alerts, as the machine's own journal got them by /dev/log.
alerts() { journalctl --no-pager -q -o cat -t ccwatch | grep '^{'; }
has_alert() { alerts | grep -q -- "$1"; }
alerted() { await has_alert "$1" || { alerts | tail -n 5; return 1; }; }
numbers() { alerts | sed -n 's/.*"sequence":\([0-9]*\).*/\1/p'; }
# goes_on LAST: event.sequence has no gap, and is beyond LAST.
goes_on() {
    numbers | awk -v last="$1" 'NR > 1 && $1 != before + 1 { print before, $1; bad = 1 } { before = $1 }
        END { print "the last is", before; exit bad || before <= last }'
}
# fitting DIRECTORY: the drop-ins of the unit there are those for this systemd.
fitting() (
    version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    cd "$1/ccwatch.service.d" || return 1
    for file in /usr/lib/ccwatch/systemd/*.conf; do
        name=$(basename "$file" .conf)
        case $name in
        from-*) if [ "$version" -ge "${name#from-}" ]; then wanted=yes; else wanted=no; fi ;;
        below-*) if [ "$version" -lt "${name#below-}" ]; then wanted=yes; else wanted=no; fi ;;
        esac
        if [ -e "$name.conf" ]; then found=yes; else found=no; fi
        echo "systemd $version, $name: wanted $wanted, found $found"
        [ "$wanted" = "$found" ] || return 1
    done
)
# Nothing that bears the package's name is left on the disk; what is temporary or the test's is no matter.
left() {
    left=$(find / -xdev \( -path "$here" -o -path /run -o -path /proc -o -path /ccwatch-test \) -prune -o -name '*ccwatch*' -print |
        grep -vE "/ccwatch-test\.${1:+|$1}")
    echo "$left"
    [ -z "$left" ]
}

# --- A container with a compiler --------------------------------------------------------------------------------------
container_up() {
    bundle=/run/test-bundle
    mkdir -p $bundle/rootfs /run/test-overlay && mount -t tmpfs none /run/test-overlay
    mkdir -p /run/test-overlay/upper /run/test-overlay/work
    mount -t overlay -o lowerdir=/,upperdir=/run/test-overlay/upper,workdir=/run/test-overlay/work none $bundle/rootfs
    echo 'int answer(void) { return 42; }' >$bundle/rootfs/answer.c
    (cd $bundle && crun spec && sed -i 's/"terminal": true/"terminal": false/; s/"readonly": true/"readonly": false/' config.json &&
        mv config.json config.base)
}
# container NAME ARGUMENT...: runs it to its end.
container() {
    name=$1
    shift
    list=$(printf ', "%s"' "$@")
    sed "/\"args\": \[/,/\]/c\\                \"args\": [${list#, }]," /run/test-bundle/config.base >/run/test-bundle/config.json
    crun --cgroup-manager=cgroupfs run -b /run/test-bundle "$name"
}

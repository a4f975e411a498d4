#!/usr/bin/env bash
# Tests the packages that packaging/build.sh makes: contents, lint, and the life of each in a root of its own.
#
#   tests/packages.sh [--install] [--rewrite] [--machines "SUITE ..."]
#
# Needs root on Debian 12 or later. --install gets what tests and packaging/build.sh need by apt and from PyPI. --rewrite
# writes the lists in tests/packages anew. --machines: the Debian releases whose systemd, in a virtual machine and in a
# container, installs the packages and runs the service; without it 11, 12 and 13, each of them also rebooted, with rsyslog
# and logrotate, and with SysV's init; and the packages are built a second time in another directory, which must give the
# same bytes. The other roots are overlays over this machine's own root
# directory: no process of theirs is process 1, so the service is the SysV one, and the watcher that it starts there
# watches this machine. Nothing of this machine is changed.
set -euo pipefail
cd "$(dirname "$0")/.."

install='' rewrite=no machines='' everything=no
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=--install ;;
    --rewrite) rewrite=yes ;;
    --machines) machines=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "tests/packages.sh: unknown option $1" >&2; exit 64 ;;
    esac
    shift
done
say() { printf 'tests/packages.sh: %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }
[ "$(id -u)" -eq 0 ] || { say "needs root"; exit 77; }
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

missing=''
for entry in lintian:lintian rpmlint:rpmlint man:man-db zsh:zsh fish:fish debootstrap:debootstrap mke2fs:e2fsprogs \
    qemu-system-x86_64:qemu-system-x86 systemd-nspawn:systemd-container; do
    command -v "${entry%%:*}" >/dev/null || missing+=" ${entry#*:}"
done
if [ -n "$missing" ] && [ -n "$install" ]; then
    # shellcheck disable=SC2086 # a list of words
    apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >&2
elif [ -n "$missing" ]; then
    fail "install these or give --install:$missing"
fi

[ -n "$machines" ] || { everything=yes machines='bullseye bookworm trixie'; }

home=$(mktemp -d /var/tmp/ccwatch-packages.XXXXXX)
root=$home/root
# While the packages are built.
{
    for suite in $machines; do
        tests/vm/run.sh root "$suite" || exit
        if [ $everything = yes ]; then tests/vm/run.sh root "$suite-sysv" || exit; fi
    done
} &
making=$!
clean_up() {
    local status=$?
    trap - EXIT INT TERM
    set +e
    close_root
    if mountpoint -q "$home/again"; then umount -l "$home/again"; fi
    # Half a root would have to be made again.
    if [ -n "$making" ]; then wait "$making"; fi
    rm -rf "$home"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- Roots ------------------------------------------------------------------------------------------------------------
. tests/packages/root.sh

# --- Contents ---------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2086 # an option or none
packaging/build.sh $install --out "$home/old"
deb=$(echo "$home"/old/*.deb) rpm=$(echo "$home"/old/*.rpm)
say "the same again on another filesystem, and another version of it"
before=$(cd "$home/old" && sha256sum ./*)
mkdir "$home/again"
mount -t tmpfs none "$home/again"
packaging/build.sh --out "$home/again" >/dev/null 2>&1
same "$before" "$(cd "$home/again" && sha256sum ./*)" "the same sources gave other packages on another filesystem"
umount "$home/again"
packaging/build.sh --version 99.0 --out "$home/new" >/dev/null 2>&1
deb_name=$(basename "$deb") rpm_name=$(basename "$rpm")
new_deb=$(basename "$home"/new/*.deb) new_rpm=$(basename "$home"/new/*.rpm)

say "contents"
same "$(ar t "$deb" | tr '\n' ' ')" 'debian-binary control.tar.gz data.tar.gz ' "the .deb's members"
[ "$(rpm -qp --qf '%{PAYLOADCOMPRESSOR}' "$rpm")" = gzip ] || fail "the .rpm is not compressed by gzip"
# rpm 4.11 of CentOS 7 knows these and no newer ones.
rpm -qp --requires "$rpm" | grep '^rpmlib' | grep -vE '\((CompressedFileNames|FileDigests|PayloadFilesHavePrefix)\)' &&
    fail "the .rpm needs a newer rpm"
compare() {
    if [ "$rewrite" = yes ]; then cat >"$1"; else diff -u "$1" - || fail "$1 differs, see --rewrite"; fi
}
{
    dpkg-deb --ctrl-tarfile "$deb" | tar -t | sort
    dpkg-deb --info "$deb" conffiles
    dpkg-deb --info "$deb" triggers
    dpkg-deb --contents "$deb" | awk '{ print $1, $2, $6 }' | sort -k 3
} | compare tests/packages/deb.txt
{
    rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]' "$rpm"
    rpm -qp --requires "$rpm" | sort
    rpm -qp --scripts "$rpm"
    rpm -qp --triggers "$rpm"
} | compare tests/packages/rpm.txt

say "lintian, rpmlint, man pages, scripts, completions"
lintian --fail-on error --allow-root "$deb" || fail "lintian"
rpmlint -r packaging/rpm/rpmlintrc "$rpm" || fail "rpmlint"
dpkg-deb -x "$deb" "$home/files"
for page in "$home"/files/usr/share/man/man*/*.gz; do
    warnings=$(MANWIDTH=80 man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null)
    [ -z "$warnings" ] || fail "$page: $warnings"
done
for script in packaging/deb/p* packaging/sysv/ccwatch packaging/systemd/drop-ins; do
    sh -n "$script" || fail "$script"
done
bash -n "$home/files/usr/share/bash-completion/completions/ccwatch" || fail "completion for bash"
zsh -n "$home/files/usr/share/zsh/vendor-completions/_ccwatch" || fail "completion for zsh"
fish=$home/files/usr/share/fish/vendor_completions.d/ccwatch.fish
HOME=$home fish --no-execute "$fish" || fail "completion for fish"
"$home/files/usr/sbin/ccwatch" config check --config "$home/files/etc/ccwatch/ccwatch.toml" || fail "the shipped configuration"
zcat "$home/files/usr/share/man/man8/ccwatch.8.gz" | sed 's/\\-/-/g' >"$home/page"
# shellcheck disable=SC2086 # a command's words
help_of() { "$home/files/usr/sbin/ccwatch" $1 --help; }
# leaves WORDS: the commands below it that do something.
leaves() {
    local below name
    below=$(help_of "$1" | sed -n '/^Commands:$/,/^$/s/^  \([a-z]\{1,\}\) .*/\1/p')
    if [ -z "$below" ]; then echo "$1"; fi
    for name in $below; do leaves "${1:+$1 }$name"; done
}
leaves '' >"$home/commands"
[ "$(wc -l <"$home/commands")" -ge 5 ] || fail "--help lists these alone: $(cat "$home/commands")"
while read -r command; do
    sed -n "/^\.SS ccwatch $command\$/,/^\.S[SH] /p" "$home/page" | sed '$d' >"$home/section"
    [ -s "$home/section" ] || fail "ccwatch(8) has no section on ccwatch $command"
    for option in $(help_of "$command" | grep -oE -- '--[a-z][a-z-]*' | sort -u); do
        grep -qF -- "$option" "$home/section" || fail "ccwatch(8) has no $option of ccwatch $command"
        for completion in bash-completion/completions/ccwatch zsh/vendor-completions/_ccwatch; do
            grep -qF -- "$option" "$home/files/usr/share/$completion" || fail "$completion has no $option"
        done
        grep -qE -- "-l ${option#--}( |\$)" "$fish" || fail "the completion for fish has no $option"
    done
done <"$home/commands"
grep -qF 'ccwatch fingerprint FILE...' "$home/page" || fail "ccwatch(8) does not say that fingerprint takes files"

# --- The .deb: install, reload, upgrade, kill, remove, purge ----------------------------------------------------------
say "life of the .deb, where process 1 is not systemd"
open_root
# Not every host has procps.
rm -f "$root/usr/bin/pkill" "$root/usr/bin/pgrep"
empty=$(listing)
in_root dpkg -i "/packages/$deb_name" >"$home/log" 2>&1 || fail "install: $(cat "$home/log")"
mode 700 /var/lib/ccwatch
mode 750 /var/log/ccwatch
mode 640 /etc/ccwatch/ccwatch.toml
in_root dpkg -V ccwatch || fail "dpkg -V"
in_root /etc/init.d/ccwatch status || fail "does not run after the installation: $(cat "$home/log")"
await '"reason":"first-start"'
has /etc/systemd/system/multi-user.target.wants/ccwatch.service "enabled for systemd"
has /lib/systemd/system/ccwatch.service.d/from-232.conf "drop-ins"
has_not /lib/systemd/system/ccwatch.service.d/below-232.conf "drop-ins"
in_root systemd-analyze verify ccwatch.service 2>"$home/verify" || fail "systemd-analyze: $(cat "$home/verify")"
if grep -F ccwatch "$home/verify"; then fail "systemd-analyze warns"; fi
in_root systemd-analyze security --offline=true ccwatch.service | tail -n 1

sed -i 's/^#*\[session\]/[session]\ngap = "7s"/' "$root/etc/ccwatch/ccwatch.toml"
in_root /etc/init.d/ccwatch reload || fail "reload"
await '"reason":"configuration-changed"'
code 4 setpriv --reuid=65534 --clear-groups /etc/init.d/ccwatch status
in_root dpkg-statoverride --update --add root adm 0770 /var/log/ccwatch || fail "dpkg-statoverride"
changed=$(cat "$root/etc/ccwatch/ccwatch.toml")
first=$(cat "$root/run/ccwatch.pid")
# A compiler in a sandbox of its own, which waits for its source as long as the upgrade takes.
mkfifo "$home/source"
unshare --mount --pid --fork --uts --ipc gcc -DDURING_THE_UPGRADE -x c -c - -o /dev/null <"$home/source" &
during=$!
exec 9>"$home/source"
# told STATE NUMBER: so many alerts of its session in this state.
told() { [ "$(alerts | grep DURING_THE_UPGRADE | grep -c "\"state\":\"$1\"")" = "$2" ]; }
eventually told opened 1
in_root dpkg -i "/packages/$new_deb" >"$home/log" 2>&1 || fail "upgrade: $(cat "$home/log")"
await '"reason":"after-stop"'
await '"reason":"stopped"'
in_root /etc/init.d/ccwatch status || fail "does not run after the upgrade: $(cat "$home/log")"
[ "$(cat "$root/run/ccwatch.pid")" != "$first" ] || fail "the upgrade did not restart it"
eventually told closed 1
eventually told opened 2
exec 9>&-
wait "$during" || fail "what compiles during the upgrade"
eventually told closed 2
same "$changed" "$(cat "$root/etc/ccwatch/ccwatch.toml")" "the upgrade changed the configuration"
mode 770 /var/log/ccwatch root:adm
# Rotated as logrotate does it.
sed -n '/postrotate/,/endscript/p; /endscript/q' packaging/logrotate/ccwatch | sed '1d; $d' >"$root/packages/postrotate"
mv "$root/var/log/ccwatch/alerts.json" "$root/var/log/ccwatch/alerts.json.1"
in_root sh /packages/postrotate || fail "the script of logrotate"
eventually test -e "$root/var/log/ccwatch/alerts.json"
kill -KILL "$(cat "$root/run/ccwatch.pid")"
does_not_run() { ! in_root /etc/init.d/ccwatch status >/dev/null; }
eventually does_not_run
in_root /etc/init.d/ccwatch start || fail "start after a kill"
await '"reason":"after-kill"'
numbers=$(alerts | grep -o '"sequence":[0-9]*' | cut -d : -f 2)
same "$(echo "$numbers" | sort -nu)" "$numbers" "event.sequence does not go on"

# Somebody has cleaned /run.
lose() {
    lost=$(cat "$root/run/ccwatch.pid")
    rm "$root/run/ccwatch.pid"
}
lose
code 0 /etc/init.d/ccwatch status
grep -q "process $lost\$" "$home/log" || fail "status without a pid file: $(cat "$home/log")"
code 0 /etc/init.d/ccwatch start
grep -q 'runs already' "$home/log" || fail "start without a pid file: $(cat "$home/log")"
code 0 /etc/init.d/ccwatch reload
code 0 /etc/init.d/ccwatch restart
[ ! -e "/proc/$lost" ] || fail "a restart left the one without a pid file"
lose
in_root dpkg -r ccwatch >"$home/log" 2>&1 || fail "remove: $(cat "$home/log")"
[ ! -e "/proc/$lost" ] || fail "without its pid file it runs after its removal"
in_root sh -c '! test -e /var/run/ccwatch.pid' || fail "it runs after its removal"
has /etc/ccwatch/ccwatch.toml "removed and not purged"
has_not /lib/systemd/system/ccwatch.service.d "removed"
in_root dpkg --purge ccwatch >"$home/log" 2>&1 || fail "purge: $(cat "$home/log")"
same "$empty" "$(listing)" "left after the purge"

say "the .deb, purged in the middle of an upgrade"
open_root
empty=$(listing)
in_root dpkg -i "/packages/$deb_name" >"$home/log" 2>&1 || fail "install: $(cat "$home/log")"
rm -rf "$root/var/log/ccwatch"
in_root /etc/init.d/ccwatch restart || fail "where somebody has cleaned /var/log it does not start"
mode 750 /var/log/ccwatch
running=$(cat "$root/run/ccwatch.pid")
in_root dpkg --unpack "/packages/$new_deb" >"$home/log" 2>&1 || fail "unpack: $(cat "$home/log")"
in_root dpkg --purge ccwatch >"$home/log" 2>&1 || fail "purge: $(cat "$home/log")"
[ ! -e "/proc/$running" ] || fail "it runs after the purge"
same "$empty" "$(listing)" "left after the purge"

say "the .deb in a chroot where nothing of an init system is, twice"
open_root
rm -f "$root"/usr/bin/systemctl "$root"/usr/bin/deb-systemd-* "$root"/usr/sbin/invoke-rc.d "$root"/usr/sbin/update-rc.d
empty=$(listing)
for act in "-i /packages/$deb_name" "-i /packages/$deb_name" "-i /packages/$new_deb" "-r ccwatch" "--purge ccwatch"; do
    # shellcheck disable=SC2086 # an option and its operand
    in_root dpkg $act >"$home/log" 2>&1 || fail "dpkg $act: $(cat "$home/log")"
done
same "$empty" "$(listing)" "left after the purge"

say "the .deb whose service does not start"
open_root
mkdir -p "$root/etc/ccwatch"
echo 'facilty = 1' >"$root/etc/ccwatch/ccwatch.toml"
in_root dpkg --force-confold -i "/packages/$deb_name" >"$home/log" 2>&1 || fail "install: $(cat "$home/log")"
grep -q 'exit code 78' "$home/log" || fail "it does not say why: $(cat "$home/log")"
in_root dpkg -s ccwatch >"$home/log"
grep -qx 'Status: install ok installed' "$home/log" || fail "not configured"
in_root mount -t tmpfs none /var/log/ccwatch
touch "$root/var/log/ccwatch/alerts.json"
in_root dpkg --purge ccwatch >"$home/log" 2>&1 || fail "purge: $(cat "$home/log")"
in_root dpkg -s ccwatch >"$home/log" 2>&1 && fail "it is there after a purge: $(cat "$home/log")"
[ -z "$(ls -A "$root/var/log/ccwatch")" ] || fail "a purge left what is on a mount of its own: $(ls -A "$root/var/log/ccwatch")"
in_root umount /var/log/ccwatch

# --- The .rpm ---------------------------------------------------------------------------------------------------------
say "life of the .rpm, with systemctl"
open_root
empty=$(listing)
in_rpm -i --nodeps "$root/packages/$rpm_name" || fail "rpm -i"
in_rpm -V --nodeps ccwatch || fail "rpm -V"
has /etc/systemd/system/multi-user.target.wants/ccwatch.service "enabled by the preset"
echo '# changed' >>"$root/etc/ccwatch/ccwatch.toml"
in_rpm -U --nodeps "$root/packages/$new_rpm" || fail "rpm -U"
[ "$(in_rpm -q --qf '%{VERSION}' ccwatch)" = 99.0 ] || fail "not upgraded"
[ "$(tail -n 1 "$root/etc/ccwatch/ccwatch.toml")" = '# changed' ] || fail "the upgrade changed the configuration"
has /etc/systemd/system/multi-user.target.wants/ccwatch.service "after the upgrade"
has /usr/lib/systemd/system/ccwatch.service.d/from-232.conf "after the upgrade"
in_rpm -e ccwatch || fail "rpm -e"
rm -rf "$root"/etc/ccwatch/ccwatch.toml.rpmsave
rmdir "$root/etc/ccwatch" 2>/dev/null || true
same "$empty" "$(listing)" "left after rpm -e"

say "the .rpm where nothing of an init system is"
open_root
rm -f "$root"/usr/bin/systemctl
empty=$(listing)
in_rpm -i --nodeps "$root/packages/$rpm_name" || fail "rpm -i"
in_root /etc/rc.d/init.d/ccwatch start || fail "its init script"
await '"reason":"first-start"'
in_rpm -U --nodeps "$root/packages/$new_rpm" || fail "rpm -U"
await '"reason":"after-stop"'
in_rpm -e ccwatch || fail "rpm -e"
in_root sh -c '! test -e /var/run/ccwatch.pid' || fail "it runs after it was erased"
# State and alerts are the administrator's.
left=$(comm -13 <(echo "$empty") <(listing) | tr '\n' ' ')
say "left after rpm -e: $left"
if echo "$left" | tr ' ' '\n' | grep -v '^$' | grep -qv '^./var/l[io][bg]/ccwatch'; then fail "left after rpm -e: $left"; fi

# --- Another systemd --------------------------------------------------------------------------------------------------
. tests/packages/systemd.sh

# --- Machines ---------------------------------------------------------------------------------------------------------
before_machines=$SECONDS
wait "$making" || fail "a root of a machine"
making=''
for suite in $machines; do
    say "Debian $suite with systemd, in a virtual machine and in a container"
    modes='vm container'
    if [ $everything = yes ]; then modes+=' reboot sysv'; fi
    for mode in $modes; do
        tests/vm/run.sh "$mode" "$suite" "$home/old" "$home/new" || fail "$mode $suite"
    done
done
say "machines: $((SECONDS - before_machines)) s"

if [ $everything = yes ]; then
    say "the same sources in another directory"
    mkdir "$home/elsewhere"
    git ls-files -z | xargs -0 cp --parents -t "$home/elsewhere"
    epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    (cd "$home/elsewhere" && SOURCE_DATE_EPOCH=$epoch packaging/build.sh --install --target-dir "$home/elsewhere/target")
    same "$before" "$(cd "$home/elsewhere/target/packages" && sha256sum ./*)" "another directory gave other packages"
fi
say "all well in $SECONDS s"

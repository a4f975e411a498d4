# For tests/packages.sh: systemd comes after the package, and then a newer one. Which drop-ins fit is chosen each time.
# shellcheck shell=bash disable=SC2154

# systemd_deb VERSION FILE: a package that has as much of systemd as the choice of drop-ins asks for.
systemd_deb() {
    local tree=$home/systemd-$1
    mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/$(dirname "$2")"
    printf 'Package: systemd-of-test\nVersion: %s\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: a test\n' \
        "$1" >"$tree/DEBIAN/control"
    printf '#!/bin/sh\necho "systemd %s (%s)"\n' "$1" "$1" >"$tree/usr/bin/systemctl"
    chmod 755 "$tree/usr/bin/systemctl"
    touch "$tree/$2"
    dpkg-deb -Zgzip --build "$tree" "$root/packages/systemd-$1.deb" >/dev/null
    in_root dpkg --force-overwrite -i "/packages/systemd-$1.deb" >"$home/log" 2>&1 || fail "systemd $1: $(cat "$home/log")"
}
systemd_rpm() {
    local work=$home/rpm-$1
    printf '%s\n' 'Name: systemd' "Version: $1" 'Release: 1' 'Summary: a test' 'License: none' 'BuildArch: noarch' '%description' \
        '%install' 'mkdir -p %{buildroot}/usr/bin' "printf '#!/bin/sh\necho systemd $1\n' >%{buildroot}/usr/bin/systemctl" \
        '%files' '%attr(0755,root,root) /usr/bin/systemctl' >"$home/systemd.spec"
    rpmbuild --quiet -bb --define "_topdir $work" --define "_dbpath $work/db" --define "_binary_payload w9.gzdio" \
        --define "_rpmdir $root/packages" --define "_rpmfilename systemd-$1.rpm" --define "__os_install_post %{nil}" \
        "$home/systemd.spec" >"$home/log" 2>&1 || fail "systemd $1: $(cat "$home/log")"
    in_rpm -U --nodeps "$root/packages/systemd-$1.rpm" || fail "systemd $1"
}
# fits DIRECTORY NAME...: these drop-ins are chosen and no others.
fits() {
    local directory=$1
    shift
    same "$(printf '%s\n' "$@")" "$(cd "$root$directory/ccwatch.service.d" && ls)" "drop-ins in $directory"
}

say "the .deb, then a systemd, then a newer one"
open_root
rm -f "$root/usr/bin/systemctl"
in_root dpkg -i "/packages/$deb_name" >"$home/log" 2>&1 || fail "install: $(cat "$home/log")"
has_not /lib/systemd/system/ccwatch.service.d "without systemd"
systemd_deb 219 lib/systemd/systemd
fits /lib/systemd/system below-232.conf
systemd_deb 239 usr/lib/systemd/systemd
fits /lib/systemd/system from-232.conf from-235.conf from-239.conf
in_root dpkg --purge ccwatch >"$home/log" 2>&1 || fail "purge: $(cat "$home/log")"
has_not /lib/systemd/system/ccwatch.service.d "after the purge"

say "the .rpm, then a systemd, then a newer one"
open_root
rm -f "$root"/usr/bin/systemctl
in_rpm -i --nodeps "$root/packages/$rpm_name" || fail "rpm -i"
has_not /usr/lib/systemd/system/ccwatch.service.d "without systemd"
systemd_rpm 219
fits /usr/lib/systemd/system below-232.conf
systemd_rpm 239
fits /usr/lib/systemd/system from-232.conf from-235.conf from-239.conf
in_rpm -U --nodeps "$root/packages/$new_rpm" || fail "rpm -U"
fits /usr/lib/systemd/system from-232.conf from-235.conf from-239.conf
in_rpm -e ccwatch || fail "rpm -e"
has_not /usr/lib/systemd/system/ccwatch.service.d "after rpm -e"

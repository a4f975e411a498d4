#!/usr/bin/env bash
# Makes in target/packages/ one binary for glibc 2.17 and newer, and of it a .deb and an .rpm.
#
#   packaging/build.sh [--install] [--target-dir DIRECTORY] [--version VERSION] [--out DIRECTORY]
#
# Needs a Rust toolchain. --install gets the rest where it is missing, on Debian and Ubuntu: dpkg-deb, rpmbuild and
# python3-venv by apt, and from PyPI zig as linker and cargo-zigbuild, which knows where the glibc of the past ends.
# Reproducible: the same sources give the same bytes, wherever they lie; SOURCE_DATE_EPOCH is the commit's time unless
# it is set. --version stands in for Cargo.toml's, for a test of an upgrade.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

say() { printf 'packaging/build.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

ZIG=0.17.1 ZIGBUILD=0.24.0
triple=x86_64-unknown-linux-gnu
newest_glibc=2.17
largest_binary=$((8 * 1024 * 1024))
maintainer='The ccwatch authors <maintainers@ccwatch.example>'
release=1

install=no target=${CARGO_TARGET_DIR:-$root/target} version='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes ;;
    --target-dir) target=$2; shift ;;
    --version) version=$2; shift ;;
    --out) out=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) say "unknown option $1"; exit 64 ;;
    esac
    shift
done
case $target in /*) ;; *) target=$root/$target ;; esac
case $out in '') out=$target/packages ;; /*) ;; *) out=$root/$out ;; esac
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v cargo >/dev/null || fail "needs a Rust toolchain: no cargo in PATH"
[ -n "$version" ] || version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

# --- Tools ------------------------------------------------------------------------------------------------------------
needed="dpkg-deb:dpkg rpmbuild:rpm readelf:binutils gzip:gzip python3:python3"
missing() {
    local entry
    for entry in $needed; do
        command -v "${entry%%:*}" >/dev/null || printf '%s ' "${entry#*:}"
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv '
}
tools=$target/packaging-tools
if [ "$install" = yes ]; then
    packages=$(missing)
    if [ -n "$packages" ]; then
        say "apt-get install $packages"
        apt-get update -q >&2
        # shellcheck disable=SC2086 # a list of words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages >&2
    fi
    if [ "$(cat "$tools/versions" 2>/dev/null)" != "$ZIG $ZIGBUILD" ]; then
        say "pip install ziglang==$ZIG cargo-zigbuild==$ZIGBUILD"
        rm -rf "$tools"
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check "ziglang==$ZIG" "cargo-zigbuild==$ZIGBUILD" >&2
        echo "$ZIG $ZIGBUILD" >"$tools/versions"
    fi
fi
packages=$(missing)
[ -z "$packages" ] || fail "missing, install these or give --install: $packages"
[ -x "$tools/bin/cargo-zigbuild" ] || fail "no cargo-zigbuild in $tools: give --install"

# --- The binary -------------------------------------------------------------------------------------------------------
# No path of this machine in it: neither of the sources nor of the registry's.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
CARGO_TARGET_DIR="$target" cargo fetch --quiet --locked --target "$triple"
flags="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$root=/ccwatch"
# Later ones go before earlier ones. The directory's name is that of the registry's host.
for registry in "$cargo_home"/registry/src/*/; do flags+=" --remap-path-prefix=${registry%/}=/crates"; done
say "cargo zigbuild --release --target $triple.$newest_glibc"
env PATH="$tools/bin:$PATH" RUSTFLAGS="$flags" CARGO_TARGET_DIR="$target" CARGO_INCREMENTAL=0 \
    cargo-zigbuild zigbuild --locked --release --bin ccwatch --target "$triple.$newest_glibc"
binary=$target/$triple/release/ccwatch

newest=$(readelf --version-info "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
[ "$(printf '%s\n' "GLIBC_$newest_glibc" "$newest" | sort -V | tail -n 1)" = "GLIBC_$newest_glibc" ] ||
    fail "the binary needs $newest, newer than GLIBC_$newest_glibc"
size=$(stat -c %s "$binary")
[ "$size" -lt "$largest_binary" ] || fail "the binary has $size bytes, $largest_binary and more are too many"
for path in "$root" "$cargo_home" "$target" /registry/src/; do
    if [ ${#path} -gt 1 ] && grep -qaF -- "$path" "$binary"; then fail "the binary holds the path $path"; fi
done
say "the binary: $size bytes, needs $newest"

# --- Man pages and completions ----------------------------------------------------------------------------------------
work=$out/work
rm -rf "$work" "$out"/ccwatch*
mkdir -p "$work"
say "cargo run --example documents"
CARGO_TARGET_DIR="$target" cargo run --quiet --locked --example documents -- "$work/documents"

# --- What both packages install ---------------------------------------------------------------------------------------
# put SOURCE DESTINATION [MODE]
put() { install -D -m "${3:-644}" "$1" "$tree$2"; }
put_gz() {
    mkdir -p "$(dirname "$tree$2")"
    gzip -9n <"$1" >"$tree$2"
    chmod 644 "$tree$2"
}
stage_common() {
    put "$binary" /usr/sbin/ccwatch 755
    put config/ccwatch.toml /etc/ccwatch/ccwatch.toml 640
    put packaging/logrotate/ccwatch /etc/logrotate.d/ccwatch
    put packaging/systemd/drop-ins /usr/lib/ccwatch/drop-ins 755
    local conf
    for conf in packaging/systemd/*.conf; do put "$conf" "/usr/lib/ccwatch/systemd/$(basename "$conf")"; done
    put_gz "$work/documents/ccwatch.8" /usr/share/man/man8/ccwatch.8.gz
    put_gz "$work/documents/ccwatch.toml.5" /usr/share/man/man5/ccwatch.toml.5.gz
    put_gz "$work/documents/ccwatch-alerts.5" /usr/share/man/man5/ccwatch-alerts.5.gz
    put_gz "$work/documents/ccwatch-fingerprints.5" /usr/share/man/man5/ccwatch-fingerprints.5.gz
    put "$work/documents/ccwatch.bash" /usr/share/bash-completion/completions/ccwatch
    put "$work/documents/ccwatch.fish" /usr/share/fish/vendor_completions.d/ccwatch.fish
    mkdir -p "$tree/etc/ccwatch/fingerprints.d"
    mkdir -p "$tree/var/lib/ccwatch" "$tree/var/log/ccwatch"
    chmod 700 "$tree/var/lib/ccwatch"
    chmod 750 "$tree/var/log/ccwatch"
}
settle_times() { find "$tree" -print0 | xargs -0r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"; }

# --- The .deb ---------------------------------------------------------------------------------------------------------
tree=$work/deb
mkdir -p "$tree/DEBIAN"
stage_common
put packaging/systemd/ccwatch.service /lib/systemd/system/ccwatch.service
put packaging/sysv/ccwatch /etc/init.d/ccwatch 755
put "$work/documents/_ccwatch" /usr/share/zsh/vendor-completions/_ccwatch
put packaging/rsyslog/30-ccwatch.conf /usr/share/doc/ccwatch/examples/30-ccwatch.conf
put packaging/deb/lintian-overrides /usr/share/lintian/overrides/ccwatch
put_gz CHANGELOG.md /usr/share/doc/ccwatch/changelog.gz
put_gz README.md /usr/share/doc/ccwatch/README.md.gz
date=$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
printf 'ccwatch (%s-%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$release" "$maintainer" "$date" >"$work/changelog.Debian"
put_gz "$work/changelog.Debian" /usr/share/doc/ccwatch/changelog.Debian.gz
# A license's text in this file is one field: each line begins with a blank, an empty one is a dot.
sed '1,2d; s/^$/./; s/^/ /' LICENSE-MIT >"$work/license"
sed "s/^Copyright: .*/Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE-MIT | head -n 1)/
/^@MIT@\$/{
r $work/license
d
}" packaging/deb/copyright >"$work/copyright"
put "$work/copyright" /usr/share/doc/ccwatch/copyright
for script in postinst prerm postrm; do install -m 755 "packaging/deb/$script" "$tree/DEBIAN/$script"; done
install -m 644 packaging/deb/triggers "$tree/DEBIAN/triggers"
(cd "$tree" && find etc -type f | LC_ALL=C sort | sed 's,^,/,') >"$tree/DEBIAN/conffiles"
(cd "$tree" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -print0 | LC_ALL=C sort -z |
    xargs -0 md5sum | sed 's,  \./,  ,') >"$tree/DEBIAN/md5sums"
# As dpkg-gencontrol counts: a file's size in whole KiB, one for whatever else. What du says of a directory is its
# filesystem's affair.
installed=$(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%s\n' -o -printf '1\n' |
    awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
sed "s/@VERSION@/$version-$release/; s/@MAINTAINER@/$maintainer/; s/@SIZE@/$installed/" packaging/deb/control.in \
    >"$tree/DEBIAN/control"
chmod 644 "$tree/DEBIAN/control" "$tree/DEBIAN/conffiles" "$tree/DEBIAN/md5sums"
settle_times
# gzip, and for the control archive too: dpkg of Ubuntu 14.04 reads neither zstd nor control.tar.xz.
dpkg-deb --root-owner-group --uniform-compression -Zgzip -z9 --build "$tree" \
    "$out/ccwatch_$version-${release}_amd64.deb" >&2

# --- The .rpm ---------------------------------------------------------------------------------------------------------
tree=$work/rpm
stage_common
put packaging/systemd/ccwatch.service /usr/lib/systemd/system/ccwatch.service
put packaging/rpm/80-ccwatch.preset /usr/lib/systemd/system-preset/80-ccwatch.preset
put packaging/sysv/ccwatch /etc/rc.d/init.d/ccwatch 755
put "$work/documents/_ccwatch" /usr/share/zsh/site-functions/_ccwatch
for file in packaging/rsyslog/30-ccwatch.conf CHANGELOG.md README.md LICENSE-MIT LICENSE-APACHE; do
    put "$file" "/usr/share/doc/ccwatch/$(basename "$file")"
done
settle_times
date=$(date --utc --date="@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')
sed "s/@VERSION@/$version/; s/@RELEASE@/$release/; s/@MAINTAINER@/$maintainer/; s/@DATE@/$date/" \
    packaging/rpm/ccwatch.spec.in >"$work/ccwatch.spec"
# gzip: rpm 4.11 of CentOS 7 has no zstd. The rest keeps the build host's name, clock and habits out of it.
rpmbuild --quiet -bb --target x86_64 \
    --define "_topdir $work/rpmbuild" --define "_rpmdir $out" --define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
    --define "staged $tree" --define "_dbpath $work/rpmdb" \
    --define "_binary_payload w9.gzdio" --define "_source_payload w9.gzdio" \
    --define "_build_id_links none" --define "debug_package %{nil}" --define "__os_install_post %{nil}" \
    --define "_buildhost reproducible" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" --define "source_date_epoch_from_changelog 0" \
    "$work/ccwatch.spec" >&2
cp "$binary" "$out/ccwatch"
rm -rf "$work"
(cd "$out" && sha256sum ./*)

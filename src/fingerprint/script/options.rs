//! The options of interpreters, virtual machines and loaders that stand before what they run: those whose value is the next
//! argument, and those after which nothing is run.

/// Options of java(1) whose value is the next argument.
pub(super) const JAVA_VALUES: [&[u8]; 13] = [
    b"-cp",
    b"-classpath",
    b"--class-path",
    b"-p",
    b"--module-path",
    b"--upgrade-module-path",
    b"--add-modules",
    b"--add-opens",
    b"--add-exports",
    b"--add-reads",
    b"--patch-module",
    b"--limit-modules",
    b"--enable-native-access",
];
/// Options of java(1) that have a module described, the next argument, and nothing run.
pub(super) const JAVA_ENDS: [&[u8]; 2] = [b"-d", b"--describe-module"];
/// Options of node(1) whose value is the next argument (node_options.cc, of all that are no bool, up to Node 24).
pub(super) const NODE_VALUES: [&[u8]; 78] = [
    b"-r",
    b"--require",
    b"--import",
    b"--loader",
    b"--experimental-loader",
    b"-C",
    b"--conditions",
    b"--inspect-port",
    b"--debug-port",
    b"--inspect-publish-uid",
    b"--icu-data-dir",
    b"--title",
    b"--env-file",
    b"--env-file-if-exists",
    b"--experimental-config-file",
    b"--unhandled-rejections",
    b"--redirect-warnings",
    b"--disable-warning",
    b"--disable-proto",
    b"--diagnostic-dir",
    b"--report-dir",
    b"--report-directory",
    b"--report-filename",
    b"--report-signal",
    b"--dns-result-order",
    b"--network-family-autoselection-attempt-timeout",
    b"--trace-event-categories",
    b"--trace-event-file-pattern",
    b"--trace-require-module",
    b"--tls-cipher-list",
    b"--tls-keylog",
    b"--openssl-config",
    b"--secure-heap",
    b"--secure-heap-min",
    b"--max-http-header-size",
    b"--heapsnapshot-signal",
    b"--heapsnapshot-near-heap-limit",
    b"--heap-prof-dir",
    b"--heap-prof-interval",
    b"--heap-prof-name",
    b"--cpu-prof-dir",
    b"--cpu-prof-interval",
    b"--cpu-prof-name",
    b"--stack-trace-limit",
    b"--max-old-space-size-percentage",
    b"--v8-pool-size",
    b"--use-largepages",
    b"--input-type",
    b"--experimental-default-type",
    b"--experimental-policy",
    b"--policy-integrity",
    b"--allow-fs-read",
    b"--allow-fs-write",
    b"--security-revert",
    b"--security-reverts",
    b"--localstorage-file",
    b"--snapshot-blob",
    b"--build-snapshot-config",
    b"--experimental-sea-config",
    b"--watch-path",
    b"--watch-kill-signal",
    b"--test-concurrency",
    b"--test-coverage-branches",
    b"--test-coverage-exclude",
    b"--test-coverage-functions",
    b"--test-coverage-include",
    b"--test-coverage-lines",
    b"--test-global-setup",
    b"--test-isolation",
    b"--experimental-test-isolation",
    b"--test-name-pattern",
    b"--test-random-seed",
    b"--test-reporter",
    b"--test-reporter-destination",
    b"--test-rerun-failures",
    b"--test-shard",
    b"--test-skip-pattern",
    b"--test-timeout",
];
/// Options of node(1) after which no script follows.
pub(super) const NODE_ENDS: [&[u8]; 7] = [b"-e", b"--eval", b"-p", b"--print", b"-pe", b"-i", b"--run"];
/// Options of dotnet(1) and mono(1) whose value is the next argument.
pub(super) const DOTNET_VALUES: [&[u8]; 8] = [
    b"--additionalprobingpath",
    b"--additional-deps",
    b"--depsfile",
    b"--fx-version",
    b"--roll-forward",
    b"--runtimeconfig",
    b"--config",
    b"-O",
];
/// Options of guile(1) whose value is the next argument.
pub(super) const GUILE_VALUES: [&[u8]; 6] = [b"-L", b"-C", b"-x", b"-l", b"-e", b"--language"];
/// Options of guile(1) after which no script follows.
pub(super) const GUILE_ENDS: [&[u8]; 5] = [b"-c", b"-h", b"--help", b"-v", b"--version"];
/// Options of ld.so(8) and of musl's loader whose value is the next argument.
pub(super) const LOADER_VALUES: [&[u8]; 7] = [
    b"--library-path",
    b"--preload",
    b"--argv0",
    b"--audit",
    b"--inhibit-rpath",
    b"--glibc-hwcaps-prepend",
    b"--glibc-hwcaps-mask",
];
/// Options of ld.so(8) with which the program is not run.
pub(super) const LOADER_ENDS: [&[u8]; 6] =
    [b"--list", b"--verify", b"--list-tunables", b"--list-diagnostics", b"--help", b"--version"];
/// Options of qemu-user(1) whose value is the next argument.
pub(super) const EMULATOR_VALUES: [&[u8]; 19] = [
    b"-L",
    b"-cpu",
    b"-E",
    b"-U",
    b"-0",
    b"-s",
    b"-g",
    b"-B",
    b"-R",
    b"-d",
    b"-D",
    b"-p",
    b"-seed",
    b"-r",
    b"-dfilter",
    b"-plugin",
    b"-trace",
    b"-t",
    b"-tb-size",
];

/// Whether the argument after this option of java(1) is its value.
pub(in crate::fingerprint) fn java_takes_value(option: &[u8]) -> bool {
    JAVA_VALUES.contains(&option) || JAVA_ENDS.contains(&option) || option == b"--source"
}

/// An underscore in a long option is a hyphen to node.
pub(super) fn node_takes_value(option: &[u8]) -> bool {
    let is_spelled =
        |(at, (byte, given)): (usize, (&u8, &u8))| byte == given || at > 1 && (*byte, *given) == (b'-', b'_');
    NODE_VALUES.iter().any(|v| v.len() == option.len() && v.iter().zip(option).enumerate().all(is_spelled))
}

/// `--foo` is `-foo` to QEMU (parse_args in linux-user/main.c).
pub(super) fn emulator_takes_value(option: &[u8]) -> bool {
    EMULATOR_VALUES.contains(&option) || option.strip_prefix(b"-").is_some_and(|o| EMULATOR_VALUES.contains(&o))
}

# Changes the connector sockets of a running process through descriptors borrowed with pidfd_getfd(2), Linux 5.6.
#   connector.pl silence PID   an empty filter: no message gets through any more
#   connector.pl shrink PID    a receive buffer of some hundred messages
use strict;
use warnings;

my ($act, $pid) = @ARGV;
my ($SYS_pidfd_open, $SYS_pidfd_getfd, $SOL_SOCKET) = (434, 438, 1);
my ($SO_RCVBUF, $SO_ATTACH_FILTER, $NETLINK_CONNECTOR) = (8, 26, 11);

my %connectors;
open(my $table, '<', '/proc/net/netlink') or die "read /proc/net/netlink: $!";
while (<$table>) {
    my @row = split;
    $connectors{$row[-1]} = 1 if $row[1] eq $NETLINK_CONNECTOR;
}

my $pidfd = syscall($SYS_pidfd_open, $pid + 0, 0);
$pidfd >= 0 or die "pidfd_open: $!";
my $changed = 0;
for my $path (glob "/proc/$pid/fd/*") {
    my ($inode) = (readlink($path) // '') =~ /^socket:\[(\d+)\]$/ or next;
    $connectors{$inode} or next;
    my ($fd) = $path =~ /(\d+)$/;
    my $borrowed = syscall($SYS_pidfd_getfd, $pidfd, $fd + 0, 0);
    $borrowed >= 0 or die "pidfd_getfd: $!";
    open(my $socket, '+<&=', $borrowed) or die "open: $!";
    if ($act eq 'silence') {
        # BPF_RET | BPF_K, 0 bytes.
        my $program = pack('SCCL', 6, 0, 0, 0);
        setsockopt($socket, $SOL_SOCKET, $SO_ATTACH_FILTER, pack('Sx6P', 1, $program)) or die "filter: $!";
    } else {
        setsockopt($socket, $SOL_SOCKET, $SO_RCVBUF, pack('i', 100_000)) or die "buffer: $!";
    }
    $changed++;
}
$changed > 0 or die "process $pid has no connector socket";

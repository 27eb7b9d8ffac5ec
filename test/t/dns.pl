#!/usr/bin/perl
#
# dns.pl - a DNS server for tests, and a network of their own to run it in.
#
#   unshare -rnm dns.pl DIR UID GID COMMAND...
#
# Brings up the loopback interface, makes /etc/resolv.conf name 127.0.0.1
# (DIR is for files), answers there on port 53, and runs COMMAND as user UID, in
# a user namespace within, for PostgreSQL refuses to be run by root.
# Ends with COMMAND, with its status.
#
# What a name under .test does is in its second label from the right:
#   x.ok.test       127.0.0.1
#   x.nx.test       NXDOMAIN
#   x.servfail.test SERVFAIL
#   x.empty.test    no address
#   x.garbage.test  answers that are none
#   x.dead.test     no answer
#   x.slow-2.test   127.0.0.1 after 2 seconds
#   x.flap.test     SERVFAIL for the first three look-ups, then 127.0.0.1
#   x.dual.test     ::1 and 127.0.0.1
#   x.many.test     127.0.0.2 to 127.0.0.9, then 127.0.0.1
# and all else does not exist.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Socket qw(AF_INET SOCK_DGRAM inet_aton);
use Time::HiRes qw(time);

my $SIOCSIFFLAGS = 0x8914;
my $UP_RUNNING = 0x41;
my %type = (A => 1, AAAA => 28);
my %rcode = (ok => 0, servfail => 2, nx => 3);

sub write_file
{
	my ($path, $text) = @_;

	open my $fh, '>', $path or die "$path: $!\n";
	print $fh $text;
	close $fh or die "$path: $!\n";
	return;
}

# Puts a file of ours in the place of the system's.
sub shadow
{
	my ($path, $ours, $text) = @_;

	write_file($ours, $text);
	system('mount', '--bind', $ours, $path) == 0 or die "cannot mount $path\n";
	return;
}

sub make_network
{
	my ($dir) = @_;

	socket my $s, AF_INET, SOCK_DGRAM, 0 or die "socket: $!\n";
	ioctl $s, $SIOCSIFFLAGS, pack 'a16 s x22', 'lo', $UP_RUNNING
	  or die "loopback interface: $!\n";
	shadow('/etc/resolv.conf', "$dir/resolv.conf",
		"nameserver 127.0.0.1\noptions timeout:1 attempts:2\n");
	shadow('/etc/nsswitch.conf', "$dir/nsswitch.conf",
		"passwd: files\ngroup: files\nhosts: files dns\n");
	return;
}

# ---- answers (RFC 1035, section 4)

# The whole message: the question again, and records of its type.
sub message
{
	my ($id, $question, $qtype, $rcode, @addresses) = @_;

	return pack('nnnnnn', $id, 0x8180 | $rcode, 1, scalar @addresses, 0, 0)
	  . $question
	  . join '', map { pack 'nnnNn/a*', 0xc00c, $qtype, 1, 1, $_ } @addresses;
}

my $localhost = inet_aton('127.0.0.1');
my %n_asked;

# What to say to a question, and after how many seconds; none: nothing.
sub answer_to
{
	my ($name, $qtype, $id, $question) = @_;
	my ($what) = $name =~ /([a-z]+)(?:-\d+)?\.test$/;
	my @v4 = ($localhost);
	my $reply = sub { message($id, $question, $qtype, @_) };

	$what //= 'nx';
	return if $what eq 'dead';
	return (0, "\xff" x 40) if $what eq 'garbage';
	return (0, $reply->($rcode{$what} // 3)) if $what =~ /^(nx|servfail)$/;
	if ($what eq 'flap')
	{
		return (0, $reply->($rcode{servfail})) if ++$n_asked{$name} <= 12;
	}
	@v4 = map { inet_aton("127.0.0.$_") } 2 .. 9, 1 if $what eq 'many';
	my @found = $what eq 'empty' ? ()
	  : $qtype == $type{A} ? @v4
	  : $qtype == $type{AAAA} && $what eq 'dual' ? (("\0" x 15) . "\1")
	  : ();
	return ($name =~ /slow-(\d+)/ ? $1 : 0, $reply->(0, @found));
}

sub serve
{
	my ($socket, $until) = @_;
	my @later;    # [ when, to whom, message ]

	while (!$until->())
	{
		my $ready = '';
		vec($ready, fileno $socket, 1) = 1;
		if (select $ready, undef, undef, 0.05)
		{
			my $peer = $socket->recv(my $in, 512) or next;
			my ($id) = unpack 'n', $in;
			my ($at, @labels) = (12);
			while (my $n = ord substr $in, $at, 1)
			{
				push @labels, substr $in, $at + 1, $n;
				$at += $n + 1;
			}
			my $question = substr $in, 12, $at + 5 - 12;
			my ($after, $out) = answer_to(lc join('.', @labels),
				unpack('n', substr $in, $at + 1, 2),
				$id, $question);
			push @later, [ time + $after, $peer, $out ] if defined $out;
		}
		my $now = time;
		$socket->send($_->[2], 0, $_->[1])
		  for grep { $_->[0] <= $now } @later;
		@later = grep { $_->[0] > $now } @later;
	}
	return;
}

my ($dir, $uid, $gid, @command) = @ARGV;
make_network($dir);
my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1',
	LocalPort => 53) or die "port 53: $!\n";
my $pid = fork // die "fork: $!\n";
if (!$pid)
{
	exec 'unshare', '--user', "--map-user=$uid", "--map-group=$gid", @command
	  or die "unshare: $!\n";
}
my $status;
serve($socket,
	sub { return waitpid($pid, WNOHANG) == $pid && defined($status = $?); });
exit($status & 127 ? 1 : $status >> 8);

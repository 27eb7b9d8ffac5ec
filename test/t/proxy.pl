#!/usr/bin/perl
#
# proxy.pl - an HTTP proxy for tests, for which every name is this machine.
#
#   proxy.pl --log FILE
#
# Prints "listening on PORT", and ends with its standard input. Tunnels
# (CONNECT) and forwards (POST http://...) to 127.0.0.1 and the port that is
# asked for, whatever the host, but for forbidden.test, which gets a 403, and for
# endless.test and talkative.test, which get an answer whose body or head does not
# end. Logs the head of each request before acting on it, as one line with \n for
# ends.

use strict;
use warnings FATAL => 'all';

use Getopt::Long;
use IO::Select;
use IO::Socket::INET;

my %arg;
GetOptions(\%arg, 'log=s') && $arg{log} or die "usage: $0 --log FILE\n";
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';
$| = 1;

my $listener =
  IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50)
  or die "cannot listen: $!\n";
open my $log, '>>', $arg{log} or die "$arg{log}: $!\n";
print 'listening on ', $listener->sockport, "\n";

sub relay
{
	my ($client, $server) = @_;
	my $select = IO::Select->new($client, $server);

	while (my @ready = $select->can_read)
	{
		for my $from (@ready)
		{
			my $to = $from == $client ? $server : $client;

			return if !sysread $from, my $data, 65536;
			print $to $data;
			$to->flush;
		}
	}
	return;
}

# Answers until nobody listens any more.
sub drone
{
	my ($client, $head, $more) = @_;

	syswrite $client, $head;
	1 while syswrite $client, $more;
	return;
}

sub serve
{
	my ($client) = @_;
	my $in = '';

	while ($in !~ /\r\n\r\n/)
	{
		sysread $client, $in, 65536, length $in or return;
	}
	my ($head, $rest) = split /\r\n\r\n/, $in, 2;
	syswrite $log, $head =~ s/\r\n/\\n/gr . "\n";
	my ($method, $host, $port, $path) =
	  $head =~ m{^(\w+) (?:http://)?([^/: ]+):(\d+)(\S*)}
	  or return print $client "HTTP/1.1 400 No\r\n\r\n";
	return print $client "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
	  if $host eq 'forbidden.test';
	return drone($client,
		"HTTP/1.1 407 No\r\nContent-Length: 10737418240\r\n\r\n",
		'x' x 65536)
	  if $host eq 'endless.test';
	return drone($client, "HTTP/1.1 200 Yes\r\n", "X-More: x\r\n" x 1000)
	  if $host eq 'talkative.test';
	my $server = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $port)
	  or return print $client "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n";

	if ($method eq 'CONNECT') { print $client "HTTP/1.1 200 Yes\r\n\r\n"; }
	else
	{
		$head =~ s{^(\w+) \S+}{$1 $path};
		print $server "$head\r\n\r\n$rest";
	}
	$_->flush for $client, $server;
	return relay($client, $server);
}

my $select = IO::Select->new($listener, \*STDIN);
while (my @ready = $select->can_read)
{
	exit 0 if grep { $_ == \*STDIN } @ready;
	my $client = $listener->accept or next;
	my $pid = fork // die "fork: $!\n";
	if ($pid == 0)
	{
		close $listener;
		serve($client);
		exit 0;
	}
	close $client;
}

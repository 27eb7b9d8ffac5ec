#!/usr/bin/perl
#
# resolver.pl - a DNS server for tests, with answers from a file.
#
#   resolver.pl --zone FILE --while PID [--port 53] [--log FILE] [--deaf ADDRESS]
#
# Listens on 127.0.0.1, at ADDRESS without ever answering, and ends when process
# PID has. FILE is read for each
# question. A line is a name and its addresses, IPv4 or IPv6:
#
#   both.test 192.0.2.1 2001:db8::1
#   turns.test 192.0.2.1 | 10.0.0.1
#
# A bar separates answers that take turns, counted for each type of question;
# the last one stays. Names that are not there do not exist. Each question is a
# line of the log: type and name.

use strict;
use warnings FATAL => 'all';

use Getopt::Long;
use IO::Socket::INET;
use Socket qw(AF_INET AF_INET6 inet_pton);

my %arg = (port => 53);
GetOptions(\%arg, 'zone=s', 'while=i', 'port=i', 'log=s', 'deaf=s')
  && $arg{zone} && $arg{while}
  or die "usage: $0 --zone FILE --while PID [--port N] [--log FILE] [--deaf ADDRESS]\n";

my %type_of = (1 => 'A', 28 => 'AAAA');
my %asked;    # "type name" => how often

sub addresses
{
	my ($name, $type) = @_;

	open my $zone, '<', $arg{zone} or return;
	while (my $line = <$zone>)
	{
		my ($of, $rest) = $line =~ /^(\S+)\s+(.*\S)/ or next;
		next if lc $of ne lc $name;
		my @turns = split /\|/, $rest;
		my $n = $asked{"$type $name"}++;
		my @all = split ' ', $turns[ $n < @turns ? $n : -1 ];
		return [ grep { /:/ xor $type eq 'A' } @all ];
	}
	return;
}

sub answer
{
	my ($question) = @_;
	my ($id, $flags, $n) = unpack 'n n n', $question;
	my ($at, @labels) = (12);

	while (my $len = ord substr $question, $at, 1)
	{
		push @labels, substr $question, $at + 1, $len;
		$at += 1 + $len;
	}
	my ($type) = unpack 'n', substr $question, $at + 1, 2;
	my $found = addresses(join('.', @labels), $type_of{$type} // 'other');
	my @records = map {
		my $data = inet_pton(/:/ ? AF_INET6 : AF_INET, $_);
		pack 'n n n N n a*', 0xc00c, $type, 1, 0, length $data, $data
	} @{ $found // [] };

	if ($arg{log})
	{
		open my $log, '>>', $arg{log} or die "$arg{log}: $!\n";
		print $log $type_of{$type} // $type, ' ', join('.', @labels), "\n";
	}
	return pack('n n n n n n',
		$id, 0x8580 | ($found ? 0 : 3), 1, scalar @records, 0, 0)
	  . substr($question, 12, $at + 5 - 12) . join('', @records);
}

sub listen_at
{
	my ($address) = @_;

	return IO::Socket::INET->new(
		Proto => 'udp',
		LocalAddr => $address,
		LocalPort => $arg{port}) // die "cannot listen at $address: $!\n";
}

my $socket = listen_at('127.0.0.1');
my $deaf = $arg{deaf} && listen_at($arg{deaf});

while (kill 0, $arg{while})
{
	vec(my $ready = '', fileno $socket, 1) = 1;
	next if select($ready, undef, undef, 0.2) < 1;
	my $from = $socket->recv(my $question, 512);
	$socket->send(answer($question), 0, $from)
	  if defined $from && length $question > 16;
}

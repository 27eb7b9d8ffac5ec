#!/usr/bin/perl
#
# feed.pl - shows a receiver's log as it grows, one line for each request.
#
#   feed.pl [--color] FILE POSITION_FILE
#
# POSITION_FILE says up to which byte of FILE everything has been shown.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use POSIX qw(strftime);
use Time::HiRes qw(usleep);

my $is_color = @ARGV && $ARGV[0] eq '--color' && shift;
my ($file, $position_file) = @ARGV;
my $tick_us = 20_000;    # between looks at the file
my ($green, $red, $dim, $plain) =
  $is_color ? ("\e[32m", "\e[31m", "\e[2m", "\e[0m") : ('') x 4;
my %n_attempts;

$| = 1;
binmode STDOUT, ':encoding(UTF-8)';
usleep($tick_us) until -e $file;
open my $fh, '<', $file or die "$file: $!\n";
while (1)
{
	my $line = <$fh>;
	if (!defined $line)
	{
		open my $position, '>', $position_file or die "$position_file: $!\n";
		print $position tell $fh;
		close $position;
		usleep($tick_us);
		seek $fh, 0, 1;
		next;
	}
	show(decode_json($line));
}

sub show
{
	my ($r) = @_;
	my ($type) = $r->{body} =~ /"event_type": ?"([^"]*)"/;
	my ($order) = $r->{body} =~ /"order_id": ?(\d+)/;
	my ($name) = $r->{path} =~ m{^/(\w+)};
	my $is_good = $r->{status} =~ /^2/;
	my $at = strftime('%H:%M:%S', localtime($r->{at} / 1e6))
	  . sprintf '.%03d', $r->{at} / 1000 % 1000;

	printf "    %s%s%s  %s%s %d%s  %-10s %-14s order %s  %sattempt %d, "
	  . "signature %s%s\n", $dim, $at, $plain,
	  $is_good ? $green : $red, $is_good ? "\x{2714}" : "\x{2718}",
	  $r->{status}, $plain, $name, $type // '?', $order // '?', $dim,
	  ++$n_attempts{"$r->{path} $r->{id}"}, $r->{signature}, $plain;
	return;
}

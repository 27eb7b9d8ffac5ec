# OwnClock.pm - a server with a clock that a test can set.
#
#   use OwnClock;
#   start_with_clock($node);
#   set_clock(3600);		# an hour ahead of ours, at once
#
# See clock_shim.c. A server that is started again by itself or by another call
# has the clock of this machine.

package OwnClock;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_with_clock set_clock);

my $here = dirname(abs_path(__FILE__));
my ($library, $file);

sub build
{
	my $folder = PostgreSQL::Test::Utils::tempdir();

	($library, $file) = ("$folder/clock_shim.so", "$folder/offset");
	system('gcc', '-shared', '-fPIC', '-o', $library, "$here/clock_shim.c") == 0
	  or BAIL_OUT('no clock_shim.so');
	return set_clock(0);
}

# Starts a server whose clock is set_clock's.
sub start_with_clock
{
	my ($node) = @_;

	build() if !$library;
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{CLOCK_SHIM} = $file;
	return $node->start;
}

# The servers' clock is so many seconds ahead of ours.
sub set_clock
{
	my ($seconds) = @_;

	open my $fh, -e $file ? '+<:raw' : '>:raw', $file or die "$file: $!";
	print $fh pack 'q', $seconds;
	close $fh or die "$file: $!";
	return;
}

1;

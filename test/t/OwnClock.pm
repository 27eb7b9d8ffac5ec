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

our @EXPORT = qw(start_with_clock set_clock pass_time);

my $here = dirname(abs_path(__FILE__));
my ($library, $file);
my ($ahead, $passed) = (0, 0);

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
	($ahead) = @_;
	return write_offsets();
}

# For the servers so many seconds pass in a moment. With 30 at once a sender
# would count as one that hangs.
sub pass_time
{
	my ($seconds) = @_;

	$ahead += $seconds;
	$passed += $seconds;
	return write_offsets();
}

sub write_offsets
{
	open my $fh, -e $file ? '+<:raw' : '>:raw', $file or die "$file: $!";
	print $fh pack 'qq', $ahead, $passed;
	close $fh or die "$file: $!";
	return;
}

1;

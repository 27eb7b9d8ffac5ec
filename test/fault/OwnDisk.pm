# OwnDisk.pm - run a scenario with small disks of its own.
#
#   use OwnDisk table => '64m', wal => '40m';
#   use Fault;
#   OwnDisk::folder('table'); OwnDisk::fill('table'); OwnDisk::clear('table');
#
# A name that is a path, as /dev/shm, is that place itself.
#
# The first line starts the scenario again, in user and mount namespaces where each
# of these names is a file system in memory of that size. It comes before modules
# that redirect output. Neither root nor a real disk is needed, but a kernel that
# lets ordinary users make namespaces; else the scenario is skipped.

package OwnDisk;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Temp;
use Test::More;

# Arguments: user, folder, perl, the test (or "try"), NAME=SIZE...
my $set_up = <<'SH';
set -e
uid=$1 dir=$2 perl=$3 test=$4
shift 4
for disk in "$@"; do
	case $disk in
		/*) place=${disk%=*} ;;
		*) place=$dir/${disk%=*} && mkdir -p "$place" ;;
	esac
	mount -t tmpfs -o "size=${disk#*=},mode=0777" tmpfs "$place"
done
if [ "$test" = try ]; then
	exec unshare --user --map-user="$uid" true
fi
# servers do not run as root, not even as a root of this kind
exec unshare --user --map-user="$uid" "$perl" "$test"
SH

sub import
{
	my ($class, %disks) = @_;

	return if $ENV{WO_OWN_DISK} || $^C;
	my $dir = File::Temp::tempdir(CLEANUP => 0);
	# perl finds its modules where it does now
	local $ENV{PERL5LIB} = join ':', @INC;
	local $ENV{WO_OWN_DISK} = $dir;
	my @command = (qw(unshare --user --map-root-user --mount sh -c), $set_up, 'sh',
		$< || 1, $dir, $^X);
	my @disks = map { "$_=$disks{$_}" } sort keys %disks;
	my $said =
	  qx{@{[ map { "'" . s/'/'\\''/gr . "' " } @command, 'try', @disks ]} 2>&1};

	plan skip_all => 'no namespaces to be had here: ' . $said =~ s/\n.*//sr
	  if $? != 0;
	exec @command, abs_path($0), @disks or die "unshare: $!";
}

sub folder
{
	my ($name) = @_;

	return $name =~ m{^/} ? $name : "$ENV{WO_OWN_DISK}/$name";
}

# Leaves no byte free.
sub fill
{
	my ($name) = @_;
	my $file = folder($name) . '/filler';
	my $n = 0;

	open my $fh, '>>', $file or die "$file: $!";
	while (my $written = syswrite $fh, 'x' x 4096) { $n += $written; }
	close $fh;
	return $n;
}

sub clear
{
	my ($name) = @_;

	return unlink folder($name) . '/filler';
}

1;

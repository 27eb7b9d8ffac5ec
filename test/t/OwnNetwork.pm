# OwnNetwork.pm - run a test in a network and with names of its own.
#
#   use OwnNetwork qw(192.0.2.1 2001:db8::1);
#   use WebhookOutbox;
#   OwnNetwork::set_names('both.test' => '192.0.2.1 2001:db8::1');
#
# The first line starts the test again, in user, network and mount namespaces
# where these addresses are this machine's, and where resolver.pl knows all the
# names there are. It comes before modules that redirect output. Neither root
# nor the outer network is needed, but a kernel that lets ordinary users make
# namespaces; else the test is skipped.

package OwnNetwork;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use Test::More;

my $here = dirname(abs_path(__FILE__));

# Arguments: folder, user, this folder, perl, the test (or "try"), addresses.
my $set_up = <<'SH';
set -e
dir=$1 uid=$2 here=$3 perl=$4 test=$5
shift 5
ip link set lo up
for address in "$@"; do
	ip addr add "$address" dev lo nodad 2>/dev/null || ip addr add "$address" dev lo
done
mount --bind "$dir/resolv.conf" /etc/resolv.conf
mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf
if [ "$test" = try ]; then
	exec unshare --user --map-user="$uid" true
fi
"$perl" "$here/resolver.pl" --zone "$dir/zone" --log "$dir/questions" --deaf 127.0.0.2 --while $$ >"$dir/log" 2>&1 &
# servers do not run as root, not even as a root of this kind
exec unshare --user --map-user="$uid" "$perl" "$test"
SH

sub write_file
{
	my ($file, $text) = @_;

	open my $fh, '>', "$file.new" or die "$file: $!";
	print $fh $text;
	close $fh;
	return rename "$file.new", $file;
}

sub import
{
	my ($class, @addresses) = @_;

	return if $ENV{WO_OWN_NETWORK} || $^C;
	my $dir = File::Temp::tempdir(CLEANUP => 0);
	my $uid = $< || 1;
	# perl finds its modules where it does now
	local $ENV{PERL5LIB} = join ':', @INC;
	local $ENV{WO_OWN_NETWORK} = $dir;
	my @command = (qw(unshare --user --map-root-user --net --mount sh -c),
		$set_up, 'sh', $dir, $uid, $here, $^X);

	write_file("$dir/resolv.conf",
		"nameserver 127.0.0.1\noptions timeout:1 attempts:2\n");
	write_file("$dir/nsswitch.conf", "hosts: files dns\n");
	write_file("$dir/zone", '');
	my $said = qx{@{[ map { "'" . s/'/'\\''/gr . "' " } @command, 'try', @addresses ]} 2>&1};
	plan skip_all => 'no namespaces to be had here: ' . $said =~ s/\n.*//sr
	  if $? != 0;
	exec @command, abs_path($0), @addresses
	  or die "unshare: $!";
}

# Say which name servers are asked, in this order, with the system's own
# settings. 127.0.0.1 is resolver.pl, 127.0.0.2 never answers. The file is bound
# to its place, so it cannot be replaced.
sub set_nameservers
{
	my (@addresses) = @_;
	my $file = "$ENV{WO_OWN_NETWORK}/resolv.conf";

	open my $fh, '>', $file or die "$file: $!";
	print $fh map { "nameserver $_\n" } @addresses;
	return close $fh;
}

# Say what names there are, and their addresses as resolver.pl reads them.
sub set_names
{
	my (%names) = @_;

	return write_file("$ENV{WO_OWN_NETWORK}/zone",
		join '', map { "$_ $names{$_}\n" } sort keys %names);
}

1;

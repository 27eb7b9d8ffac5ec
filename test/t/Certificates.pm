# Certificates.pm - what tests have for TLS: certificates of their own.
#
#   use Certificates;
#   my ($cert, $key) = make_certificate('good', [ IP => '127.0.0.1' ]);
#   my $pem = ca_pem();    # of the CA that signed it, to be trusted
#
# A test that uses this is skipped where IO::Socket::SSL is not installed.

package Certificates;

use strict;
use warnings FATAL => 'all';

use Exporter ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(make_certificate ca_pem);

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($ca, $ca_key);

sub import
{
	eval { require IO::Socket::SSL::Utils; 1 }
	  or plan skip_all => 'IO::Socket::SSL is not installed';
	($ca, $ca_key) = IO::Socket::SSL::Utils::CERT_create(
		CA => 1,
		subject => { commonName => 'the CA of this test' })
	  if !$ca;
	goto &Exporter::import;
}

# A certificate for an address or name ([ IP => ... ], [ DNS => ... ]), with
# options of CERT_create (issuer => undef: its own).  Returns two files: it, and
# its key.
sub make_certificate
{
	my ($name, $host, %option) = @_;
	my ($cert, $key) = IO::Socket::SSL::Utils::CERT_create(
		subject => { commonName => $name },
		subjectAltNames => [$host],
		issuer => [ $ca, $ca_key ],
		%option);
	my @files = ("$dir/$name.pem", "$dir/$name.key");

	IO::Socket::SSL::Utils::PEM_cert2file($cert, $files[0]);
	IO::Socket::SSL::Utils::PEM_key2file($key, $files[1]);
	return @files;
}

# The certificate of the CA, as text.
sub ca_pem
{
	return IO::Socket::SSL::Utils::PEM_cert2string($ca);
}

1;

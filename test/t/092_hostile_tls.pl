# A receiver that cannot prove who it is, or does not finish its handshake, gets
# no event, and the attempt says why.
# Plain SQL cannot show it: it takes receivers with bad certificates.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Certificates;
use Hostile;
use WebhookOutbox;

# Its files as hostile.pl takes them.
sub certificate
{
	my ($name, $address, @more) = @_;

	return join ':', make_certificate($name, [ IP => $address ], @more);
}

my $good = certificate('good', '127.0.0.1');
my %kind = (
	good => "tls:$good",
	expired => 'tls:'
	  . certificate('expired', '127.0.0.1',
		not_before => time - 7200, not_after => time - 3600),
	not_yet => 'tls:'
	  . certificate('not_yet', '127.0.0.1', not_before => time + 3600,
		not_after => time + 7200),
	wrong_host => 'tls:' . certificate('wrong_host', '192.0.2.1'),
	self_signed => 'tls:' . certificate('self_signed', '127.0.0.1',
		issuer => undef),
	tls_1_0 => "tls:$good:TLSv1",
	tls_1_1 => "tls:$good:TLSv1_1",
	no_tls => 'plain',
	no_handshake => 'silent',
	reset => 'rst');
my $hostile = start_hostile(values %kind);
my @floods =
  qw(key_updates tickets some_tickets handshakes own_group long_group);
my $flood = start_tls_flood(split(/:/, $good), @floods);
my $node = start_node();

sub url_of
{
	my ($name, $path) = @_;

	return $flood->url($name) =~ s/^http:/https:/r if !$kind{$name};
	return $hostile->url($kind{$name}, $path) =~ s/^http:/https:/r;
}

# ---- attempts

my $not_accepted = 
  qr/certificate was not accepted: SSL certificate (?:problem|OpenSSL verify result): /;
my $too_much = 'answer takes more than 512 kB with all that frames it';
my %expect = (
	good => [ 'delivered', 200, '' ],
	unknown_ca => [ 'tls_error', '', qr/$not_accepted.*issuer.*/ ],
	expired => [ 'tls_error', '', qr/$not_accepted.*expired.*/ ],
	not_yet => [ 'tls_error', '', qr/$not_accepted.*not yet valid.*/ ],
	wrong_host => [ 'tls_error', '',
		qr/certificate was not accepted: .*127\.0\.0\.1.*/ ],
	self_signed => [ 'tls_error', '', qr/$not_accepted.*self-signed.*/ ],
	tls_1_0 => [ 'tls_error', '', qr/TLS handshake failed: .*/ ],
	tls_1_1 => [ 'tls_error', '', qr/TLS handshake failed: .*/ ],
	no_tls => [ 'tls_error', '', qr/TLS handshake failed: .*/ ],
	# it may come before the connection counts as open
	reset => [ 'tls_error|connect_error', '', qr/.+: .+/ ],
	no_handshake => [ 'timeout', '',
		qr/TLS handshake was not complete after 5\.\d s/ ],
	# libcurl hears of none of this, and OpenSSL by itself of nothing else
	key_updates => [ 'protocol_error', '', $too_much ],
	tickets => [ 'protocol_error', '', $too_much ],
	some_tickets => [ 'delivered', 200, '' ],
	handshakes => [ 'protocol_error', '', qr/.+/ ],
	# what one such handshake costs is up to the receiver: over a second
	own_group => [ 'tls_error', '', qr/TLS handshake failed: .*/ ],
	long_group => [ 'tls_error', '', qr/TLS handshake failed: .*/ ]);
my @trust = (ca_certificates => '$pem$' . ca_pem() . '$pem$');

for my $name (grep { $_ ne 'unknown_ca' } sort keys %expect)
{
	add_hostile($node, $name, url_of($name, '/ok'), @trust,
		$expect{$name}[0] eq 'timeout' ? (timeout => "'5 s'")
		: !$kind{$name} ? (timeout => "'2 min'") : ());
}
add_hostile($node, 'unknown_ca', url_of('good', '/ok'));
publish($node, 'order.created');
wait_for_attempts($node);
expect_attempts($node, %expect);

finish($node);

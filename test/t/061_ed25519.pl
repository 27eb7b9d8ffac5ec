# An Ed25519 key signs so that OpenSSL verifies it with the public key.
# Plain SQL cannot show it: another program has to verify.
use strict;
use warnings FATAL => 'all';
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

plan skip_all => 'there is no openssl command'
  if !grep { -x "$_/openssl" } split /:/, $ENV{PATH};
my $receiver = start_receiver();
my $node = start_node();
my $url = $receiver->url('/signed');
my $public = sql_value($node,
	"SELECT webhook_outbox.public_key(secret) FROM "
	  . "webhook_outbox.create_endpoint('ed', '$url', kind => 'ed25519')");
like($public, qr/^whpk_/, 'there is a public key');
publish($node, 'order.created', '{"order_id": 42}');
$receiver->wait_for('/signed', 1, 'the event arrives');

my ($request) = $receiver->requests('/signed');
my %header = %{ $request->{headers} };
like($header{'webhook-signature'}, qr/^v1a,\S+$/, 'with one v1a signature');

my $dir = $PostgreSQL::Test::Utils::tmp_check;

sub write_file
{
	my ($name, $bytes) = @_;
	open my $fh, '>:raw', "$dir/$name" or die;
	print $fh $bytes;
	close $fh;
	return "$dir/$name";
}

# the public key as OpenSSL wants it: 12 bytes of DER before the raw key
my $der = pack('H*', '302a300506032b6570032100')
  . decode_base64($public =~ s/^whpk_//r);
my $key = write_file('ed.pem',
	"-----BEGIN PUBLIC KEY-----\n" . encode_base64($der)
	  . "-----END PUBLIC KEY-----\n");
my $signature = write_file('ed.sig',
	decode_base64($header{'webhook-signature'} =~ s/^v1a,//r));
my $body = $request->{body};
utf8::encode($body);
my $signed = "$request->{id}.$header{'webhook-timestamp'}.$body";
my @verify = (qw(openssl pkeyutl -verify -pubin -rawin -inkey), $key,
	'-sigfile', $signature, '-in');

command_ok([ @verify, write_file('ed.msg', $signed) ], 'OpenSSL verifies it');
command_fails([ @verify, write_file('ed.bad', "$signed ") ],
	'and refuses a changed body');

finish($node, $receiver);

# Verify a webhook of webhook_outbox (Standard Webhooks 1.0.0), Perl 5.
#
# Needs core modules only. Call verify() before the body is parsed, with the
# bytes as they came over the wire.

package Verify;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(decode_base64 encode_base64);

my $tolerance_s = 5 * 60;

# Returns the id of the event, or dies.
#   $secret   "whsec_...", as create_endpoint() returned it
#   $headers  a reference to a hash whose keys are in lower case
#   $body     bytes, exactly as received
sub verify
{
	my ($secret, $headers, $body, $now) = @_;
	my ($id, $timestamp, $signatures) =
	  @$headers{qw(webhook-id webhook-timestamp webhook-signature)};

	for my $name (qw(webhook-id webhook-timestamp webhook-signature))
	{
		die "header $name is missing\n" if !defined $headers->{$name};
	}

	# An old request may be one that somebody recorded and sends again.
	die "webhook-timestamp is not a number\n" if $timestamp !~ /\A[0-9]+\z/;
	die "webhook-timestamp is too far from now\n"
	  if abs(($now // time) - $timestamp) > $tolerance_s;

	my $key = decode_base64($secret =~ s/\Awhsec_//r);
	my $expected =
	  encode_base64(hmac_sha256("$id.$timestamp.$body", $key), '');

	# While a secret is rotated there is one signature per secret.
	for my $signature (split / /, $signatures)
	{
		my ($version, $value) = split /,/, $signature, 2;
		return $id if $version eq 'v1' && is_same($value // '', $expected);
	}
	die "no signature is right\n";
}

# Compares in a time that does not tell where the first difference is.
sub is_same
{
	my ($one, $other) = @_;
	my $difference = length($one) ^ length($other);

	$difference |= ord(substr $one, $_, 1) ^ ord(substr $other, $_, 1)
	  for 0 .. (length $one < length $other ? length $one : length $other) - 1;
	return $difference == 0;
}

1;

# What a receiver answers is stored as text that is valid in the database's
# encoding, whichever that is, and that no terminal acts on.
# Plain SQL cannot show it: the bytes come from a receiver.
use strict;
use warnings FATAL => 'all';
use Test::More;
use Hostile;
use WebhookOutbox;

my $hostile = start_hostile('plain');
my $node = start_node(extension => 0);
my %path = (every => '/body/every-byte', text => '/body/utf-8');

# What becomes of bytes when these are kept as they are.
sub kept
{
	my ($bytes, $is_kept) = @_;

	return join '',
	  map { /^$is_kept$/ ? $_ : sprintf '\\x%02x', ord } split //, $bytes;
}

my $every = join '', map { chr } 0 .. 255;
my $ascii = qr/[\t\n -~]/;
my $text = "\xc3\xbc\\xc2\\x9b\xe2\x82\xac";
my %expect = (
	UTF8 => { every => kept($every, $ascii), text => $text },
	# nobody converts for it: what any client can read is UTF-8
	SQL_ASCII => { every => kept($every, $ascii), text => $text },
	LATIN1 => {
		every => kept($every, qr/$ascii|[\xa0-\xff]/),
		text => "\xc3\xbc\xc2\\x9b\xe2\\x82\xac" });

for my $encoding (sort keys %expect)
{
	my $db = lc $encoding;

	$node->safe_psql('postgres',
		"CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'"
	);
	$node->safe_psql($db, 'CREATE EXTENSION webhook_outbox');
	add_hostile($node, $_, $hostile->url('plain', $path{$_}), dbname => $db)
	  for sort keys %path;
	publish($node, 'odd', undef, $db);
}
for my $encoding (sort keys %expect)
{
	my $db = lc $encoding;

	wait_for_attempts($node, $db);
	for my $name (sort keys %path)
	{
		# as bytes, past the conversions of psql
		my $stored = sql_value(
			$node, qq(
			SELECT encode(convert_to(response, '$encoding'), 'hex')
			FROM webhook_outbox.attempt
			  JOIN webhook_outbox.endpoint USING (endpoint_id)
			WHERE name = '$name'), $db);
		is(pack('H*', $stored), $expect{$encoding}{$name},
			"$encoding: $path{$name} is stored as text");
	}
}

finish($node);

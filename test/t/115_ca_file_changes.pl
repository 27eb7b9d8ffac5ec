# Receivers are verified by the CA certificates that are in ca_file now, not by
# those that were there when the sender started.
# Plain SQL cannot show it: it takes a receiver with TLS, and a clock that can
# be set.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Certificates;
use Hostile;
use OwnClock;
use WebhookOutbox;

my $good = join ':', make_certificate('good', [ IP => '127.0.0.1' ]);
my ($other) =
  make_certificate('other', [ DNS => 'other.test' ], issuer => undef);
my $tls = start_hostile("tls:$good");
my $file = PostgreSQL::Test::Utils::tempdir() . '/ca.pem';
my $node = start_node(start => 0, conf => "webhook_outbox.ca_file = '$file'\n"
	  . 'webhook_outbox.poll_interval = 200ms');

# Replaces the file as update-ca-certificates does.
sub trust
{
	my ($pem) = @_;

	append_to_file("$file.new", $pem);
	rename "$file.new", $file or die "$file: $!";
	return;
}

sub has_attempt
{
	my ($id, $outcome, $claim) = @_;

	return wait_for_sql(
		$node, qq(
		SELECT count(*) > 0 FROM webhook_outbox.attempt
		WHERE event_id = '$id' AND outcome = '$outcome'), $claim);
}

trust(slurp_file($other));
start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
add_hostile($node, 'good',
	$tls->url("tls:$good", '/ok') =~ s/^http:/https:/r,
	retry_schedule => "array_fill('1 s'::interval, '{100}')");
my $id = publish($node, 'order.created');
has_attempt($id, 'tls_error', 'who is not trusted gets no event');

# what is reloaded is what there is: the setting itself is as it was
trust(ca_pem());
$node->reload;
has_attempt($id, 'delivered', 'whom a new file trusts gets it after a reload');
has_attempt(publish($node, 'order.created'), 'delivered',
	'and so it does with the next one, on a connection that is kept');

# an update of the system does not tell the server
trust(slurp_file($other));
my $is_trusted = 1;
for my $step (1 .. 6)
{
	pass_time(20);
	$id = publish($node, 'order.created');
	wait_for_sql(
		$node, qq(
		SELECT count(*) > 0 FROM webhook_outbox.attempt
		WHERE event_id = '$id'), "after $step times 20 seconds one is sent");
	$is_trusted = sql_value(
		$node, qq(
		SELECT bool_or(outcome = 'delivered') FROM webhook_outbox.attempt
		WHERE event_id = '$id')) eq 't';
	last if !$is_trusted;
}
ok(!$is_trusted, 'who is not trusted any more is found out within minutes');

# half an update
unlink $file or die "$file: $!";
$node->reload;
trust(ca_pem());
$node->reload;
has_attempt($id, 'delivered', 'a file that comes back counts');

finish($node);

# Endpoints that accept requests and never answer, with work for more than all
# slots, leave some to others: to those that are known to answer, and to new ones.
# Plain SQL cannot show it: it takes receivers that hang.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $N_HANGING = 20;
my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.max_in_flight = 100');

create_endpoint($node, $receiver, 'known', '/known', event_types => "'{well}'");
publish($node, 'well');
$receiver->wait_for('/known', 1, 'an endpoint that is well is known');

# two of them could take up all slots
my $url = $receiver->url('/hold/');
$node->safe_psql(
	'postgres', qq(
	SELECT webhook_outbox.create_endpoint('hang' || n, '$url' || n,
	  event_types => '{hang}', timeout => '5 min')
	FROM generate_series(1, $N_HANGING) n));
publish_many($node, 'hang', 50);
wait_until(sub { in_flight() > 30 }, 'requests hang');
publish($node, 'well') for 1 .. 20;
$receiver->wait_for('/known', 21, 'the known one gets its events');
create_endpoint($node, $receiver, 'new', '/new', event_types => "'{well}'");
publish($node, 'well') for 1 .. 20;
$receiver->wait_for('/new', 20, 'so does a new one');
$receiver->wait_for('/known', 41, 'and the known one again');
is( sql_value($node, q(SELECT count(*) FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name ~ '^hang')),
	'0', 'while none of those that hang has ended');
my $stats = $receiver->stats;
my @hanging = grep { m{^/hold/} } keys %$stats;
cmp_ok(scalar @hanging, '>', 10, 'they too share what there is');
note(scalar @hanging . ' of them have a request, ' . in_flight() . ' in flight');

# one request without an answer does not make one of them of it
sub hang_more
{
	my ($n) = @_;

	$node->safe_psql(
		'postgres', qq(
		SELECT webhook_outbox.create_endpoint('hang_more' || n, '${url}more' || n,
		  event_types => '{hang_more}', timeout => '5 min')
		FROM generate_series(1, $n) n));
	return publish_many($node, 'hang_more', 4);
}

hang_more(80);
wait_until(sub { in_flight() >= 62 }, 'all slots for such are taken');
$receiver->script('/known', { act => 'reset' });
my $lost = publish($node, 'well');
wait_until(sub { outcome_of($lost) eq 'protocol_error' },
	'the known one loses a connection');
$receiver->script('/known', undef);
my $next = publish($node, 'well');
wait_until(sub { outcome_of($next) eq 'delivered' },
	'and gets the next event all the same');

finish($node, $receiver);

sub outcome_of
{
	my ($id) = @_;

	return sql_value(
		$node, qq(
		SELECT coalesce(min(outcome::text), '') FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE name = 'known' AND event_id = '$id'));
}

sub in_flight
{
	return sql_value($node, q(SELECT in_flight FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher'));
}

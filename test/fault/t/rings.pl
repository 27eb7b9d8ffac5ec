# The server dies at each step of turning the ring of events and of emptying a leaf,
# while retries that come later than retention and dead letters need what stands
# there: no event is lost, and each keeps its payload for as long as it is needed.
#
# Settings: FAULT_EVENTS (how many for each strike).
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use WebhookOutbox;

my $n_events = fault_size(500, 60, 'EVENTS');
my @strikes = fault_size(1, 0)
  ? map { my $point = $_; map { [ $point, $_ ] } qw(kill immediate flushed exit) }
  qw(mid_turn after_turn before_fence mid_keep after_slice after_keep mid_truncate after_truncate)
  : ([ after_turn => 'flushed' ], [ after_slice => 'kill' ], [ after_keep => 'kill' ], [ after_truncate => 'immediate' ]);

# six seconds is the least; a leaf is filled for one
my $world = fault_world(
	conf => "webhook_outbox.event_retention = 6s\n",
	endpoints => [
		[ 'well', '/well', '{*}', '{100ms,200ms,500ms,1s,1s,1s}' ],
		[ 'late', '/fail/1/late', '{order.late}', '{9s,1s,1s,1s,1s}' ],
		[ 'dead', '/status/503/dead', '{order.doomed}', '{100ms}' ] ]);
my $node = $world->node;
my $n_published = 0;

# Publishes, and keeps what was committed: the table forgets it.
sub publish_events
{
	my ($first, $last) = ($n_published + 1, $n_published += $n_events);
	my $rows = $node->safe_psql('postgres', qq(
		WITH e AS (INSERT INTO webhook_outbox.event (type, payload)
		SELECT 'order.' || CASE n % 10 WHEN 7 THEN 'doomed' WHEN 3 THEN 'late' ELSE 'paid' END,
			format('{"key":"k%s"}', n)::json
		FROM generate_series($first, $last) n RETURNING *)
		SELECT concat_ws(chr(9), id, type, payload->>'key') FROM e));
	$world->append('events_published', "$rows\n");
	return;
}

for (@strikes)
{
	publish_events();
	ok($world->strike_at(@$_), "the server dies by $_->[1] at $_->[0]");
	publish_events();
}

# which takes as many turns again, after the last strike
wait_for_sql($node, q(SELECT count(*) = 0 FROM webhook_outbox.event e
	WHERE type = 'order.paid'), 'what nothing needs is emptied');
$world->wait_settled(60);
is( sql_value($node, q(SELECT count(*) FROM webhook_outbox.event e
		JOIN webhook_outbox.dead_letter d ON d.event_id = e.id
		WHERE e.payload->>'key' LIKE 'k%')),
	$n_published / 10, 'every dead letter has its event, with its payload');
is($world->receiver->stats('/fail/1/late')->{accepted},
	$n_published / 10, 'every late retry came, its leaf emptied meanwhile');
$world->judge;
$world->finish;

# What many commands ask for is done without meeting again and again those that
# were done: though somebody's snapshot is old, and an index keeps them for it.
# Plain SQL cannot show it: the dispatcher reads them, some at a time.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

use constant EVENTS => 10_000;    # ten times what the dispatcher reads at once

my $node = start_node(conf => "autovacuum = off\nwebhook_outbox.poll_interval = 1min");

# nobody listens there
$node->safe_psql('postgres', q(SELECT webhook_outbox.create_endpoint('partner', 'http://127.0.0.1:1/',
	retry_schedule => '{1h,2h}')));
publish_many($node, 'order.created', EVENTS);
my $waiting = q(SELECT count(*) FROM webhook_outbox.delivery WHERE state = 'retrying' AND next_attempt_at > now());
wait_for_sql($node, "SELECT ($waiting) = @{[ EVENTS ]}", 'many wait for a retry');

# How many rows of the index the dispatcher has met.
sub n_met
{
	return sql_value($node, q(SELECT idx_tup_read FROM pg_stat_user_indexes
		WHERE schemaname = 'webhook_outbox' AND indexrelname = 'command_event'));
}

my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $before = n_met();
is(sql_value($node, "SELECT webhook_outbox.retry_now('partner')"), EVENTS, 'all are to be tried now');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.command', 'that is done');
wait_for_sql($node, q(SELECT count(*) = 2 * 10000 FROM webhook_outbox.attempt), 'and all are tried');
wait_until(sub { n_met() - $before >= EVENTS }, 'the rows that were met are counted');
cmp_ok(n_met() - $before, '<', 4 * EVENTS, 'what was done is not met each time');

# those that were asked for meanwhile are found, wherever they stand
my $id = publish($node, 'order.last');
wait_for_sql($node, qq(SELECT count(*) = 1 FROM webhook_outbox.delivery WHERE event_id = '$id'), 'one more fails');
is(sql_value($node, qq(SELECT sum(webhook_outbox.cancel(event_id)) FROM (
		(SELECT event_id FROM webhook_outbox.delivery ORDER BY event_id LIMIT 1)
		UNION ALL (SELECT '$id')) e)), '2', 'the first and the last one are cancelled');
wait_for_sql($node, q(SELECT count(*) = 2 FROM webhook_outbox.delivery WHERE state = 'cancelled'), 'they are found');
$session->query_safe('COMMIT');
$session->quit;

finish($node);

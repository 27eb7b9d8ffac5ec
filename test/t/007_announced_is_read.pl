# A commit that is announced is read at once, whatever the dispatcher was doing
# then: not running, or amid the pages of a window that was open before. With a
# poll once in a minute only what commits announce can bring events early.
# Plain SQL cannot show it: a receiver sees it.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.poll_interval = '1min'");
my $dispatchers = q(SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox dispatcher');

create_endpoint($node, $receiver, 'well', '/well', event_types => q('{late}'));
publish($node, 'late');
$receiver->wait_for('/well', 1, 'an event is delivered');

sub list
{
	my ($list, $n) = @_;

	$node->append_conf('postgresql.conf',
		"webhook_outbox.databases = '$list'");
	$node->reload;
	return wait_for_sql($node, "SELECT ($dispatchers) = $n",
		"dispatchers for '$list': $n");
}

list('nowhere', 0);
my $while_away = publish($node, 'late');
list('', 1);
$receiver->wait_for('/well', 2, 'what was committed while none ran arrives');
ok( sql_value(
		$node, qq(SELECT a.started_at < w.running_since + interval '30 s'
		FROM webhook_outbox.attempt a, webhook_outbox.worker_status w
		WHERE a.event_id = '$while_away' AND w.process = 'dispatcher')) eq 't',
	'and does not wait for the poll');

for my $round (1 .. 3)
{
	$node->safe_psql('postgres', <<~'END');
		INSERT INTO webhook_outbox.event (type, payload)
			SELECT 'untaken', '{}' FROM generate_series(1, 5000);
		INSERT INTO webhook_outbox.event (type, payload)
			VALUES ('late', '{}');
		END
	$receiver->wait_for('/well', 2 + $round,
		"round $round: what was committed while others were read arrives");
}
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE wait_ms > 30000)), '0', 'and does not wait for the poll');

finish($node, $receiver);

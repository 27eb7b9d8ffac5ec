# A replay of events that the dispatcher has not read yet does not slow it
# down: it looks at its commands a few times, however many wait for events.
# Plain SQL cannot show it: the dispatcher does the work.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

use constant EVENTS => 10_000;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.enabled = off\n");
create_endpoint($node, $receiver, 'all', '/ok');
$node->safe_psql('postgres',
	"INSERT INTO webhook_outbox.event (type, payload) SELECT 't', '{}' "
	  . 'FROM generate_series(1, ' . EVENTS . ')');
is( sql_value(
		$node, "SELECT webhook_outbox.replay('all', '-infinity')"),
	EVENTS, 'all that waits to be read is to be sent again');
my $last = publish($node, 'last');
sql_value($node, "SELECT webhook_outbox.cancel('$last')");

$node->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
$node->reload;
wait_for_sql(
	$node, q(SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)),
	'all commands are carried out');
all_delivered($node, 'and all events delivered');
is( sql_value(
		$node, q(SELECT count(DISTINCT event_id) FROM webhook_outbox.attempt
		WHERE outcome = 'delivered' AND event_id <> ') . $last . q(')),
	EVENTS, 'each of them');

# its statistics are reported at the latest when it ends
my $pid = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
worker_pid($node, 'dispatcher', $pid);
my $rows = sql_value(
	$node, q(SELECT seq_tup_read + coalesce(idx_tup_fetch, 0)
	FROM pg_stat_all_tables WHERE relid = 'webhook_outbox.command'::regclass));
note("rows of command that were read: $rows");
cmp_ok($rows, '>=', EVENTS, 'each command is looked at');
cmp_ok($rows, '<', 12 * EVENTS, 'a few times');

finish($node, $receiver);

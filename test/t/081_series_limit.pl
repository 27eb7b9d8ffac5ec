# Metrics tell apart only so many combinations of endpoint, type, tenant and
# source as webhook_outbox.max_series says, over restarts too; nothing of the
# rest is lost, nor of events that no endpoint takes.
# Plain SQL cannot show it: it takes deliveries.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.max_series = 3');
my $one = create_endpoint($node, $receiver, 'one', '/one',
	event_types => "'{order.*,solo.*}'");
my $two = create_endpoint($node, $receiver, 'two', '/two',
	event_types => "'{order.*}'");

# Ends the dispatcher in an orderly way: what it has counted is written.
sub restart_dispatcher
{
	my $pid = worker_pid($node, 'dispatcher');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return worker_pid($node, 'dispatcher', $pid);
}

# The series of an endpoint, and how many attempts each has.
sub series
{
	my ($endpoint_id) = @_;

	return sql_value($node, qq(
		SELECT string_agg(concat_ws(' ', event_type, tenant, source, attempts), ', ' ORDER BY event_type COLLATE "C", tenant)
		FROM (SELECT i.event_type, i.tenant, i.source, sum(r.attempts) AS attempts
		      FROM webhook_outbox.series i JOIN webhook_outbox.series_rollup r USING (series_id)
		      WHERE i.endpoint_id = $endpoint_id AND r.resolution = 1
		      GROUP BY i.series_id) x));
}

$node->safe_psql('postgres', q(
	INSERT INTO webhook_outbox.event (type, tenant, source, payload)
	VALUES ('order.a', 'acme', 'shop', '1'), ('order.a', 'acme', 'shop', '2')));
all_delivered($node, 'two events of one kind, at two endpoints');
restart_dispatcher();
is(series($one), 'order.a acme shop 2', 'one series');
is(series($two), 'order.a acme shop 2', 'for each endpoint');
publish($node, 'solo.b');
all_delivered($node, 'a third kind');
publish($node, $_) for qw(order.c order.d solo.b);
all_delivered($node, 'and more than are allowed');
restart_dispatcher();
is( sql_value($node, q(SELECT count(*) FROM webhook_outbox.series
	WHERE event_type <> '(other)')), '3', 'no more series than allowed');
is(series($one), '(other) 2, order.a acme shop 2, solo.b 2',
	'what is beyond has one series');
is(series($two), '(other) 2, order.a acme shop 2', 'for each endpoint');
publish($node, $_) for qw(solo.b order.e);
all_delivered($node, 'known and unknown kinds');
is( sql_value($node, q(SELECT count(*) FROM webhook_outbox.open_series_minutes()
	WHERE event_type = 'order.e')), '0',
	'nor has what is not rolled up yet a series that it will not have');
restart_dispatcher();
is(series($one), '(other) 3, order.a acme shop 2, solo.b 3',
	'after a restart the known ones go on');
is(sql_value($node, 'SELECT count(*) = count(DISTINCT (endpoint_id, event_type, tenant, source)) FROM webhook_outbox.series'),
	't', 'none is there twice');

$node->append_conf('postgresql.conf', 'webhook_outbox.max_series = 100');
$node->reload;
wait_for_sql($node, q(SELECT current_setting('webhook_outbox.max_series') = '100'), 'the limit is raised');
# the dispatcher obeys a reload before what is published after it
publish($node, $_) for qw(order.e solo.b);
$node->safe_psql('postgres', q(
	INSERT INTO webhook_outbox.event (type, tenant, payload) SELECT 'nobody.asked', 'acme', '{}' FROM generate_series(1, 5)));
publish($node, 'order.f');
all_delivered($node, 'kinds that nobody takes among others');
restart_dispatcher();
is(series($one), '(other) 3, order.a acme shop 2, order.e 1, order.f 1, solo.b 4',
	'new kinds get their own series');
is(series(0), 'nobody.asked acme 5', 'what no endpoint takes is counted');

finish($node, $receiver);

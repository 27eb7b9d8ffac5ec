# An endpoint that fails raises an alert: others that subscribed are told, signed,
# and so is a channel and the log; the endpoint itself is not. The statement of
# the incident repairs it, and the same are told. A missing dispatcher is seen.
# Plain SQL cannot show it: it takes workers, and receivers that are told.
use strict;
use warnings FATAL => 'all';
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.maintenance = off');

create_endpoint($node, $receiver, 'shaky', '/shaky',
	event_types => "'{order.*,webhook_outbox.alert.*}'",
	retry_schedule => "'{1ms}'");
create_endpoint($node, $receiver, 'ops', '/ops',
	event_types => "'{webhook_outbox.alert.*}'",
	retry_schedule => "'{1ms}'");
create_endpoint($node, $receiver, 'all', '/all');
$node->safe_psql('postgres', q(
	UPDATE webhook_outbox.alert_rule SET enabled = name = 'dispatcher_missing';
	INSERT INTO webhook_outbox.alert_rule (name, signal, scope, threshold,
		severity, keep_firing_for, notify_channel)
	VALUES ('kept', 'dead_letters_kept', 'endpoint', 0, 'critical', '0', 'Pager')));

# What a run of maintain() notified.
sub evaluate
{
	my $out = $node->safe_psql('postgres', q(LISTEN "Pager";
		SELECT coalesce(error, 'fine') FROM webhook_outbox.maintain('alerts');));

	like($out, qr/^fine$/m, 'alerts are evaluated without an error');
	return map { decode_json($_) }
	  $out =~ /notification "Pager" with payload "(.*)" received/g;
}

# The states, rules and subjects that a path was told of.
sub told
{
	my ($path) = @_;

	return map { "$_->{event_type} $_->{data}{rule} $_->{data}{subject}" }
	  grep { $_->{event_type} =~ /^webhook_outbox/ }
	  map { decode_json($_->{body}) } $receiver->requests($path);
}

is(scalar evaluate(), 0, 'at first there is nothing to tell');
$receiver->script('/shaky', { status => 500 });
my $id = publish($node, 'order.created');
wait_for_sql($node, 'SELECT count(*) = 1 FROM webhook_outbox.dead_letter',
	'a delivery is given up');
my @notified = evaluate();
is(scalar @notified, 1, 'the channel is notified once');
is("$notified[0]{state} $notified[0]{subject} $notified[0]{value}",
	'firing shaky 1', 'with what fires');
$receiver->wait_for('/ops', 1, 'the endpoint that subscribed is told');
is_deeply([ told('/ops') ], ['webhook_outbox.alert.firing kept shaky'],
	'of the one that fails');
my ($sent) = map { decode_json($_->{body}) } $receiver->requests('/ops');
is( sql_value(
		$node, 'SELECT incident_id FROM webhook_outbox.incident'),
	$sent->{data}{incident_id}, 'with its incident');
like($sent->{data}{message}, qr/^endpoint "shaky": 1 dead letter is kept/,
	'in words');
like(
	slurp_file($node->logfile),
	qr/alert "kept" \(critical\) fires: endpoint "shaky"/,
	'the log has a line');
like(slurp_file($node->logfile), qr/incident \d+ is opened: endpoint "shaky"/,
	'and one for the incident');
is(scalar evaluate(), 0, 'an alert that goes on firing is not told again');

# an alert about a delivery of alerts goes to others alone, and ends there
$receiver->script('/ops', { status => 500 });
$receiver->script('/shaky', { status => 200 });
my $repair =
  sql_value($node, 'SELECT next_sql FROM webhook_outbox.incident');
like($repair, qr/redeliver_dead_letters\(endpoint => 'shaky', since => /,
	'the incident has the statement that repairs it');
$node->safe_psql('postgres', $repair);
$receiver->wait_for('/shaky', 1, 'the dead letter arrives');
is(($receiver->accepted_ids('/shaky'))[0], $id, 'with its old id');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.delivery_status
	WHERE state IN ('pending', 'retrying')), 'and is recorded');
@notified = evaluate();
is("$notified[0]{state} $notified[0]{reason}",
	'resolved cleared', 'the alert is resolved');
wait_for_sql(
	$node, q(SELECT endpoint_name = 'ops'
	AND event_type = 'webhook_outbox.alert.resolved'
	FROM webhook_outbox.dead_letter),
	'who is to be told cannot be');
@notified = evaluate();
is("$notified[0]{state} $notified[0]{subject}",
	'firing ops', 'which is an alert too');
$receiver->wait_for('/shaky', 2, 'of which another is told');
all_delivered($node, 'and nothing else is sent');
is(scalar evaluate(), 0, 'nothing follows from that');
is_deeply([ told('/shaky') ], ['webhook_outbox.alert.firing kept ops'],
	'nobody is told about himself');
is_deeply([ told('/all') ], [], 'an endpoint for all types gets no alerts');

# Publishers choose the names of tenants; in the log they are on one line.
my $log_start = -s $node->logfile;
$node->safe_psql('postgres', q(
	INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, threshold)
	VALUES ('busy', 'attempts', 'tenant', '5m', 0);
	INSERT INTO webhook_outbox.event (type, payload, tenant)
	VALUES ('order.created', '{}', E'acme\nLOG:  x\u001b[2J\u009b2J')));
$receiver->wait_for('/shaky', 3, 'an event of a tenant with an odd name');
all_delivered($node, 'is delivered');
evaluate();
like(
	slurp_file($node->logfile, $log_start),
	qr/alert "busy" \(warning\) fires: tenant "acme\?LOG:  x\?\[2J\?\?2J": 2 requests/,
	'the log has one line about it, without what a terminal would obey');

# nobody starts a dispatcher
my $launcher = worker_pid($node, 'launcher');
my $dispatcher = worker_pid($node, 'dispatcher');
my $seen = q(SELECT count(*) = 1 FROM webhook_outbox.alert
	WHERE rule = 'dispatcher_missing' AND state = 'pending');
is(sql_value($node, $seen), 'f', 'a dispatcher works');
kill 'STOP', $launcher;
sql_value($node, "SELECT pg_terminate_backend($dispatcher)");
wait_for_sql($node, $seen, 'that it is gone is seen without maintain()');
is( sql_value(
		$node, q(SELECT severity || ': ' || message FROM webhook_outbox.alert
		WHERE rule = 'dispatcher_missing')),
	'critical: this database: no dispatcher works: nothing is delivered',
	'in words');
kill 'CONT', $launcher;
worker_pid($node, 'dispatcher', $dispatcher);
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.alert
	WHERE rule = 'dispatcher_missing'), 'that it is back, too');

# nor can one where the library is not loaded
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is( sql_value(
		$node, 'SELECT rule FROM webhook_outbox.alert WHERE signal LIKE \'%_missing\''),
	'dispatcher_missing', 'a server without the library says so');
is( sql_value(
		$node, "SELECT error IS NULL FROM webhook_outbox.maintain('alerts')"),
	't', 'and evaluates the rest');

finish($node, $receiver);

# A dump takes along what users made of rules and weights, and their incidents;
# what is as it came is the new server's.
# Plain SQL cannot show it: it takes pg_dump.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $node = start_node(conf => 'webhook_outbox.enabled = off');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/alerts_$$.sql";
my %query = (
	rules => q(SELECT name, signal, threshold, tier, endpoint, enabled, origin
		FROM webhook_outbox.alert_rule ORDER BY name COLLATE "C"),
	weights => q(SELECT * FROM webhook_outbox.incident_severity
		UNION ALL SELECT * FROM webhook_outbox.incident_likelihood
		UNION ALL SELECT * FROM webhook_outbox.incident_impact ORDER BY 1),
	incidents => q(SELECT i.subject, i.score, i.vector, i.alerts, e.kind, e.note
		FROM webhook_outbox.incident i
		JOIN webhook_outbox.incident_event e USING (incident_id)
		ORDER BY e.incident_event_id),
	history => 'SELECT * FROM webhook_outbox.alert_history ORDER BY change_id',
	silences => 'SELECT * FROM webhook_outbox.alert_silence',
	actions => 'SELECT * FROM webhook_outbox.operator_action ORDER BY action_id');

$node->safe_psql('postgres', q(
	SELECT webhook_outbox.create_endpoint('billing', 'https://example.com/');
	SELECT webhook_outbox.pause_endpoint('billing');
	UPDATE webhook_outbox.alert_rule SET enabled = false WHERE scope = 'system';
	UPDATE webhook_outbox.alert_rule SET threshold = 98, endpoint = 'billing'
		WHERE name = 'success_low';
	INSERT INTO webhook_outbox.alert_rule (name, signal, scope, threshold, tier)
		VALUES ('mine', 'blocked', 'tier', 7, 1);
	UPDATE webhook_outbox.incident_impact SET weight = 5
		WHERE condition = 'tier_1';
	UPDATE webhook_outbox.endpoint SET enabled = false, disabled_at = now();
	SELECT webhook_outbox.evaluate_alerts();
	SELECT webhook_outbox.note_incident(incident_id, 'they move')
		FROM webhook_outbox.incident;
	SELECT webhook_outbox.silence_alert(NULL, 'billing',
		now() + interval '1 day', 'they move')));
is( sql_value(
		$node, q(SELECT string_agg(kind, ' ') FROM webhook_outbox.incident_event)),
	'opened note', 'there is an incident');
my %before = map { $_ => sql_value($node, $query{$_}) } keys %query;

$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'it is dumped');
unlike(slurp_file($dump), qr/^(?:queue_long|stopped)\t/m,
	'what is as it came is not in the dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my ($rc, $out, $err) =
  $node->psql('copy', slurp_file($dump), on_error_stop => 0);
unlike($err, qr/ERROR: (?! *schema "webhook_outbox" already exists)/,
	'it loads without an error');
is(sql_value($node, $query{$_}, 'copy'), $before{$_}, "$_ are the same")
  for sort keys %query;
isnt($before{$_}, '', "there are $_") for sort keys %query;
($rc, $out, $err) = $node->psql('copy', q(
	SELECT webhook_outbox.evaluate_alerts();
	SELECT webhook_outbox.resume_endpoint('billing');
	SELECT webhook_outbox.silence_alert(NULL, 'x', now() + interval '1 day', 'x')));
is($err, '', 'numbers go on where they were');

finish($node);

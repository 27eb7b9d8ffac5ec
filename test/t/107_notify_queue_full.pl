# Any role can fill the queue of NOTIFY. That keeps no alert from being evaluated, nor
# the endpoints that subscribed from being told: the channel alone is left out.
# Plain SQL cannot show it: it takes a session that does not read what it listens for.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

# Before 17 the queue has 8 GB and cannot be made smaller.
my ($major) = `postgres --version` =~ /(\d+)/;
plan skip_all => 'max_notify_queue_pages came with PostgreSQL 17' if $major < 17;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.maintenance = off\nmax_notify_queue_pages = 64\n");

create_endpoint($node, $receiver, 'ops', '/ops', event_types => "'{webhook_outbox.alert.*}'");
$node->safe_psql('postgres', q(
	UPDATE webhook_outbox.alert_rule SET enabled = false;
	INSERT INTO webhook_outbox.alert_rule (name, signal, scope, comparison, threshold, min_samples, pending_for,
		notify_channel)
	VALUES ('always', 'queue_length', 'overall', '>=', 0, 0, '0', 'pager');
	CREATE ROLE nobody LOGIN));

my $listener = $node->background_psql('postgres');
$listener->query_safe('SET ROLE nobody; LISTEN noise; BEGIN; SELECT 1');
my ($rc, $out, $err) = $node->psql('postgres', q(
	SET ROLE nobody;
	DO $$ BEGIN
	  FOR i IN 1 .. 1000 LOOP
	    PERFORM pg_notify('noise', i || repeat('x', 7000));
	    COMMIT;
	  END LOOP;
	END $$));
like($err, qr/too many notifications in the NOTIFY queue/, 'somebody has filled the queue');

($rc, $out, $err) = $node->psql('postgres',
	q(SELECT coalesce(error, 'fine') FROM webhook_outbox.maintain('alerts')));
is($out, 'fine', 'alerts are evaluated all the same');
like($err, qr/WARNING:  webhook_outbox could not tell of alert "always": the queue of notifications is nearly full/,
	'who calls is told whom it could not tell');
is(sql_value($node, 'SELECT string_agg(rule || state, $$ $$) FROM webhook_outbox.alert_history'),
	'alwaysfiring', 'the alert is on record');
$receiver->wait_for('/ops', 1, 'the endpoint that subscribed is told');

$listener->query_safe('COMMIT');
$listener->quit;
finish($node, $receiver);

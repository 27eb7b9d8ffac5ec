# Rings turn and leaves are emptied, but an event that a dead letter or a
# retry still needs outlives its leaf, payload and all.
# All that by a dispatcher that works as a role which is no superuser.
# Plain SQL cannot show it: it takes deliveries, and time that passes.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(
	conf => "webhook_outbox.event_retention = 6s\n"
	  . "webhook_outbox.attempt_retention = 6s\n");
my $pid = worker_pid($node, 'dispatcher');
$node->safe_psql(
	'postgres', q(
	CREATE ROLE clerk;
	SELECT webhook_outbox.grant_worker('clerk')));
$node->append_conf('postgresql.conf', "webhook_outbox.role = 'clerk'");
$node->reload;
create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'dead', '/dead',
	event_types => "'{bad.*}'", retry_schedule => "'{100ms}'");
create_endpoint($node, $receiver, 'patient', '/patient',
	event_types => "'{long.*}'", retry_schedule => "'{1h}'");
$receiver->script($_, { status => 503 }) for qw(/dead /patient);

my $plain = publish($node, 'order.created', 1);
my $bad = publish($node, 'bad.one', '{"kept": "byte for  byte"}');
my $long = publish($node, 'long.one', 2);
wait_for_sql(
	$node, q(SELECT count(*) = 1 FROM webhook_outbox.dead_letter),
	'there is a dead letter');
wait_for_sql(
	$node, qq(SELECT count(*) = 0 FROM webhook_outbox.event WHERE id = '$plain'),
	'a settled event goes when its leaf is emptied');
wait_for_sql(
	$node, q(SELECT count(*) > 0 AND
		bool_and(tableoid = 'webhook_outbox.event_kept'::regclass)
		FROM webhook_outbox.event WHERE type ~ '^(bad|long)'),
	'what is still needed is moved');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.attempt),
	'attempts go too');

$receiver->script($_, { status => 200 }) for qw(/dead /patient);
$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.redeliver('$bad', 'dead');
	SELECT webhook_outbox.redeliver('$long', 'patient');));
wait_until(sub { ($receiver->stats('/dead')->{accepted} // 0) == 1 },
	'the dead letter is sent again');
wait_until(sub { ($receiver->stats('/patient')->{accepted} // 0) == 1 },
	'and so is the retry');
my ($request) = grep { $_->{status} == 200 } $receiver->requests('/dead');
like($request->{body}, qr/\Q{"kept": "byte for  byte"}\E/,
	'with the bytes that were published');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.event_kept),
	'then nothing keeps them any longer');
publish($node, 'order.created', 3);
$receiver->wait_for('/well', 4, 'delivery goes on all the while');
is(worker_pid($node, 'dispatcher'), $pid, 'in the same process');

finish($node, $receiver);

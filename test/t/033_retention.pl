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
create_endpoint($node, $receiver, 'well', '/well',
	event_types => "'{order.*,bad.*,long.*}'");
create_endpoint($node, $receiver, 'dead', '/dead',
	event_types => "'{bad.*}'", retry_schedule => "'{100ms}'");
create_endpoint($node, $receiver, 'patient', '/patient',
	event_types => "'{long.*}'", retry_schedule => "'{1h}'");
$receiver->script($_, { status => 503 }) for qw(/dead /patient);

# More than are moved at a time, some of them owed twice, and some that are sent.
my ($n_waiting, $n_sent) = (1000, 600);
create_endpoint($node, $receiver, 'sent', '/sent', event_types => "'{sent.*}'");
create_endpoint($node, $receiver, $_, "/$_", event_types => "'{waiting.*}'") for qw(paused other);
$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.pause_endpoint(n) FROM unnest('{paused,other}'::text[]) n;
	INSERT INTO webhook_outbox.event (type, payload)
	SELECT CASE WHEN n > $n_waiting THEN 'sent.now' ELSE 'waiting.long' END, to_json(n)
	FROM generate_series(1, $n_waiting + $n_sent) n));
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM webhook_outbox.event');

my $plain = publish($node, 'order.created', 1);
my $bad = publish($node, 'bad.one', '{"kept": "byte for  byte"}');
my $long = publish($node, 'long.one', 2);
wait_for_sql(
	$node, q(SELECT count(*) = 1 FROM webhook_outbox.dead_letter),
	'there is a dead letter');
# Of each event there is one row at any time, and a delivery of it in the views.
my (%n_kept, %n_seen);
wait_until(
	sub {
		my ($kept, $stored, $shown) = split /\|/, $node->safe_psql('postgres', q(
			SELECT count(*) FILTER (WHERE tableoid = 'webhook_outbox.event_kept'::regclass), count(*),
				(SELECT count(*) FROM webhook_outbox.delivery_status WHERE event_type = 'waiting.long')
			FROM webhook_outbox.event WHERE type = 'waiting.long'));

		$n_kept{$kept} = 1;
		$n_seen{"$stored $shown"} = 1;
		return $kept == $n_waiting;
	},
	'a backlog is moved, though somebody reads its leaf');
is_deeply([ keys %n_seen ], [ "$n_waiting " . 2 * $n_waiting ],
	'nobody sees an event of it twice meanwhile, or misses it');
note(join ' ', 'seen in event_kept:', sort { $a <=> $b } keys %n_kept);

# What is asked for now that this is done is moved as well.
$receiver->wait_for('/sent', $n_sent, 'others are delivered');
is($node->safe_psql('postgres', q(SELECT webhook_outbox.replay('paused', '-infinity', event_types => '{sent.*}'))),
	$n_sent, 'they are to be sent again');
wait_for_sql($node, "SELECT parked = 2 * $n_waiting + $n_sent FROM webhook_outbox.queue_status",
	'and wait for that');
$holder->query_safe('COMMIT');
$holder->quit;

wait_for_sql(
	$node, qq(SELECT count(*) = 0 FROM webhook_outbox.event WHERE id = '$plain'),
	'a settled event goes when its leaf is emptied');
wait_for_sql(
	$node, q(SELECT count(*) > 0 AND
		bool_and(tableoid = 'webhook_outbox.event_kept'::regclass)
		FROM webhook_outbox.event WHERE type ~ '^(bad|long|waiting|sent)'),
	'what is still needed is moved');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.attempt),
	'attempts go too');

$node->safe_psql('postgres', q(SELECT webhook_outbox.resume_endpoint(n) FROM unnest('{paused,other}'::text[]) n));
for ([ '/paused', $n_waiting + $n_sent ], [ '/other', $n_waiting ])
{
	my ($path, $n) = @$_;

	$receiver->wait_for($path, $n, "what waited for $path is delivered");
	my %got = map { $_->{body} => 1 } $receiver->requests($path);
	is(scalar(keys %got), $n, 'each event');
	is($receiver->stats($path)->{accepted}, $n, 'once');
}

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

# Whoever renames the schema stops delivery, and nothing else: what is under way is
# recorded later, the server's log says once what was done and how to undo it, and
# delivery goes on when it is undone, in the same process.
# Plain SQL cannot show it: it is about what the dispatcher does meanwhile.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();

create_endpoint($node, $receiver, 'well', '/ok', event_types => q('{order.*}'));
create_endpoint($node, $receiver, 'slow', '/hold', event_types => q('{slow.*}'));
publish($node, 'order.created');
$receiver->wait_for('/ok', 1, 'an event is delivered');
all_delivered($node, 'and recorded');
my $pid = worker_pid($node, 'dispatcher');

for my $round (1, 2)
{
	my $log_start = -s $node->logfile;

	# a request is under way when it happens, in the second round
	publish($node, 'slow.one');
	$receiver->wait_for_requests('/hold', $round, "round $round: a request is under way");
	$node->safe_psql('postgres', 'ALTER SCHEMA webhook_outbox RENAME TO "Ours"');
	$receiver->release('/hold') if $round == 1;
	wait_until(
		sub { n_logged($node, 'has stopped sending', $log_start) > 0 },
		"round $round: the log says that nothing is sent");
	is( n_logged(
			$node,
			'has stopped sending: [a-z ]+: schema "webhook_outbox" was renamed to "Ours"\n.*HINT: +Run ALTER SCHEMA "Ours" RENAME TO webhook_outbox: ',
			$log_start),
		1, "round $round: and why, and what to do");
	is( $node->safe_psql('postgres', q(SELECT state LIKE 'not sending: %renamed to "Ours"' AND last_error LIKE '%renamed to "Ours"'
		FROM "Ours".worker_status WHERE process = 'dispatcher')), 't', "round $round: so does worker_status");
	$node->safe_psql('postgres', q(INSERT INTO "Ours".event (type, payload) VALUES ('order.created', '{}')));
	$receiver->release('/hold') if $round == 2;
	$node->safe_psql('postgres', 'ALTER SCHEMA "Ours" RENAME TO webhook_outbox');
	$receiver->wait_for('/ok', 1 + $round, "round $round: what was published meanwhile is delivered then");
	all_delivered($node, "round $round: all is recorded");
	is(n_logged($node, 'has stopped sending', $log_start), 1, "round $round: the log said so once");
	is(n_logged($node, 'ERROR: ', $log_start), 0, "round $round: and no error");
}
is(worker_pid($node, 'dispatcher'), $pid, 'all that in the same process');
is($receiver->stats->{$_}{duplicates}, 0, "nothing was sent to $_ twice") for qw(/ok /hold);

# nor does a start find out in another way
$node->safe_psql('postgres', 'ALTER SCHEMA webhook_outbox RENAME TO away');
my $log_start = -s $node->logfile;
$node->restart;
wait_until(
	sub { n_logged($node, 'schema "webhook_outbox" was renamed to away', $log_start) > 0 },
	'started anew, the dispatcher says the same');
$pid = worker_pid($node, 'dispatcher');

# What runs as the owner of the extension goes by that name: nobody else takes it.
$node->safe_psql('postgres', 'CREATE ROLE mallory; GRANT CREATE ON DATABASE postgres TO mallory');
for my $taking ('CREATE SCHEMA webhook_outbox', 'CREATE SCHEMA lair; ALTER SCHEMA lair RENAME TO webhook_outbox')
{
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; SET ROLE mallory; $taking");

	like($err, qr/ERROR:  schema "webhook_outbox" would take the name .*\nHINT:  .*ALTER SCHEMA away RENAME TO webhook_outbox/,
		"refused: $taking");
}
$node->safe_psql('postgres', 'ALTER SCHEMA away RENAME TO webhook_outbox');
publish($node, 'order.created');
$receiver->wait_for('/ok', 4, 'and goes on like that');
is(worker_pid($node, 'dispatcher'), $pid, 'in the same process');

finish($node, $receiver);

# A prepared transaction's events are sent after COMMIT PREPARED, never after
# ROLLBACK PREPARED, and nothing waits for it.
# Plain SQL cannot show it: no wake-up comes with COMMIT PREPARED.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "max_prepared_transactions = 5\nautovacuum = off\n");
create_endpoint($node, $receiver, 'well', '/well');
my $prepare = q(BEGIN;
	INSERT INTO webhook_outbox.event (type, payload)
	VALUES ('%s', '{}') RETURNING id;
	PREPARE TRANSACTION '%s');
my $kept = sql_value($node, sprintf $prepare, 'kept', 'one');
my $undone = sql_value($node, sprintf $prepare, 'undone', 'two');
my $later = publish($node, 'later');
$receiver->wait_for('/well', 1, 'later events are delivered');
is_deeply([ $receiver->accepted_ids('/well') ], [$later], 'and only they');

sub explains
{
	my ($id, $words, $claim) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(
		sql_value($node, "SELECT string_agg(e, ' ')
			FROM webhook_outbox.explain_event('$id') e"), $words, $claim);
}
explains(
	$kept,
	qr/still open.* transaction 'one' was prepared at /,
	'explain_event names the transaction that may hold an event');

$node->restart;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'two'");
$node->safe_psql('postgres', "COMMIT PREPARED 'one'");
$receiver->wait_for('/well', 2, 'COMMIT PREPARED delivers');
publish($node, 'last');
$receiver->wait_for('/well', 3, 'and delivery goes on');
all_delivered($node, 'nothing more is owed');
my %got = map { $_ => 1 } $receiver->accepted_ids('/well');
ok($got{$kept}, 'what was committed arrived');
ok(!$got{$undone}, 'what was rolled back did not');
explains(
	$undone,
	qr/Its transaction rolled back, so nobody is told\./,
	'explain_event says so when no transaction can hold it');
is($receiver->stats('/well')->{duplicates}, 0, 'nothing arrived twice');

# Nor is anybody told when it creates the extension, where there was none.
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->restart;
wait_for_sql(
	$node, q(SELECT xact_commit > 0 FROM pg_stat_database
	WHERE datname = 'shop'), 'the launcher has looked at another database');
$node->safe_psql('shop',
	q(BEGIN; CREATE EXTENSION webhook_outbox; PREPARE TRANSACTION 'three'));
$node->safe_psql('shop', q(COMMIT PREPARED 'three'));
create_endpoint($node, $receiver, 'other', '/other', dbname => 'shop');
publish($node, 'order.created', '{}', 'shop');
$receiver->wait_for('/other', 1, 'what is published there is delivered');

finish($node, $receiver);

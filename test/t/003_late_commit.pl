# An event whose transaction stayed open while later ones committed is
# delivered, and does not hold those up.
# Plain SQL cannot show it: it takes two sessions and a receiver.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'all', '/all');

my $insert =
  "INSERT INTO webhook_outbox.event (type, payload) VALUES ('late', '1') "
  . 'RETURNING id';
my @sessions = map { $node->background_psql('postgres') } 1 .. 3;
my @late;
for my $session (@sessions)
{
	$session->query_safe('BEGIN');
	push @late, $session->query_safe($insert);
}
# an id taken inside a savepoint is covered by the outer transaction
$sessions[2]->query_safe('SAVEPOINT s');
push @late, $sessions[2]->query_safe($insert);

my @early = map { publish($node, 'early') } 1 .. 5;
$receiver->wait_for('/all', 5, 'later events arrive before it commits');
my @first = $receiver->accepted_ids('/all');
is_deeply([ sort @first ], [ sort @early ], 'only those arrive');
like(
	sql_value($node, "SELECT string_agg(e, ' ')
		FROM webhook_outbox.explain_event('$late[0]') e"),
	qr/still open.*: process \d+ has a transaction open since /,
	'explain_event names a process whose transaction may hold an event');

$sessions[1]->query_safe('COMMIT');
$receiver->wait_for('/all', 6, 'one that commits late arrives');
$sessions[0]->query_safe('ROLLBACK');
push @early, publish($node, 'early');
$sessions[2]->query_safe('COMMIT');
$receiver->wait_for('/all', 9, 'and the last with its savepoint');
all_delivered($node, 'nothing more is owed');
is_deeply(
	[ sort $receiver->accepted_ids('/all') ],
	[ sort @early, @late[ 1, 2, 3 ] ],
	'what was rolled back is left out, all else arrived');
is($receiver->stats('/all')->{duplicates}, 0, 'nothing arrived twice');
$_->quit for @sessions;

finish($node, $receiver);

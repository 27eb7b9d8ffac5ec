# Events of rolled back transactions and savepoints are never sent.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'all', '/all');

my $insert = 'INSERT INTO webhook_outbox.event (type, payload) VALUES';
$node->safe_psql('postgres', "BEGIN; $insert ('rolled.back', '1'); ROLLBACK");
$node->psql('postgres', "BEGIN; $insert ('failed', '1'); SELECT 1/0; COMMIT");
$node->safe_psql(
	'postgres', qq(
	BEGIN;
	$insert ('kept', '1');
	SAVEPOINT s;
	$insert ('undone', '1');
	ROLLBACK TO s;
	SAVEPOINT t;
	$insert ('kept', '2');
	RELEASE t;
	DO \$\$
	BEGIN
	  $insert ('caught', '1');
	  RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN
	  $insert ('kept', '3');
	END
	\$\$;
	COMMIT));
publish($node, 'last');

$receiver->wait_for('/all', 4, 'what was committed arrives');
all_delivered($node, 'nothing more is owed');
my %n;
$n{$_}++ for map { $_->{body} =~ /"event_type": ?"([^"]+)"/ }
  $receiver->requests('/all');
is_deeply(\%n, { kept => 3, last => 1 }, 'and nothing else');

finish($node, $receiver);

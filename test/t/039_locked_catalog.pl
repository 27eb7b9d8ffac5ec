# While a system catalog is locked (VACUUM FULL, REINDEX SYSTEM), the dispatcher
# cannot even ask for the name of a table. It goes on after that, and says
# meanwhile what it waits for.
# Plain SQL cannot show it: it takes a second session, and one process throughout.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/ok');
publish($node, 'order.created');
$receiver->wait_for('/ok', 1, 'an event is delivered');

my $dispatcher = worker_pid($node, 'dispatcher');
my $n = 1;
# a new session could not even start
my $publisher = $node->background_psql('postgres');
my $locker = $node->background_psql('postgres');
my $pid = $locker->query_safe('SELECT pg_backend_pid()') =~ s/\s//gr;
my $publish = q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}'));

for my $catalog (qw(pg_class pg_namespace))
{
	my $from = -s $node->logfile;
	my $told = sub {
		my ($pattern) = @_;

		return scalar(() = substr(slurp_file($node->logfile), $from) =~ /$pattern/g);
	};

	# what was published needs no catalog any more: not to be committed
	$publisher->query_safe("BEGIN; $publish");
	$n++;
	# nobody knows anything after this; a table too, so that there is something to ask about
	$locker->query_safe("VACUUM FULL $catalog");
	$locker->query_safe("BEGIN; LOCK TABLE webhook_outbox.endpoint_change, $catalog IN ACCESS EXCLUSIVE MODE");
	$publisher->query_safe('COMMIT');
	wait_until(
		sub {
			$told->(qr/has stopped sending: .*waiting for a lock on a system catalog that process $pid holds/)
			  || $told->(qr/exited with exit code/);
		},
		"$catalog: the log says what sending waits for, and who holds it");
	$locker->query_safe('COMMIT');
	$receiver->wait_for('/ok', $n, "$catalog: delivery goes on after that");
	is(worker_pid($node, 'dispatcher'), $dispatcher, "$catalog: it is the same process");
	is($told->(qr/exited with exit code/), 0, "$catalog: no process has ended");
}
$_->quit for $publisher, $locker;

finish($node, $receiver);

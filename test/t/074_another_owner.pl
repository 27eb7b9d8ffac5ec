# The extension can be given to another role, which need not be a superuser, under
# a dispatcher that is at work.
# Plain SQL cannot show it: it is about the process that works as the owner.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(extension => 0);
my $n = 0;

$node->safe_psql('postgres', q(
	CREATE ROLE founder SUPERUSER;
	CREATE ROLE heir;
	CREATE ROLE app;
	CREATE ROLE watcher;
	SET ROLE founder;
	CREATE EXTENSION webhook_outbox;
	SELECT webhook_outbox.grant_publisher('app'), webhook_outbox.grant_monitor('watcher')));
create_endpoint($node, $receiver, 'well', '/ok');
create_endpoint($node, $receiver, 'down', '/fail/1', retry_schedule => "'{100ms}'");
my $pid = worker_pid($node, 'dispatcher');

sub still_delivers
{
	my ($when) = @_;

	$node->safe_psql('postgres', q(SET ROLE app; SELECT webhook_outbox.publish('order.created', '{}')));
	$n++;
	$receiver->wait_for('/ok', $n, "$when it delivers");
	$receiver->wait_for('/fail/1', $n, "$when it tries again");
	all_delivered($node, "$when all is recorded");
	is($node->safe_psql('postgres', q(SET ROLE watcher; SELECT count(*) FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND last_error IS NULL)), '1', "$when nothing is wrong, and monitors see that");
	is(worker_pid($node, 'dispatcher'), $pid, "$when it is the same process");
	return;
}

still_delivers('at first');
$node->safe_psql('postgres', 'ALTER ROLE founder NOSUPERUSER');
still_delivers('when the owner is no superuser any more');
$node->safe_psql('postgres', 'ALTER ROLE founder RENAME TO leaver');
still_delivers('when the owner has another name');
$node->safe_psql('postgres', 'REASSIGN OWNED BY leaver TO heir; DROP ROLE leaver');
still_delivers('when somebody else is the owner');
is(sql_value($node, q(
	SELECT string_agg(DISTINCT o.owner::regrole::text, ' ') FROM (
	SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'webhook_outbox'::regnamespace
	UNION SELECT proowner FROM pg_proc WHERE pronamespace = 'webhook_outbox'::regnamespace
	UNION SELECT extowner FROM pg_extension WHERE extname = 'webhook_outbox') o)),
	'heir', 'of all there is');
$node->safe_psql('postgres', q(SET ROLE heir; SELECT webhook_outbox.rotate_secret('down', overlap => '1 day');
	SELECT count(*) FROM webhook_outbox.maintain()));
is(sql_value($node, 'SELECT count(last_error) FROM webhook_outbox.maintenance_status'), '0', 'who can maintain it');
$node->safe_psql('postgres', q(DROP OWNED BY app; DROP ROLE app; CREATE ROLE app;
	SET ROLE heir; SELECT webhook_outbox.grant_publisher('app')));
still_delivers('for whom the new owner lets in');
$node->restart;
$pid = worker_pid($node, 'dispatcher');
still_delivers('after a restart');
is($receiver->stats('/ok')->{duplicates}, 0, 'nothing was sent twice');

finish($node, $receiver);

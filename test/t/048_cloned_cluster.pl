# A clone of the whole cluster that is started beside its source sends nothing
# if its webhook_outbox.instance_id is another one, until resume_delivery().
# Plain SQL cannot show it: it takes two servers, and a receiver.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(allows_streaming => 1,
	conf => "webhook_outbox.instance_id = 'production'");

create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'down', '/down',
	retry_schedule => "'{1s,1s,1s,1h}'");
$receiver->script('/down', { status => 503 });
publish($node, 'order.created');
$receiver->wait_for('/well', 1, 'the source delivers');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'and knows how far it is');
$node->backup('copy');

my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'copy');
$clone->append_conf('postgresql.conf',
	"webhook_outbox.instance_id = 'staging'");
$clone->start;
wait_for_sql($clone, $IS_HELD, 'worker_status says that it is a copy');
like(slurp_file($clone->logfile),
	qr/it is a copy\n.*HINT: .*instance_id.*resume_delivery/,
	'so does the log, with a hint');
publish($clone, 'order.created');
$receiver->wait_for_requests('/down', 4, 'the source makes its retries');
publish($node, 'order.created');
$receiver->wait_for('/well', 2, 'and goes on to deliver');
$receiver->wait_for_requests('/down', 5, 'at each endpoint');
is($receiver->stats('/well')->{requests}, 2, 'the clone sends no event');

is(sql_value($clone, 'SELECT webhook_outbox.resume_delivery()'),
	'0', 'nothing was restored');
$receiver->wait_for('/well', 3, 'told to deliver, the clone does');
$clone->restart;
publish($clone, 'order.created');
$receiver->wait_for('/well', 4, 'after a restart too');

$node->append_conf('postgresql.conf', "webhook_outbox.instance_id = 'other'");
$node->reload;
wait_for_sql($node, $IS_HELD, 'a name that is changed by a reload counts');
like(
	sql_value(
		$node, q(SELECT state FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher')),
	qr/ by its webhook_outbox.instance_id, see resume_delivery\(\)$/,
	'and worker_status says that the name is the reason');
$node->append_conf('postgresql.conf',
	"webhook_outbox.instance_id = 'production'");
$node->reload;
publish($node, 'order.created');
$receiver->wait_for('/well', 5, 'and so does the old one again');

$clone->stop;
finish($node, $receiver);

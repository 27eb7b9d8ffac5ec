# A database made from another by CREATE DATABASE ... TEMPLATE sends nothing
# until resume_delivery() is called in it; then it goes on where the other was.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $says = qr/does not deliver from database "copy": it is a copy/;

create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'paused', '/paused', enabled => 'false');
create_endpoint($node, $receiver, 'down', '/down',
	retry_schedule => "'{1h}'");
$receiver->script('/down', { status => 503 });
my @ids = map { publish($node, 'order.created') } 1 .. 3;
$receiver->wait_for('/well', 3, 'the source delivers');
wait_for_sql(
	$node, q(SELECT count(*) = 6 FROM webhook_outbox.delivery),
	'has retries waiting, and deliveries to a paused endpoint');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'and knows how far it is');

$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
wait_for_sql($node, $IS_HELD, 'worker_status says that it is a copy', 'copy');
like(slurp_file($node->logfile),
	qr/$says\n.*HINT: .*resume_delivery/, 'so does the log, with a hint');
my $new = publish($node, 'order.created', '{}', 'copy');
$node->safe_psql('copy', "SELECT webhook_outbox.resume_endpoint('paused')");
$node->safe_psql('copy',
	"SELECT webhook_outbox.redeliver('$ids[0]', 'well')");

# A restart, and an event of the source that is later than all that.
$node->restart;
wait_for_sql($node, $IS_HELD, 'a restart does not change that', 'copy');
publish($node, 'order.created');
$receiver->wait_for('/well', 4, 'the source goes on');
$receiver->wait_for_requests('/down', 4, 'at each endpoint');
is($receiver->stats('/well')->{requests}, 4, 'the copy sends no events');
is($receiver->stats('/paused')->{requests}, 0, 'nor what was parked');
is($receiver->stats('/down')->{requests}, 4, 'nor a retry');
is( sql_value(
		$node, qq(SELECT string_agg(state, ' ')
		FROM webhook_outbox.delivery_status WHERE event_id = '$new'), 'copy'),
	'pending pending pending', 'what is published there waits');
like(
	sql_value(
		$node,
		"SELECT string_agg(l, chr(10)) FROM webhook_outbox.explain_event('$new') l",
		'copy'),
	qr/^Nothing is sent now: this database is a copy, see resume_delivery/m,
	'and explain_event says why');

is(sql_value($node, 'SELECT webhook_outbox.resume_delivery()', 'copy'),
	'0', 'no restored delivery had not begun');
$receiver->wait_for_requests('/well', 6, 'told to deliver, it does');
$receiver->wait_for('/paused', 4, 'what was parked as well');
wait_for_sql(
	$node, q(SELECT count(*) = 4 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'down' AND state = 'retrying'),
	'and keeps its retries', 'copy');
is_deeply(
	[ sort map { $_->{id} } ($receiver->requests('/well'))[ 4, 5 ] ],
	[ sort $ids[0], $new ],
	'what the source had delivered is not sent again, unless somebody asks');
is(sql_value($node, 'SELECT webhook_outbox.resume_delivery()', 'copy'),
	'0', 'a second call does nothing');
like(
	slurp_file($node->logfile),
	qr/resumes delivery from database "copy"/,
	'the log says that it delivers');

$node->restart;
publish($node, 'order.created', '{}', 'copy');
$receiver->wait_for('/well', 6, 'a restart does not change that either');

finish($node, $receiver);

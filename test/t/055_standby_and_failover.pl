# A standby delivers nothing and says so; promoted, it delivers what the primary
# had not.
# Plain SQL cannot show it: it takes two servers.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(allows_streaming => 1);
create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'paused', '/paused', enabled => 'false');
create_endpoint($node, $receiver, 'flaky', '/flaky',
	retry_schedule => "'{200ms}'", retry_jitter => 0);
$receiver->script('/flaky', { status => 503 });

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby_feedback = off');
$standby->start;

my @ids = map { publish($node, 'order.created') } 1 .. 5;
$receiver->wait_for('/well', 5, 'the primary delivers');
wait_for_sql($node,
	'SELECT count(*) = 5 FROM webhook_outbox.dead_letter',
	'what fails for good dies');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));

is( sql_value(
		$standby, q(SELECT count(*) FROM pg_stat_activity
		WHERE backend_type ~ '^webhook_outbox (dispatcher|sender)')),
	'0', 'no worker delivers from a standby');
is(sql_value($standby, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'5', 'facts can be read there');
my @unread = grep {
	($standby->psql('postgres', "SELECT * FROM webhook_outbox.$_"))[0] != 0
  } split /\n/,
  sql_value($standby, q(SELECT viewname FROM pg_views
	WHERE schemaname = 'webhook_outbox'));
is("@unread", '', 'and so can every view');
is( sql_value(
		$standby, 'SELECT process, expected, state FROM webhook_outbox.worker_status'),
	'launcher|f|standby: its primary delivers',
	'worker_status misses no process there');
is( sql_value(
		$standby, q(SELECT count(*) FROM webhook_outbox.prometheus_samples()
		WHERE metric IN ('webhook_outbox_dispatcher_up', 'webhook_outbox_info'))),
	'1', 'nor does Prometheus, which can read the rest');
for my $call (
	"redeliver('$ids[0]', 'flaky')", "cancel('$ids[0]')",
	"send_test('well')", "publish('order.created', '{}')")
{
	my ($rc, $out, $err) =
	  $standby->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT webhook_outbox.$call");
	like($err, qr/ERROR:  25006: /, "$call is refused there");
}

$node->stop('immediate');
$receiver->script('/flaky', { status => 200 });
$standby->promote;
publish($standby, 'order.created');
$receiver->wait_for('/well', 6, 'promoted, it delivers');
$standby->safe_psql('postgres',
	"SELECT webhook_outbox.resume_endpoint('paused')");
$receiver->wait_for('/paused', 6, 'also what waited on the primary');
$standby->safe_psql('postgres',
	"SELECT webhook_outbox.redeliver('$_', 'flaky')")
  for @ids;
$receiver->wait_for('/flaky', 6, 'and its dead letters');
all_delivered($standby, 'all is recorded');

finish($standby, $receiver);

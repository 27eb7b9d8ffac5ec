# Prometheus gets what the views say: promtool reads the text, the rules and
# their tests; an exporter with our configuration is scraped, and Prometheus
# gives the metrics the names that the rules use.
# Plain SQL cannot show it: it takes their programs.
# Unpacks: prometheus prometheus-sql-exporter
use strict;
use warnings FATAL => 'all';
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $bin = ($ENV{WO_UNPACKED} // '') . '/usr/bin';
for my $program (qw(promtool prometheus prometheus-sql-exporter))
{
	plan skip_all => "there is no $program: the Debian packages prometheus "
	  . 'and prometheus-sql-exporter could not be downloaded'
	  if !-x "$bin/$program";
}

my $docs = dirname(dirname($WebhookOutbox::HERE)) . '/docs/monitoring';
my $tmp = PostgreSQL::Test::Utils::tempdir();

# A command's exit code and output, given this input.
sub run_program
{
	my ($in, @command) = @_;
	my $out = '';

	IPC::Run::run(\@command, '<', \$in, '>', \$out, '2>&1');
	return ($? >> 8, $out);
}

sub passes
{
	my ($claim, $in, @command) = @_;
	my ($code, $out) = run_program($in, @command);

	ok($code == 0, $claim) or diag($out);
	return;
}

# ---- files

passes('promtool finds nothing wrong with the rules',
	'', "$bin/promtool", 'check', 'rules', "$docs/alerts.yml",
	"$docs/alerts-forwarded.yml");
passes('the rules fire when they should, and only then',
	'', "$bin/promtool", 'test', 'rules', "$docs/alerts_test.yml");
passes('promtool finds nothing wrong with the configuration',
	'', "$bin/promtool", 'check', 'config', "$docs/prometheus.yml");

# ---- text

my $receiver = start_receiver();
my $node = start_node();
my $metrics_sql = 'SELECT webhook_outbox.prometheus_metrics()';

passes('promtool finds nothing wrong with the metrics of a new installation',
	sql_value($node, $metrics_sql) . "\n",
	"$bin/promtool", 'check', 'metrics');

create_endpoint($node, $receiver, 'billing', '/ok',
	event_types => "'{order.*}'", tier => 1);
create_endpoint($node, $receiver, 'a "b" \ {le="1"}', '/bad',
	event_types => "'{bad.*}'", retry_schedule => "'{100ms}'", tier => 3);
$receiver->script('/bad', { status => 503 });
publish($node, 'order.created', 1) for 1 .. 5;
publish($node, 'bad.one', 2);
$receiver->wait_for('/ok', 5, 'what is published is delivered');
wait_for_sql($node, 'SELECT count(*) = 1 FROM webhook_outbox.dead_letter',
	'or becomes a dead letter');
passes('promtool finds nothing wrong with the metrics of one that works',
	sql_value($node, $metrics_sql) . "\n",
	"$bin/promtool", 'check', 'metrics');

# ---- an exporter

my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() }
  qw(exporter prometheus);
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
$node->append_conf('pg_hba.conf',
	'host all webhook_monitor 127.0.0.1/32 scram-sha-256');
$node->restart;
$node->safe_psql('postgres', q(
	CREATE ROLE webhook_monitor LOGIN PASSWORD 'between us';
	SELECT webhook_outbox.grant_monitor('webhook_monitor');));

my $config = slurp_file("$docs/sql-exporter.yml");
my $url = 'postgres://webhook_monitor:between%20us@127.0.0.1:' . $node->port
  . '/postgres?sslmode=disable';
like($config, qr{postgres://webhook_monitor:\S+\?sslmode=disable},
	'the configuration has a connection to fill in');
$config =~ s{postgres://webhook_monitor:[^']+}{$url};
$config =~ s/interval: '15s'/interval: '1s'/;
append_to_file("$tmp/exporter.yml", $config);

# A program that runs until the test ends.
my @running;

sub start_program
{
	my (@command) = @_;
	my ($in, $log) = ('', "$PostgreSQL::Test::Utils::log_path/programs.log");

	push @running, IPC::Run::start(\@command, '<', \$in, '>>', $log, '2>&1');
	return;
}

END
{
	my $code = $?;
	$_->kill_kill(grace => 5) for @running;
	$? = $code;
}

sub get
{
	my ($what) = @_;
	my $http = HTTP::Tiny->new(proxy => undef, http_proxy => undef, timeout => 10);
	my $answer = $http->get("http://127.0.0.1:$what");

	return $answer->{success} ? $answer->{content} : '';
}

start_program("$bin/prometheus-sql-exporter", '-config.file',
	"$tmp/exporter.yml", '-web.listen-address', "127.0.0.1:$port{exporter}");
wait_until(
	sub { get("$port{exporter}/metrics") =~ /^sql_webhook_outbox\{/m },
	'the exporter shows metrics, as a role that may only look');

# ---- Prometheus

my $prometheus = slurp_file("$docs/prometheus.yml");
$prometheus =~ s/127\.0\.0\.1:9237/127.0.0.1:$port{exporter}/;
$prometheus =~ s/scrape_interval: 15s/scrape_interval: 1s/;
$prometheus =~ s{- alerts\.yml}{- $docs/alerts.yml};
append_to_file("$tmp/prometheus.yml", $prometheus);
start_program("$bin/prometheus", "--config.file=$tmp/prometheus.yml",
	"--storage.tsdb.path=$tmp/tsdb",
	"--web.listen-address=127.0.0.1:$port{prometheus}",
	'--log.level=warn');

# The value of an instant query that has one, else ''.
sub query
{
	my ($promql) = @_;
	my $escaped = $promql =~ s/([^\w.])/sprintf '%%%02X', ord $1/ger;
	my $answer = get("$port{prometheus}/api/v1/query?query=$escaped");
	my $results = $answer eq '' ? [] : decode_json($answer)->{data}{result};

	return @$results == 1 ? $results->[0]{value}[1] : '';
}

sub query_is
{
	my ($promql, $want, $claim) = @_;

	wait_until(sub { query($promql) eq $want }, $claim)
	  or diag("$promql is " . query($promql));
	return;
}

query_is('webhook_outbox_dispatcher_up', '1',
	'Prometheus knows the metrics by their names');
query_is('webhook_outbox_dead_letters{tier="3"}', '1', 'and values,');
query_is('webhook_outbox_endpoint_dead_letters{endpoint="a \"b\" \\\\ {le=\"1\"}"}',
	'1', 'whatever the name of an endpoint,');
query_is('webhook_outbox_endpoint_enabled{endpoint="billing",tier="1"}', '1',
	'with their labels');
query_is('count({__name__=~"sql_webhook_outbox.*"} or {__name__!="",metric!=""})',
	'', 'and leaves none as the exporter calls it');

my $names = sql_value($node, q(
	SELECT string_agg(DISTINCT metric, ' ' ORDER BY metric)
	FROM webhook_outbox.prometheus_samples()));
for my $name (split / /, $names)
{
	isnt(query("count($name)"), '', "there is $name");
}
is( sql_value(
		$node, q(SELECT string_agg(DISTINCT k, ' ') FROM
		webhook_outbox.prometheus_samples() s, jsonb_object_keys(s.labels) k
		WHERE k NOT IN ('endpoint', 'tier', 'result', 'state', 'outcome',
		  'status', 'time_window', 'rule', 'scope', 'subject', 'severity',
		  'version', 'le'))),
	'', 'the exporter asks for every label');

# counters are of minutes that ended, or what a dispatcher found at its start
query_is('webhook_outbox_deliveries_total{tier="1",result="good"}', '5',
	'counters count deliveries');
query_is('webhook_outbox_errors_total{outcome="http_error",status="503"}', '2',
	'and errors');
query_is('sum(webhook_outbox_delivery_latency_seconds_bucket{tier="1",le="+Inf"})',
	'5', 'and histograms them');
query_is('histogram_quantile(0.5, webhook_outbox_delivery_latency_seconds_bucket{tier="1"}) < bool 30',
	'1', 'so that a percentile can be had');
query_is('count(ALERTS{alertname="WebhookMetricsMissing"})', '',
	'no alert says that metrics are missing');

$_->kill_kill(grace => 5) for splice @running;
finish($node, $receiver);

# Whatever way a copy of a database is made, and whatever state its source was in,
# it calls nobody until an operator runs resume_delivery(); then what was not
# settled when the copy was made is delivered, once, and nothing else is.
#
# The source is busy and has all there is: delivered, in flight, retrying, parked,
# given up, given up and discarded, cancelled, asked for again at a later time, and
# kept beyond its leaf. Copies: a dump in a new cluster; a dump in one whose
# transaction numbers are far ahead, in a later epoch; a base backup that is started
# beside its source with another instance_id; CREATE DATABASE ... TEMPLATE;
# pg_upgrade. What a copy owes is worked out here from its tables, not by the views.
#
# Each copy sends through a proxy of its own, a receiver that answers all requests
# itself, so there is no doubt who has sent what.
#
# Settings: FAULT_EVENTS, FAULT_SECONDS.
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $n_events = fault_size(20_000, 800, 'EVENTS');
my $seconds = fault_size(40, 5, 'SECONDS');
my $often = '{' . join(',', ('3s') x 100) . '}';
my $world = fault_world(name => 'source', allows_streaming => 1,
	conf => "webhook_outbox.instance_id = 'production'\n"
	  . "webhook_outbox.maintenance = off\nwebhook_outbox.event_retention = 6s\n",
	endpoints => [
		[ 'well', '/delay/40/well', '{order.*}', $often ],
		[ 'shaky', '/fail/1/shaky', '{order.created}', $often ],
		[ 'down', '/status/503/down', '{order.doomed}', $often ],
		[ 'paused', '/paused', '{order.doomed}', $often, enabled => 'false' ],
		[ 'held', '/hold/held', '{order.held}', $often, timeout => "'5 minutes'" ],
		[ 'dead', '/status/503/dead', '{order.doomed,order.kept}', '{10ms}' ],
		[ 'pager', '/pager', '{webhook_outbox.alert.*}', $often ] ]);
my $source = $world->node;
my $dump = $world->folder . '/dump.sql';
my %url_of = map { my ($name, $url) = split /\|/; $name => $url }
  split /\n/, $source->safe_psql('postgres', 'SELECT name, url FROM webhook_outbox.endpoint');
my %name_of = reverse %url_of;
my %secret_of = map { split /\|/ } split /\n/, $source->safe_psql('postgres',
	'SELECT name, secret FROM webhook_outbox.endpoint JOIN webhook_outbox.endpoint_secret USING (endpoint_id)');
my (%outside, @others);

# ---- the source

sub set
{
	my ($node, $text) = @_;

	$node->append_conf('postgresql.conf', $text);
	$node->reload;
	return;
}

# Everything that takes a while to come about, or to be asked for.
sub make_all_kinds
{
	my @kept = map { publish($source, 'order.kept', qq({"key":"kept-$_"})) } 1 .. 3;

	wait_for_sql($source, q(SELECT count(*) = 3 FROM webhook_outbox.event_kept),
		'some events outlive their leaf');
	set($source, "webhook_outbox.event_retention = 7d");
	my @doomed = map { publish($source, 'order.doomed', qq({"key":"doomed-$_"})) } 1 .. 20;
	wait_for_sql($source, q(SELECT count(*) = 23 FROM webhook_outbox.dead_letter),
		'some deliveries are given up');
	wait_for_sql($source, q(SELECT count(*) = 40 FROM webhook_outbox.delivery),
		'some wait');
	publish($source, 'order.held', qq({"key":"held-$_"})) for 1 .. 5;
	$world->receiver->wait_for_requests('/hold/held', 5, 'some are in flight');
	$source->safe_psql('postgres', qq(
		SELECT webhook_outbox.discard_dead_letters(
		  endpoint => 'dead', type => 'order.doomed',
		  since => (SELECT max(created_at) FROM webhook_outbox.dead_letter));
		SELECT webhook_outbox.cancel('$doomed[0]', 'down');
		SELECT webhook_outbox.cancel('$doomed[1]', 'paused');
		SELECT webhook_outbox.redeliver_dead_letters(
		  endpoint => 'dead', type => 'order.doomed', max_per_second => 1)));
	wait_for_sql($source, q(SELECT count(*) > 5 FROM webhook_outbox.delivery
		WHERE endpoint_id = (SELECT endpoint_id FROM webhook_outbox.endpoint WHERE name = 'dead')
		  AND next_attempt_at > now()), 'some are asked for again, at a later time');
	# alerts come at once
	$source->safe_psql('postgres', q(UPDATE webhook_outbox.alert_rule
		SET pending_for = '0', min_samples = 1));
	return;
}

# ---- copies

# The proxy of a copy, which takes all its requests well.
sub start_outside
{
	my ($name) = @_;
	my $receiver = $outside{$name} = start_receiver();

	for (keys %url_of)
	{
		$receiver->secrets($url_of{$_}, $secret_of{$_});
		$receiver->script($url_of{$_}, { status => 200 }) if $_ ne 'shaky';
	}
	return "webhook_outbox.proxy = '" . $receiver->url('') . "'\n";
}

# A cluster to load a dump into.
sub start_other
{
	my ($name, $prepare) = @_;
	my $node = start_node(name => $name, start => 0, conf => start_outside($name));

	$prepare->($node) if $prepare;
	$node->start;
	push @others, $node;
	return $node;
}

# A hundred million transactions and three epochs ahead.
sub advance_xids
{
	my ($node) = @_;
	my $xid = 100 * 1048576;
	my $file = sprintf '%s/pg_xact/%04X', $node->data_dir, $xid / 1048576;

	append_to_file($file, "\0" x 262144);
	system_or_bail('pg_resetwal', '-D', $node->data_dir, '-x', $xid, '-e', 3);
	return;
}

sub load_dump
{
	my ($node, $name) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', slurp_file($dump), on_error_stop => 0);

	return unlike($err, qr/ERROR: (?! *schema "webhook_outbox" already exists)/,
		"$name: loads without an error");
}

# Which deliveries the tables say are not settled: "endpoint id".
sub owed
{
	my ($node, $dbname) = @_;
	my $rows = sub {
		return map { [ split /\|/, $_, -1 ] }
		  split /\n/, $node->safe_psql($dbname, "SELECT $_[0]") };
	my (%waits, %over, %owed, %n);

	for ($rows->("endpoint_id, event_id, state FROM webhook_outbox.delivery"))
	{
		($_->[2] eq 'cancelled' ? \%over : \%waits)->{"$_->[0] $_->[1]"} = 1;
		$n{ $_->[2] }++;
	}
	for ($rows->("endpoint_id, event_id FROM webhook_outbox.command WHERE kind = 'send'"))
	{
		$waits{"$_->[0] $_->[1]"} = 1;
		$n{'asked for'}++;
	}
	for ($rows->('endpoint_id, event_id FROM webhook_outbox.dead_letter'))
	{
		$over{"$_->[0] $_->[1]"} = 1;
		$n{dead}++;
	}
	for ($rows->('endpoint_id, event_id FROM webhook_outbox.attempt WHERE next_attempt_at IS NULL'))
	{
		$over{"$_->[0] $_->[1]"} = 1;
		$n{'ended'}++;
	}
	my @endpoints = $rows->(q(endpoint_id, name, array_to_string(event_types, ',') FROM webhook_outbox.endpoint));
	for my $event ($rows->('DISTINCT id, type FROM webhook_outbox.event'))
	{
		for my $endpoint (@endpoints)
		{
			my $types = join '|', map { s/\./\\./gr =~ s/\*/.*/r } split /,/, $endpoint->[2];
			my $pair = "$endpoint->[0] $event->[0]";

			next if $event->[1] !~ /^(?:$types)$/;
			next if !$waits{$pair} && $over{$pair};
			$owed{"$endpoint->[1] $event->[0]"} = 1;
		}
	}
	note(join ', ', (map { "$n{$_} $_" } sort keys %n), keys(%owed) . ' owed');
	return %owed;
}

# The requests of a copy: "endpoint id" => how many were answered with a 2xx.
sub accepted
{
	my ($name) = @_;
	my %accepted;

	for (split /\n/, slurp_file($outside{$name}{log}))
	{
		my ($url) = /"path":"([^"]+)"/;
		my ($id) = /"id":"([^"]+)"/;
		my ($status) = /"status":(\d+)/;

		$accepted{"$name_of{$url} $id"} += $status == 200;
	}
	return %accepted;
}

# What holds of every copy.
sub check_copy
{
	my ($node, $name, $dbname) = @_;

	wait_for_sql($node, $IS_HELD, "$name: worker_status says that it is a copy", $dbname);
	like(slurp_file($node->logfile),
		qr/does not deliver from database "$dbname": it is a copy\n.*HINT: .*resume_delivery/,
		"$name: so does the log, with a hint");
	my %owed = owed($node, $dbname);
	$owed{"$_ " . publish($node, 'order.created', '{"key":"own"}', $dbname)} = 1 for 'well';
	my ($own) = map { /^well (.*)/ } grep { /^well/ } keys %owed;
	$node->safe_psql($dbname, q(SELECT webhook_outbox.maintain();
		SELECT webhook_outbox.evaluate_alerts()));
	isnt($node->safe_psql($dbname,
			q(SELECT count(*) FROM webhook_outbox.alert WHERE state = 'firing')), '0',
		"$name: alerts fire");
	is($node->safe_psql($dbname,
			q(SELECT count(*) FROM webhook_outbox.event WHERE type ~ '^webhook_outbox')), '0',
		"$name: and are no events");
	my $pid = worker_pid($node, 'dispatcher', 0, $dbname);
	$node->safe_psql($dbname, "SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'dispatcher', $pid, $dbname);
	wait_for_sql($node, $IS_HELD, "$name: held again after its worker ended", $dbname);
	$node->restart('immediate');
	wait_for_sql($node, $IS_HELD, "$name: and after a crash", $dbname);
	is($outside{$name}->n_requests, 0, "$name: it has sent nothing");

	%owed = owed($node, $dbname);
	$node->safe_psql($dbname, 'SELECT webhook_outbox.resume_delivery()');
	$node->safe_psql($dbname, "SELECT webhook_outbox.resume_endpoint('paused')");
	wait_for_sql($node, q(SELECT new_events + parked + retrying = 0
		FROM webhook_outbox.queue_status), "$name: resumed, it delivers all", $dbname);
	my %accepted = accepted($name);
	delete @accepted{ grep { /^pager/ } keys %accepted };
	is(join(', ', grep { !$accepted{$_} } sort keys %owed), '',
		"$name: everything that was not settled is delivered");
	is(join(', ', grep { !$owed{$_} } sort keys %accepted), '',
		"$name: nothing that was settled");
	is(join(', ', grep { $accepted{$_} != 1 } sort keys %accepted), '', "$name: all of it once");
	is(scalar keys %accepted, scalar keys %owed, "$name: which are as many as there should be");
	$outside{$name}->check_signatures("$name: all signed");
	return;
}

# ---- the run

make_all_kinds();
$world->start_producers(events => $n_events, seconds => $seconds);
$world->wait_for('the source is busy', sub {
	($world->receiver->stats('/delay/40/well')->{accepted} // 0) > 100 });
$source->backup('copy');
$source->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'the source is dumped');

my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($source, 'copy');
$clone->append_conf('postgresql.conf',
	"webhook_outbox.instance_id = 'staging'\n" . start_outside('clone'));
$clone->start;
push @others, $clone;
check_copy($clone, 'clone', 'postgres');

if (!$ENV{FAULT_SHORT})
{
	my $new = start_other('new');
	load_dump($new, 'new');
	check_copy($new, 'new', 'postgres');
}
my $ahead = start_other('ahead', \&advance_xids);
load_dump($ahead, 'ahead');
like($ahead->safe_psql('postgres', 'SELECT pg_current_xact_id()'), qr/^129\d{8}$/,
	'ahead: its transaction numbers are far ahead');
check_copy($ahead, 'ahead', 'postgres');
$world->finish_producers;

# From here on the source has no dispatcher, and the proxy is that of the copy.
set($source, "webhook_outbox.databases = 'template'");
wait_for_sql($source, q(SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type ~ '^webhook_outbox (dispatcher|sender)'), 'the source has stopped');
set($source, start_outside('template'));
$source->safe_psql('template1', 'CREATE DATABASE template TEMPLATE postgres');
check_copy($source, 'template', 'template');

$_->stop for @others;
if ($ENV{FAULT_SHORT})
{
	finish($source, $world->receiver, may_crash => 1);
	exit;
}

$source->safe_psql('postgres', 'DROP DATABASE template');
$source->append_conf('postgresql.conf', "webhook_outbox.databases = ''");
$source->stop;
my $upgraded = start_node(name => 'upgraded', start => 0, conf => start_outside('upgraded'));
my $bin = $upgraded->config_data('--bindir');
chdir $PostgreSQL::Test::Utils::tmp_check or die;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $source->data_dir, '-D', $upgraded->data_dir,
		'-b', $bin, '-B', $bin, '-s', $upgraded->host, '-p', $source->port,
		'-P', $upgraded->port ], 'pg_upgrade succeeds');
$upgraded->start;
check_copy($upgraded, 'upgraded', 'postgres');

finish($upgraded, $world->receiver, may_crash => 1);

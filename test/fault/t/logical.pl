# Events that logical replication brings to a server that has the extension too,
# leaf by leaf or through the table, are stored there and never sent; its own
# events are sent. Replication does no harm: neither to a publisher, whatever it
# publishes, nor to what a subscriber still has to deliver.
#
# Everything that the subscriber sends goes through a proxy, which only it has: a
# receiver that answers all requests itself. So there is no doubt who has sent what.
#
# Settings: FAULT_EVENTS (of the publisher, and of each subscriber), FAULT_SECONDS.
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $n_events = fault_size(20_000, 600, 'EVENTS');
my $seconds = fault_size(60, 4, 'SECONDS');
my $schedule = '{100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s}';
# rings turn each second, so leaves are truncated, and events kept, while they are
# replicated
my $world = fault_world(name => 'publisher', allows_streaming => 'logical',
	conf => "webhook_outbox.event_retention = 6s\nmax_wal_senders = 20\n"
	  . "max_replication_slots = 20\n");
my $publisher = $world->node;
my $outside = start_receiver();
my $subscriber = start_node(name => 'subscriber', extension => 0,
	conf => 'webhook_outbox.proxy = \'' . $outside->url('') . "'\n"
	  . "max_logical_replication_workers = 8\nmax_worker_processes = 32\n");
my %folder;

sub publisher_sql
{
	return $publisher->safe_psql('postgres', $_[0]);
}

# A database of the subscriber, with an endpoint of its own.
sub add_database
{
	my ($name) = @_;
	my $url = $world->receiver->url("/$name");

	$subscriber->safe_psql('postgres', "CREATE DATABASE $name");
	$subscriber->safe_psql($name, 'CREATE EXTENSION webhook_outbox');
	my ($id, $secret) = split /\|/, $subscriber->safe_psql($name,
		'SELECT endpoint_id, secret FROM webhook_outbox.create_endpoint('
		  . "'own', '$url', retry_schedule => '$schedule')");
	$outside->secrets($url, $secret);
	my $folder = $folder{$name} = $world->folder . "/$name";
	mkdir $folder or die "$folder: $!";
	append_to_file("$folder/endpoints", "$id\town\t$url\t*\n");
	append_to_file("$folder/conninfo", $subscriber->connstr($name));
	append_to_file("$folder/kills", '');
	return;
}

# The ids of events that its receiver got.
sub sent_by_publisher
{
	return map { /"id":"([^"]+)"/ ? ($1 => 1) : () }
	  split /\n/, slurp_file($world->receiver->{log});
}

sub subscribe
{
	my ($name, $publication) = @_;
	my $conninfo = $publisher->connstr('postgres');

	return $subscriber->safe_psql($name,
		"CREATE SUBSCRIPTION $name CONNECTION \$c\$$conninfo\$c\$ PUBLICATION $publication");
}

# Producers of a database of the subscriber; keys begin with its name.
sub start_producer
{
	my ($name) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>>', "$folder{$name}/log";
	exec $^X, "$Fault::HERE/producer.pl", $name, fault_seed() + length $name,
	  $n_events, $seconds, "$folder{$name}/producer_1", "$folder{$name}/conninfo"
	  or POSIX::_exit(1);
}

# What that database did with its own events, judged like any other's.
sub judge_database
{
	my ($name) = @_;
	my $folder = $folder{$name};

	$subscriber->safe_psql($name,
		"COPY (SELECT id, type, payload->>'key' FROM webhook_outbox.event "
		  . "WHERE payload->>'key' LIKE '$name-%') TO '$folder/events_1';"
		  . "COPY (SELECT event_id, endpoint_id FROM webhook_outbox.dead_letter) "
		  . "TO '$folder/dead_letters_1';"
		  . 'COPY (SELECT event_id, endpoint_id, extract(epoch FROM started_at) '
		  . "FROM webhook_outbox.attempt WHERE outcome = 'delivered') "
		  . "TO '$folder/attempts_end'");
	append_to_file("$folder/requests.jsonl", join '',
		grep { m{"path":"[^"]+/$name"} } slurp_file($outside->{log}) =~ /(.*\n)/g);
	my @lines = `$^X $Fault::HERE/check.pl $folder`;
	is($? >> 8, 0, "$name: all promises are kept about its own events");
	note("$name: $_") for @lines;
	return;
}

publisher_sql("CREATE PUBLICATION leaves FOR TABLE webhook_outbox.event "
	  . "WITH (publish = 'insert')");
publisher_sql('CREATE PUBLICATION whole FOR TABLE webhook_outbox.event '
	  . "WITH (publish = 'insert', publish_via_partition_root)");
# what Debezium does, for one; nobody may be hurt by it
publisher_sql('CREATE PUBLICATION everything FOR ALL TABLES');
add_database($_) for qw(leaf root everything);
subscribe(qw(leaf leaves));

# Some events are there when the others begin: their first copy is made of them.
$world->start_producers(events => $n_events, seconds => $seconds, producers => 2);
my @pids = map { start_producer($_) } qw(leaf root);
$world->wait_for('the publisher has sent something',
	sub { keys %{ $world->receiver->stats } });
my %is_early = sent_by_publisher();
subscribe(qw(root whole));
subscribe(qw(everything everything));

wait_for_sql($subscriber,
	q(SELECT count(*) > 1 FROM webhook_outbox.claim),
	'a database that gets everything gets a foreign claim', 'everything');
wait_for_sql($subscriber, $IS_HELD, 'and is held', 'everything');
my $id = publish($subscriber, 'order.created', '{"key": "everything-1"}', 'everything');
$world->finish_producers;
waitpid $_, 0 for @pids;
$subscriber->restart;
$world->wait_settled(60);

for my $name (qw(leaf root))
{
	$publisher->wait_for_catchup($name);
	wait_for_sql($subscriber, q(SELECT new_events + parked + retrying = 0
		FROM webhook_outbox.queue_status), "$name: all is settled", $name);
	is($subscriber->safe_psql($name,
			'SELECT apply_error_count, sync_error_count FROM pg_stat_subscription_stats '
			  . "WHERE subname = '$name'"), '0|0', "$name: replication met no error");
	judge_database($name);
}

# What has come, against what the publisher's receiver got.
my %sent = sent_by_publisher();
for my $name (qw(leaf root))
{
	my %stored = map { $_ => 1 } split /\n/, $subscriber->safe_psql($name,
		q(SELECT id FROM webhook_outbox.event WHERE payload->>'key' ~ '^p[0-9]+-'));
	my @missing = grep { !$stored{$_} } keys %sent;

	# those that were emptied before it subscribed cannot come
	@missing = grep { !$is_early{$_} } @missing if $name eq 'root';
	is(scalar @missing, 0, "$name: what the publisher sent is there, "
		  . keys(%stored) . ' events');
	is($subscriber->safe_psql($name, q(SELECT count(*) FROM webhook_outbox.event
		WHERE payload->>'key' ~ '^p[0-9]+-' AND xid <> '0')), '0',
		"$name: as seen");
}
# The publisher has emptied its leaves: what it had is what leaf got from the first on.
my $events = $world->folder . '/events_of_leaf';
$subscriber->safe_psql('leaf', "COPY (SELECT id, type, payload->>'key' "
	  . "FROM webhook_outbox.event WHERE payload->>'key' ~ '^p[0-9]+-') TO '$events'");
my @foreign = grep { /\\"key\\":\s*\\"(p\d+|everything)-/ }
  split /\n/, slurp_file($outside->{log});
is(scalar @foreign, 0, 'the subscriber has sent nothing of what came');
is($subscriber->safe_psql('everything', 'SELECT count(*) FROM webhook_outbox.cursor'),
	'1', 'what it knows of its own log is its own');
is($subscriber->safe_psql('everything',
		"SELECT count(*) FROM webhook_outbox.event WHERE id = '$id'"),
	'1', 'and its own events are there');
like(slurp_file($subscriber->logfile),
	qr/INSERT by logical replication on webhook_outbox\.cursor is not allowed/,
	'the log says what may not be replicated');
$subscriber->safe_psql('everything',
	'ALTER SUBSCRIPTION everything DISABLE; '
	  . 'ALTER SUBSCRIPTION everything SET (slot_name = NONE); '
	  . 'DROP SUBSCRIPTION everything');

# A publication that says nothing of what it publishes: TRUNCATE too.  The leaf
# holds what the subscriber has not delivered.
$subscriber->safe_psql('leaf', q(SELECT webhook_outbox.pause_endpoint('own')));
my $own = publish($subscriber, 'order.created', '{"key": "leaf-paused"}', 'leaf');
publisher_sql('CREATE PUBLICATION truncated FOR TABLE webhook_outbox.event');
$subscriber->safe_psql('leaf',
	'ALTER SUBSCRIPTION leaf SET PUBLICATION truncated');
append_to_file($world->folder . '/events_of_test', join("\t",
		publish($publisher, 'order.created', '{"key": "p0-1"}'), 'order.created', "p0-1\n"));
wait_for_sql($subscriber, q(SELECT apply_error_count > 0
	FROM pg_stat_subscription_stats WHERE subname = 'leaf'),
	'TRUNCATE of a leaf is refused to replication', 'leaf');
like(slurp_file($subscriber->logfile),
	qr/TRUNCATE by logical replication on webhook_outbox\.event_\d is not allowed\n.*HINT: .*publish = 'insert'/,
	'with a hint');
$subscriber->safe_psql('leaf', q(SELECT webhook_outbox.resume_endpoint('own')));
wait_until(sub { slurp_file($outside->{log}) =~ /"id":"$own"/ },
	'and so its own event is delivered in the end');

# The same in a session, as of a dump that is loaded so.
$subscriber->safe_psql('root', q(SET session_replication_role = replica;
	INSERT INTO webhook_outbox.event (id, xid, slot, type, payload)
	SELECT gen_random_uuid(), '1', 0, 'order.created', '{"key": "p0-2"}'
	FROM generate_series(1, 100)));
my ($rc, $out, $err) = $subscriber->psql('root',
	q(SET session_replication_role = replica;
	INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}')));
like($err, qr/cannot publish an event with session_replication_role = replica\n.*HINT:/,
	'a new event cannot be published so');
my $last = publish($subscriber, 'order.created', '{"key": "root-last"}', 'root');
wait_until(sub { slurp_file($outside->{log}) =~ /"id":"$last"/ },
	'later events are sent');
unlike(slurp_file($outside->{log}), qr/\\"key\\":\s*\\"p0-/,
	'what was loaded as a replica is not');
is($subscriber->safe_psql('root',
		q(SELECT webhook_outbox.replay('own', '-infinity', event_types => '{order.*}') > 100)),
	't', 'but replay() sends all of it, if somebody asks');
wait_until(sub { slurp_file($outside->{log}) =~ /\\"key\\":\s*\\"p0-2/ }, 'and it is sent');

$outside->check_signatures('the subscriber signs what it sends');
$subscriber->stop('immediate');
$world->judge;
$world->finish;

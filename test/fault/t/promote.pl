# Under load, a standby is promoted again and again, and the old primary comes
# back as its standby: nothing that the new primary knows is lost, a standby sends
# nothing, and no id is used twice.
#
# Rounds take turns: a primary that is stopped in good order; one that is lost,
# with asynchronous replication; one that is lost, with synchronous replication.
# What the lost one knew besides is read from its own disk before it is rewound:
# such an event can have been sent, and its new primary cannot know of it. With
# synchronous replication no event is sent that waits for the standby, so only
# those may be missing whose transaction had asked not to wait.
#
# Each server sends through a proxy of its own, a receiver that answers all
# requests itself, so there is no doubt who has sent what.
#
# Settings: FAULT_ROUNDS, FAULT_EVENTS, FAULT_SECONDS.
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WebhookOutbox;

my $n_rounds = fault_size(6, 1, 'ROUNDS');
my $n_events = fault_size(40_000, 1_500, 'EVENTS');
my $seconds = fault_size(150, 6, 'SECONDS');
my %outside = map { $_ => start_receiver() } qw(a b);
my $world = fault_world(name => 'a', allows_streaming => 1, conf => <<"CONF");
webhook_outbox.proxy = '@{[ $outside{a}->url('') ]}'
wal_log_hints = on
wal_keep_size = 512MB
hot_standby_feedback = on
wal_receiver_status_interval = 1s
CONF
my %node = (a => $world->node);
my ($primary, $standby) = qw(a b);
my (%known_to_lost, %was_synchronous, @took_ms);

# ---- who sends what

# All requests of both in one log, with paths as check.pl knows them.
sub join_logs
{
	my $all = $world->folder . '/requests.jsonl';
	my $url = $world->receiver->url('');

	unlink $all or die "$all: $!";
	append_to_file($all, slurp_file($outside{$_}{log}) =~ s/"path":"\Q$url\E/"path":"/gr)
	  for qw(a b);
	return;
}

# The names of a server's worker processes, by the system's list of them.
sub worker_processes
{
	my ($node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	return grep { /webhook_outbox/ } split /\n/, `ps -o args= --ppid $postmaster`;
}

# ---- servers

sub start_standby
{
	my ($name) = @_;
	my $other = $node{$primary}->connstr('') =~ s/'//gr;

	$node{$name}->append_conf('postgresql.conf', <<"CONF");
primary_conninfo = '$other application_name=$name'
webhook_outbox.proxy = '@{[ $outside{$name}->url('') ]}'
synchronous_standby_names = ''
CONF
	$node{$name}->set_standby_mode;
	$node{$name}->start;
	wait_for_sql($node{$primary}, "SELECT count(*) = 1 FROM pg_stat_replication "
		  . "WHERE application_name = '$name' AND state = 'streaming'",
		"$name follows $primary");
	return;
}

sub set_synchronous
{
	my ($names) = @_;

	$node{$primary}->append_conf('postgresql.conf',
		"synchronous_standby_names = '$names'");
	$node{$primary}->reload;
	wait_for_sql($node{$primary}, "SELECT count(*) = 1 FROM pg_stat_replication "
		  . "WHERE sync_state = '" . ($names ? 'sync' : 'async') . "'",
		'replication is ' . ($names ? 'synchronous' : 'asynchronous'));
	return;
}

# What a server that was lost has on its disk; it must not send it now.
sub read_lost
{
	my ($node, $is_synchronous) = @_;

	$node->append_conf('postgresql.conf',
		"webhook_outbox.enabled = off\nsynchronous_standby_names = ''\n"
		  . "port = " . PostgreSQL::Test::Cluster::get_free_port());
	command_ok([ 'pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '-w', 'start' ],
		'the lost primary can be looked at');
	my ($port) = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[3];
	my $host = $node->host;
	my $keys = qx(psql -XAt -h $host -p $port -d postgres -c "SELECT payload->>'key' FROM webhook_outbox.event");
	for my $key (split /\n/, $keys)
	{
		$known_to_lost{$key} = 1;
		$was_synchronous{$key} = 1 if $is_synchronous;
	}
	command_ok([ 'pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-w', 'stop' ],
		'and stopped again');
	$node->append_conf('postgresql.conf',
		"webhook_outbox.enabled = on\nport = " . $node->port);
	return;
}

# Makes the old primary follow the new one.
sub rewind
{
	my ($node) = @_;
	my $conf = slurp_file($node->data_dir . '/postgresql.conf');

	# until there was one, pg_rewind takes both to be on one timeline
	$node{$primary}->safe_psql('postgres', 'CHECKPOINT');
	command_ok([ 'pg_rewind', '--target-pgdata', $node->data_dir, '--source-server',
			$node{$primary}->connstr('postgres'), '--no-sync' ],
		'the old primary is rewound');
	# that copies the other's configuration too
	unlink $node->data_dir . '/postgresql.conf';
	append_to_file($node->data_dir . '/postgresql.conf', $conf);
	return;
}

# Cuts a standby off, so that its primary has commits that it has not; what follows
# comes at any moment of that.
sub cut_off
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', "primary_conninfo = 'host=/nowhere'");
	$node->reload;
	wait_for_sql($node{$primary}, 'SELECT count(*) = 0 FROM pg_stat_replication',
		'the standby is cut off');
	my $n = sql_value($node{$primary}, 'SELECT count(*) FROM webhook_outbox.event');
	wait_for_sql($node{$primary}, "SELECT count(*) > $n + 20 OR EXISTS "
		  . "(SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep') "
		  . 'FROM webhook_outbox.event', 'and its primary has commits that it has not');
	return usleep(rand 1e6);
}

# ---- a round

sub change_over
{
	my ($kind) = @_;
	my ($old, $new) = ($primary, $standby);
	my $is_synchronous = $kind eq 'lost, synchronous';

	set_synchronous($is_synchronous ? $new : '');
	my $n_before = $outside{$old}->n_requests;
	$world->wait_for("$old sends", sub { $outside{$old}->n_requests > $n_before + 20 });
	usleep(rand 1e6);
	isnt(join(', ', worker_processes($node{$old})), '', "$old has worker processes");
	is(join(', ', worker_processes($node{$new})), '', "standby $new has none");
	is($outside{$new}->n_requests, $world->{at_rest}{$new}, "and has sent nothing while it was one");

	cut_off($node{$new}) if $kind ne 'in good order';
	my $began = time;
	$node{$old}->stop($kind eq 'in good order' ? 'fast' : 'immediate');
	$node{$new}->promote;
	$world->node($node{$new});
	($primary, $standby) = ($new, $old);
	$world->mark("$kind: $old, then $new", before => $began, victim => $old);
	wait_for_sql($node{$new}, q(SELECT is_running FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = 'postgres'),
		"$new delivers ($kind)");
	push @took_ms, int(1000 * (time - $began));
	$world->{at_rest}{$old} = $outside{$old}->n_requests;
	read_lost($node{$old}, $is_synchronous) if $kind ne 'in good order';
	rewind($node{$old});
	start_standby($old);
	return;
}

# Where commits wait for a standby, an event that waits is not visible, hence not
# sent. It is as soon as somebody cancels the wait; and one that does not wait
# (synchronous_commit = off, local) is sent as if there was no standby.
sub wait_for_standby
{
	my $node = $node{$primary};
	my $publish = q(INSERT INTO webhook_outbox.event (type, payload)
		VALUES ('order.paid', '{"key":"%s"}'));
	my $is_sent = sub {
		slurp_file($outside{$primary}{log}) =~ /\\"key\\":\s*\\"$_[0]\\"/ };

	set_synchronous($standby);
	$node{$standby}->stop;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, '\echo begun' . "\n" . sprintf("$publish;\n", 'waits'));
	wait_for_sql($node, q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'),
		'a commit waits for the standby');
	$node->safe_psql('postgres', 'SET synchronous_commit = local; '
		  . sprintf $publish, 'does-not-wait');
	wait_until(sub { $is_sent->('does-not-wait') },
		'an event whose commit does not wait is sent');
	ok(!$is_sent->('waits'), 'one whose commit waits is not');
	$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid)
		FROM pg_stat_activity WHERE wait_event = 'SyncRep'));
	wait_until(sub { $is_sent->('waits') }, 'it is when the wait is cancelled');
	$session->quit;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->reload;
	$node{$standby}->start;
	return;
}

# ---- the run

my $url = $world->receiver->url('');
for my $row (split /\n/, $node{a}->safe_psql('postgres',
		'SELECT url, secret FROM webhook_outbox.endpoint JOIN webhook_outbox.endpoint_secret USING (endpoint_id)'))
{
	my ($path, $secret) = split /\|/, $row;
	$_->secrets($path, $secret) for values %outside;
}
$node{a}->backup('base');
$node{b} = PostgreSQL::Test::Cluster->new('b');
$node{b}->init_from_backup($node{a}, 'base', has_streaming => 1);
start_standby('b');
$world->{at_rest}{b} = 0;
$world->start_producers(events => $n_events, seconds => $seconds);
my @kinds = ('in good order', 'lost, asynchronous', 'lost, synchronous');
@kinds = ($kinds[2]) if $n_rounds == 1;
for my $round (0 .. $n_rounds - 1)
{
	change_over($kinds[ $round % @kinds ]);
}
set_synchronous('');
$world->finish_producers;
wait_for_standby();
$world->wait_settled(60);
is($outside{$standby}->n_requests, $world->{at_rest}{$standby},
	"standby $standby has sent nothing since it is one");
join_logs();
note('milliseconds without a primary that delivers: ' . join ', ', @took_ms);

# An event that only the lost primary had is no phantom: it had happened. In a
# synchronous round that is so only for those who did not wait.
my (%did_not_wait, %acknowledged);
for my $file (glob $world->folder . '/producer_*')
{
	my @keys;

	for (split /\n/, slurp_file($file))
	{
		my ($what, undef, $sync, undef, $keys) = split /\t/, $_, -1;

		if ($what eq 'done')
		{
			@acknowledged{@keys} = (1) x @keys if $sync eq 'commit';
			next;
		}
		@keys = $sync eq 'on' ? split /,/, $keys : ();
		@did_not_wait{ split /,/, $keys } = () if $sync eq 'off';
	}
}
$world->keep_events;
my %there = map { $_ => 1 } split /\n/, $node{$primary}->safe_psql('postgres',
	q(SELECT payload->>'key' FROM webhook_outbox.event));
my (%sent, %ids);
for (split /\n/, slurp_file($world->folder . '/requests.jsonl'))
{
	my ($id) = /"id":"([^"]+)"/;
	my ($key) = /\\"key\\":\s*\\"([^\\]+)\\"/;

	$sent{$key} = 1;
	$ids{$id}{$key} = 1;
}
my @only_lost = sort grep { !$there{$_} && $known_to_lost{$_} } keys %sent;
note(scalar(grep { !$there{$_} } keys %known_to_lost)
	  . ' events were lost with a primary, ' . @only_lost . ' of them had been sent');
is(join(', ', grep { $was_synchronous{$_} && !exists $did_not_wait{$_} } @only_lost), '',
	'no event was sent that waited for a synchronous standby and was lost');
my @missing = sort grep { !$there{$_} } keys %acknowledged;
is(join(', ', grep { !$known_to_lost{$_} || $was_synchronous{$_} } @missing), '',
	'no commit is missing that waited for the disk, but for those that an asynchronous '
	  . 'standby had not got (' . @missing . ')');
is(join(', ', grep { keys %{ $ids{$_} } > 1 } sort keys %ids), '',
	'no id was given to two events');
# check.pl knows one database: for it those requests are none
if (@only_lost)
{
	my $all = $world->folder . '/requests.jsonl';
	my %is_lost = map { $_ => 1 } @only_lost;
	my @lines = grep { /\\"key\\":\s*\\"([^\\]+)\\"/ && !$is_lost{$1} }
	  split /\n/, slurp_file($all);
	unlink $all;
	append_to_file($all, join '', map { "$_\n" } @lines);
}
for my $name (qw(a b))
{
	$outside{$name}->check_signatures("$name signs what it sends");
}
$world->judge(may_vanish => scalar @missing);
$node{$standby}->stop;
$world->finish;

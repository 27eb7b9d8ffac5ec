# Transactions that end late, in any order and by any way: open for up to a minute,
# with thousands of subtransactions, prepared and ended after a crash. Each event of
# those that commit is delivered, none of those that roll back, and nobody waits
# for them meanwhile: every event that is published while they are open arrives
# before the last of them ends.
#
# Rounds of three phases: without late transactions; with them; with prepared ones
# alone, which a crash of the server has not ended. The latency of ordinary events
# (from their insert to the receiver) is shown for each.
#
# Settings: FAULT_ROUNDS, FAULT_SECONDS (of a phase), FAULT_EVENTS (ordinary ones, a
# phase), FAULT_SUBTRANSACTIONS.
use strict;
use warnings FATAL => 'all';
use Fault;
use IO::Handle;
use IPC::Open2;
use List::Util qw(shuffle);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WebhookOutbox;

my $n_rounds = fault_size(2, 1, 'ROUNDS');
my $seconds = fault_size(60, 4, 'SECONDS');
my $n_ordinary = fault_size(3_000, 100, 'EVENTS');
my $n_subtransactions = fault_size(10_000, 500, 'SUBTRANSACTIONS');
my $n_sessions = fault_size(12, 3);
my $n_savepoints = fault_size(200, 100);
my $world = fault_world(
	conf => "max_connections = 80\nmax_prepared_transactions = 40\n");
my $node = $world->node;
my $path = '/delay/40/well';
my ($n_transactions, $n_keys) = (0, 0);
my (%latency, @ordinary);

# ---- sessions

sub open_session
{
	my ($from, $to);

	local $ENV{PGAPPNAME} = 'late';
	my $pid = open2($from, $to, 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('postgres'));
	$to->autoflush(1);
	return { pid => $pid, from => $from, to => $to };
}

# Runs statements; false when the connection broke, or one failed.
sub run
{
	my ($session, $sql) = @_;
	my $out = '';

	local $SIG{PIPE} = 'IGNORE';
	print { $session->{to} } "$sql\nSELECT 'answered';\n" or return 0;
	while (defined(my $line = readline $session->{from}))
	{
		if ($line eq "answered\n")
		{
			$session->{out} = $out;
			return 1;
		}
		$out .= $line;
	}
	return 0;
}

sub close_session
{
	my ($session) = @_;

	close $session->{to};
	close $session->{from};
	waitpid $session->{pid}, 0;
	return;
}

# ---- late transactions, noted as a producer does, so that check.pl judges them

sub insert
{
	my (@keys) = @_;

	return 'INSERT INTO webhook_outbox.event (type, payload) VALUES '
	  . join(', ', map { sprintf q(('order.%s', '{"key":"%s"}')),
			(qw(paid created doomed))[ rand 2.1 ], $_ } @keys) . ';';
}

sub new_keys
{
	my ($name, $n) = @_;

	return map { "$name-" . ++$n_keys } 1 .. $n;
}

# Each returns what it runs, the keys that it keeps, and those that it undoes.

sub plain
{
	my @keys = new_keys('late', 1 + int rand 20);

	return (insert(@keys), \@keys, []);
}

# Savepoints that stay open, one in the other, more than the server caches of a
# backend (64); some go back to an outer one, and take along what came since.
sub savepoints
{
	my (@sql, @kept, @undone, @open);

	for my $i (1 .. $n_savepoints)
	{
		my ($key) = new_keys('savepoint', 1);

		push @sql, "SAVEPOINT s$i;", insert($key);
		push @open, [ $i, $key ];
		next if rand > 0.05;
		my $back = int rand @open;
		push @sql, "ROLLBACK TO s$open[$back][0];";
		push @undone, map { $_->[1] } splice @open, $back;
	}
	@kept = map { $_->[1] } @open;
	return (join("\n", @sql), \@kept, \@undone);
}

# Subtransactions by the thousand, every third of them rolled back.
sub storm
{
	my ($name) = new_keys('storm', 1);
	my @keys = map { "$name-$_" } 1 .. $n_subtransactions;

	return (<<"SQL", [ @keys[ grep { ($_ + 1) % 3 } 0 .. $#keys ] ], [ @keys[ grep { !(($_ + 1) % 3) } 0 .. $#keys ] ]);
DO \$\$
BEGIN
  FOR i IN 1 .. $n_subtransactions LOOP
    BEGIN
      INSERT INTO webhook_outbox.event (type, payload)
        VALUES ('order.paid', format('{"key":"$name-%s"}', i)::json);
      IF i % 3 = 0 THEN
        RAISE EXCEPTION 'undo';
      END IF;
    EXCEPTION WHEN raise_exception THEN
      NULL;
    END;
  END LOOP;
END
\$\$;
SQL
}

# Begins a transaction; it ends so many seconds from now.
sub begin_late
{
	my ($kind, $lasts, %option) = @_;
	my $number = ++$n_transactions;
	my $sync = rand > 0.5 ? 'on' : 'off';
	my $end = delete $option{end} // (rand > 0.4 ? 'commit' : 'rollback');
	my ($sql, $kept, $undone) = $kind->();
	my $late = { number => $number, session => open_session(), end => $end,
		ends_at => time + $lasts, %option };

	$world->append('producer_late',
		join("\t", 'plan', $number, $sync, $end, join(',', @$kept), join(',', @$undone)) . "\n");
	run($late->{session}, "BEGIN; SET LOCAL synchronous_commit = $sync;\n$sql")
	  or die 'a late transaction failed';
	if ($late->{is_prepared})
	{
		run($late->{session}, "PREPARE TRANSACTION 'late $number';") or die 'PREPARE failed';
		close_session(delete $late->{session});
	}
	return $late;
}

sub end_late
{
	my ($late) = @_;
	my $end = uc $late->{end};
	my $session = $late->{session} // open_session();
	my $is_done = run($session, $late->{is_prepared}
		? "$end PREPARED 'late $late->{number}';" : "$end;");

	$world->append('producer_late',
		join("\t", 'done', $late->{number}, $is_done ? $late->{end} : 'unknown') . "\n");
	close_session($session);
	return;
}

# ---- ordinary events

# Publishes ordinary events over so many seconds, and ends late transactions whose
# time has come. The ids of the events are returned.
sub publish_ordinary
{
	my ($phase, $passing) = @_;
	my $session = open_session();
	my $began = time;
	my @ids;

	for my $i (1 .. $n_ordinary)
	{
		my ($key) = new_keys("ordinary_$phase", 1);

		run($session, q(INSERT INTO webhook_outbox.event (type, payload) )
			  . qq(VALUES ('order.paid', '{"key":"$key"}') RETURNING id;)) or die 'INSERT failed';
		push @ids, $session->{out} =~ /(\S+)/;
		for my $late (grep { !$_->{is_ended} && $_->{ends_at} <= time } @$passing)
		{
			$late->{is_ended} = 1;
			end_late($late);
		}
		my $ahead = $began + $seconds * $i / $n_ordinary - time;
		usleep(1e6 * $ahead) if $ahead > 0;
	}
	close_session($session);
	push @ordinary, map { [ $_, $phase ] } @ids;
	return @ids;
}

sub all_arrived
{
	my ($claim, @ids) = @_;

	return wait_until(sub {
		my %arrived = map { $_ => 1 } $world->receiver->accepted_ids($path);
		return !grep { !$arrived{$_} } @ids }, $claim);
}

sub n_open
{
	return sql_value($node, q(SELECT
		(SELECT count(*) FROM pg_stat_activity
		 WHERE application_name = 'late' AND backend_xid IS NOT NULL)
		+ (SELECT count(*) FROM pg_prepared_xacts)));
}

sub run_round
{
	my ($round) = @_;

	all_arrived("round $round: without late transactions events arrive",
		publish_ordinary('without', []));

	# those that end by themselves, and those that outlive the phase
	my @passing = map { begin_late((\&plain, \&savepoints)[ $_ % 2 ], rand $seconds) }
	  1 .. $n_sessions;
	my @staying = map { begin_late($_, 1e6) } (\&plain, (\&savepoints) x $n_sessions);
	push @staying, begin_late(\&storm, 1e6, end => 'commit');
	my @prepared;
	for my $kind ((\&plain) x 2, (\&savepoints) x 2, \&storm)
	{
		# both ends there are
		push @prepared, begin_late($kind, 1e6, is_prepared => 1,
			end => @prepared % 2 ? 'commit' : 'rollback');
	}
	my @cut = map { begin_late(\&plain, 1e6) } 1 .. 2;
	my @ids = publish_ordinary('with', \@passing);
	all_arrived("round $round: with them all arrive too", @ids);
	is(n_open(), @staying + @prepared + @cut, 'while late transactions are open');
	end_late($_) for grep { !$_->{is_ended} } @passing;
	end_late($_) for shuffle @staying;

	$world->strike('stop immediate', sub {
		$node->stop('immediate');
		$node->start;
		return 'postmaster' });
	end_late($_) for @cut;
	@ids = publish_ordinary('prepared', []);
	all_arrived("round $round: with prepared transactions alone, after a crash, too", @ids);
	is(n_open(), scalar @prepared, 'while those are open');
	end_late($_) for shuffle @prepared;
	# it goes behind all that has come at once now, which is no part of the next round
	my ($key) = new_keys('marker', 1);
	return all_arrived("round $round: what was late has gone",
		publish($node, 'order.paid', qq({"key":"$key"})));
}

# ---- figures

sub percentile
{
	my ($share, @values) = @_;

	@values = sort { $a <=> $b } @values;
	return $values[ $share * $#values ];
}

sub show_latency
{
	my (%arrived_at, %created_at, %ms);

	for (split /\n/, slurp_file($world->receiver->{log}))
	{
		my ($at, $id) = /"at":(\d+),"method":"POST","path":"\Q$path\E","id":"([^"]+)"/ or next;
		$arrived_at{$id} //= $at / 1e6;
	}
	%created_at = map { split /\|/ } split /\n/, sql_value($node,
		q(SELECT id, extract(epoch FROM created_at) FROM webhook_outbox.event));
	push @{ $ms{ $_->[1] } }, 1000 * ($arrived_at{ $_->[0] } - $created_at{ $_->[0] })
	  for @ordinary;
	for my $phase (qw(without with prepared))
	{
		note(sprintf 'late transactions: %-8s  %5d events, median %.1f ms, p99 %.1f ms '
			  . '(%.2f and %.2f times those without)', $phase, scalar @{ $ms{$phase} },
			map({ percentile($_, @{ $ms{$phase} }) } 0.5, 0.99),
			map { percentile($_, @{ $ms{$phase} }) / percentile($_, @{ $ms{without} }) } 0.5, 0.99);
	}
	return;
}

# ---- the run

my $n_phases = 3 * $n_rounds;
$world->start_producers(events => $n_ordinary * $n_phases, seconds => $seconds * $n_phases,
	producers => 2);
run_round($_) for 1 .. $n_rounds;
$world->finish_producers;
$world->wait_settled(60);
show_latency();
$world->judge;
$world->finish;

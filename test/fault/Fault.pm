# Fault.pm - what the scenarios of make fault share (test/fault/t/*.pl).
#
# A scenario publishes while something breaks, and compares at the end:
#
#   use Fault;
#   my $world = fault_world(conf => "webhook_outbox.senders = 2\n");
#   $world->start_producers(events => fault_size(100_000, 2_000), seconds => 60);
#   $world->strike('stop immediate', sub { ...; return $what_was_hit });
#   $world->finish_producers;
#   $world->wait_settled(60);
#   $world->judge;
#   $world->finish;
#
# What was promised is judged by check.pl, a program of its own that knows nothing
# of this one: it reads what producers logged (producer.pl), what the receiver
# logged and what the database says. Its verdicts become checks here.
#
# Settings (environment): FAULT_SEED (the same choices again; timing differs),
# FAULT_SHORT=1 (small sizes, for make check), and a name for each size that a
# scenario asks fault_size for, as FAULT_EVENTS.

package Fault;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

our @EXPORT = qw(fault_size fault_seed fault_points fault_world);

our $HERE = dirname(abs_path(__FILE__));

my $seed;

# The number for this run; NAME lets FAULT_NAME overrule it.
sub fault_size
{
	my ($long, $short, $name) = @_;
	my $given = $name ? $ENV{"FAULT_$name"} : undef;

	return $given if defined $given && $given ne '';
	return $ENV{FAULT_SHORT} ? $short : $long;
}

# The seed of all choices; the first call shows it and seeds rand.
sub fault_seed
{
	return $seed if defined $seed;
	$seed = $ENV{FAULT_SEED} || int rand 1_000_000;
	srand $seed;
	note("FAULT_SEED=$seed");
	return $seed;
}

# Was the extension built with its fault points (src/fault.h)?
sub fault_points
{
	my ($node) = @_;

	return sql_value($node,
		q(SELECT count(*) FROM pg_settings WHERE name = 'webhook_outbox.fault_point'));
}

# A server, a receiver that logs, and endpoints. Options: node (one that runs,
# else the rest of start_node's: name, conf, allows_streaming), restart (code that
# starts it after a strike), endpoints (a list
# of [ name, path, event types, retry schedule ]; by default three: one that
# works, one that needs two attempts and one that never answers well).
sub fault_world
{
	my (%option) = @_;
	my $endpoints = delete $option{endpoints} // [
		[ 'well', '/delay/40/well', '{order.*}',
			'{100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s}' ],
		[ 'shaky', '/fail/1/shaky', '{order.created,order.doomed}',
			'{100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s}' ],
		[ 'dead', '/status/503/dead', '{order.doomed}', '{100ms,100ms}' ] ];
	my $node = delete $option{node};
	my $start = delete $option{restart} // sub { $_[0]->start };
	my $self = bless { start => $start, began => time, producers => {}, n_strikes => 0,
		n_producers => 0, last_strike => 0, kept_until => 0 }, 'Fault::World';

	fault_seed();
	$self->{folder} = sprintf '%s/fault_%s_%d', $PostgreSQL::Test::Utils::tmp_check,
	  basename($0) =~ s/\.pl$//r, $$;
	mkdir $self->{folder} or die "$self->{folder}: $!\n";
	# PostgreSQL's tests switch off what a crash is followed by
	$option{conf} = "restart_after_crash = on\n" . ($option{conf} // '');
	$self->{receiver} = start_receiver();
	symlink $self->{receiver}{log}, "$self->{folder}/requests.jsonl" or die "symlink: $!\n";
	$self->node($node // start_node(%option));
	$self->append('kills', '');
	$self->append('endpoints', '');
	$self->add_endpoint(@$_) for @$endpoints;
	return $self;
}

package Fault::World;

use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox qw(tick);

# Seconds within which a server answers again, or a worker is back.
my $patience = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

sub receiver { return $_[0]{receiver}; }
sub folder { return $_[0]{folder}; }

# The server; when given, the one that takes over: producers go to it from their
# next connection on.
sub node
{
	my ($self, $node) = @_;

	return $self->{node} if !$node;
	$self->{node} = $node;
	open my $fh, '>', "$self->{folder}/conninfo.new" or die "conninfo: $!\n";
	print $fh $node->connstr('postgres');
	close $fh or die "conninfo: $!\n";
	rename "$self->{folder}/conninfo.new", "$self->{folder}/conninfo"
	  or die "conninfo: $!\n";
	return $node;
}

sub append
{
	my ($self, $name, $text) = @_;

	open my $fh, '>>', "$self->{folder}/$name" or die "$name: $!\n";
	print $fh $text;
	close $fh or die "$name: $!\n";
	return;
}

# An endpoint that check.pl knows of. Further options are create_endpoint's.
sub add_endpoint
{
	my ($self, $name, $path, $types, $schedule, %more) = @_;
	my $id = WebhookOutbox::create_endpoint($self->{node}, $self->{receiver}, $name, $path,
		event_types => "'$types'", retry_schedule => "'$schedule'", %more);

	$self->append('endpoints', join("\t", $id, $name, $path, $types =~ tr/{}//dr) . "\n");
	return $id;
}

# ---- SQL while the server may be down

# The rows, or nothing when the server does not answer.
sub try_sql
{
	my ($self, $query) = @_;
	my ($rc, $out, $err) = eval {
		$self->{node}->psql('postgres', $query, timeout => $patience) };

	return if !defined $rc || $rc != 0;
	return split /\n/, $out;
}

# The rows, once the server answers.
sub sql
{
	my ($self, $query) = @_;
	my $end = time + $patience;

	while (time < $end)
	{
		my @rows = $self->try_sql("$query;\nSELECT 'answered'");
		return @rows if @rows && pop @rows eq 'answered';
		tick(2);
	}
	die "no answer after $patience s: $query\n";
}

# Waits until code returns true; dies with what it waited for.
sub wait_for
{
	my ($self, $what, $code) = @_;
	my $end = time + $patience;

	while (time < $end)
	{
		my $result = $code->();
		return $result if $result;
		tick(2);
	}
	die "still not after $patience s: $what\n";
}

# The process ids of running workers of a kind: launcher, dispatcher, sender.
sub workers
{
	my ($self, $kind) = @_;

	return $self->try_sql('SELECT pid FROM webhook_outbox.worker_status '
		  . "WHERE process = '$kind' AND is_running AND pid IS NOT NULL");
}

# What worker_status says of the dispatcher: its state, and how many requests are in
# flight. It can be read whatever is broken, as long as the server answers.
sub status
{
	my ($self) = @_;

	return split /\|/, WebhookOutbox::sql_value($self->{node}, q(
		SELECT state, in_flight FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher'));
}

# ---- producers

# Starts processes that publish (producer.pl). Options: events (that are meant to
# stay, in all), seconds (over which), producers (how many; 4), go_on (true: at that
# rate until finish_producers).
sub start_producers
{
	my ($self, %option) = (shift, producers => 4, @_);
	my $n_each = int($option{events} / $option{producers}) || 1;

	for (1 .. $option{producers})
	{
		my $name = 'p' . ++$self->{n_producers};
		my @command = ($^X, "$Fault::HERE/producer.pl", $name,
			Fault::fault_seed() + $self->{n_producers}, $n_each, $option{seconds},
			"$self->{folder}/producer_$name", "$self->{folder}/conninfo",
			$option{go_on} ? "$self->{folder}/enough" : ());
		my $pid = fork // die "fork: $!\n";

		if (!$pid)
		{
			open STDIN, '<', '/dev/null';
			open STDOUT, '>>', "$self->{folder}/producers.log";
			open STDERR, '>&', \*STDOUT;
			exec @command or POSIX::_exit(1);
		}
		$self->{producers}{$pid} = $name;
	}
	return;
}

sub are_producers_done
{
	my ($self) = @_;

	for my $pid (keys %{ $self->{producers} })
	{
		$self->end_producer($pid) if waitpid($pid, POSIX::WNOHANG()) == $pid;
	}
	return !%{ $self->{producers} };
}

sub end_producer
{
	my ($self, $pid) = @_;
	my $name = delete $self->{producers}{$pid};

	push @{ $self->{failed} }, "$name: exit code " . ($? >> 8) if $?;
	return;
}

# A check that passes once every producer has published what it was to.
sub finish_producers
{
	my ($self) = @_;

	$self->append('enough', '');
	for my $pid (keys %{ $self->{producers} })
	{
		waitpid $pid, 0;
		$self->end_producer($pid);
	}
	is(join(', ', @{ $self->{failed} // [] }), '', 'every producer came to its end');
	return;
}

sub DESTROY
{
	my ($self) = @_;

	kill 'TERM', keys %{ $self->{producers} } if %{ $self->{producers} };
	return;
}

# ---- strikes

# Breaks something and keeps what is on record right after: what was sent and is
# not on record then may be sent again. The code returns what it has hit, or
# nothing when there was nothing to hit; so does this.
sub strike
{
	my ($self, $kind, $code) = @_;
	my ($in_flight) = $self->try_sql(
		q(SELECT in_flight FROM webhook_outbox.worker_status WHERE process = 'dispatcher'));
	my $before = time;
	my $victim = $code->() or return;

	$self->mark($kind, before => $before, in_flight => $in_flight, victim => $victim);
	return $victim;
}

# Makes the process that reaches a point of src/fault.h for so many times act.
sub arm
{
	my ($self, $point, $action, $times) = @_;
	my $file = $self->fault_file;

	open my $fh, '>', "$file.new" or die "$file: $!\n";
	printf $fh '%s:%s:%d:%d', $point, $action, $times // 1, ++$self->{n_armed};
	close $fh or die "$file: $!\n";
	rename "$file.new", $file or die "$file: $!\n";
	return;
}

sub fault_file
{
	my ($self) = @_;

	return $self->{node}->data_dir . '/webhook_outbox.fault';
}

# Waits until somebody has acted at the point; false, and disarmed, when nobody does.
sub wait_reached
{
	my ($self, $limit) = @_;
	my $end = time + ($limit // $patience);

	while (-e $self->fault_file)
	{
		return 0 if time > $end && unlink $self->fault_file;
		tick(0.2);
	}
	return 1;
}

# Strikes at a point: kill, immediate, flushed or exit (src/fault.c), when it is reached for so
# many times. The trigger, if any, is called once the point is armed. Returns nothing when nobody
# has come there.
sub strike_at
{
	my ($self, $point, $action, $trigger, $times) = @_;

	return $self->strike("$action at $point", sub {
		my $n_before = $self->n_recoveries;

		$self->arm($point, $action, $times);
		$trigger->() if $trigger;
		$self->wait_reached or return;
		$self->wait_for("recovery after $point", sub { $self->n_recoveries > $n_before })
		  if $action eq 'kill';
		$self->start_again if $action =~ /^(?:immediate|flushed)$/;
		return $point;
	});
}

# How often the server has come up, by its log.
sub n_recoveries
{
	my ($self) = @_;

	return WebhookOutbox::n_logged($self->{node},
		qr/database system is ready to accept/);
}

# Kills a process of the server with SIGKILL: the postmaster ends all others then,
# and starts again by itself. Returns who it was, or nothing if it is no more.
sub kill_hard
{
	my ($self, $pid) = @_;
	my $n_before = $self->n_recoveries;

	kill('KILL', $pid) or return;
	$self->wait_for("recovery after kill -9 $pid",
		sub { $self->n_recoveries > $n_before });
	return "pid $pid";
}

# Starts a server that has stopped at once by itself.
sub start_again
{
	my ($self) = @_;
	my $node = $self->{node};

	$self->wait_for('the server ends', sub { !-e $node->data_dir . '/postmaster.pid' });
	$node->stop('immediate', fail_ok => 1);
	return $self->{start}->($node);
}

# The second half of strike, for what breaks otherwise. Without the time before it,
# it may have been at any time since the last one.
sub mark
{
	my ($self, $kind, %option) = @_;
	my $n = ++$self->{n_strikes};
	my $before = $option{before} // $self->{last_strike};

	$self->keep_attempts("attempts_$n");
	my $after = $self->{last_strike} = time;
	$self->append('kills', join("\t", $n, $kind, $before, $after,
		$option{in_flight} // '?', $self->{kept_since}) . "\n");
	note(sprintf '%6.1f s: %s (%s), %s in flight', $before - $self->{began}, $kind,
		$option{victim} // '', $option{in_flight} // '?');
	return;
}

# How long after its start an attempt may be recorded and lost again: what was
# started earlier counts as kept once it has been seen, and is not read again.
my $settled_after = 20;

# Keeps what is on record as delivered: the pairs, and when each was started.
sub keep_attempts
{
	my ($self, $name, %option) = @_;
	my $now = time;

	$self->{kept_since} = $option{all} || !$self->{kept_at} ? 0
	  : $self->{kept_at} - $settled_after;
	$self->sql('COPY (SELECT event_id, endpoint_id, extract(epoch FROM started_at) '
		  . "FROM webhook_outbox.attempt WHERE outcome = 'delivered' "
		  . "AND started_at >= to_timestamp($self->{kept_since})) "
		  . "TO '$self->{folder}/$name'");
	$self->{kept_at} = $now;
	return;
}

# ---- the end

# A check that passes when nothing is owed to anybody within so many seconds.
sub wait_settled
{
	my ($self, $limit) = @_;
	my $began = time;
	my $left = '?';

	while (time < $began + $limit)
	{
		($left) = $self->try_sql(
			'SELECT new_events + parked + retrying FROM webhook_outbox.queue_status');
		$left //= '?';
		last if $left eq '0';
		tick(10);
	}
	note(sprintf 'settled %.1f s after the last event', time - $began);
	return is($left, '0', "all is settled within $limit s");
}

# Keeps which events and dead letters there are now. judge does it at the end; a
# scenario in which they pass away does it in time as well.
sub keep_events
{
	my ($self) = @_;
	my $n = ++$self->{n_kept};

	$self->sql("COPY (SELECT id, type, payload->>'key' FROM webhook_outbox.event "
		  . "WHERE type NOT LIKE 'webhook_outbox.%') TO '$self->{folder}/events_$n'");
	$self->sql('COPY (SELECT event_id, endpoint_id FROM webhook_outbox.dead_letter) '
		  . "TO '$self->{folder}/dead_letters_$n'");
	return;
}

# Checks, one for each promise that check.pl judges. Option: may_vanish => 1 when
# commits may be lost with the server that had them.
sub judge
{
	my ($self, %option) = @_;
	my @command = ($^X, "$Fault::HERE/check.pl",
		$option{may_vanish} ? '--may-vanish' : (), $self->{folder});
	my ($n, $n_wanted, $promise) = (0, 'all');

	$self->keep_events;
	$self->keep_attempts('attempts_end', all => 1);
	open my $fh, '-|', @command or die "check.pl: $!\n";
	while (my $line = <$fh>)
	{
		chomp $line;
		note($line) if $line =~ /\S/;
		$n_wanted = $1 if $line =~ /^(\d+) promises judged$/;
		($promise) = $line =~ /^BROKEN: (.*)/ or diag("    $line") if $promise;
		next if $line !~ /^(kept|BROKEN): (.*)/;
		$n++;
		ok($1 eq 'kept', $2);
		$promise = $1 eq 'kept' ? undef : $2;
	}
	close $fh;
	return is($n, $n_wanted, 'every promise has been judged');
}

sub finish
{
	my ($self, %option) = @_;

	return WebhookOutbox::finish($self->{node}, $self->{receiver}, may_crash => 1,
		%option);
}

1;

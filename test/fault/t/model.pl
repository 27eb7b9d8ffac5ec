# Random transactions, commands and settings, against a model that knows what
# each delivery may come to: nothing is lost, sent without a commit, sent twice
# without a crash, or left where no command has put it. Operators keep transactions
# open meanwhile, of every isolation level, about the same deliveries, and endpoints
# are deleted and made again under the same name.
# Plain SQL cannot show it: only a receiver knows what was sent.
#
# Settings: FAULT_SECONDS (how long operations go on).
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

my $max_prepared = 20;
my $receiver = start_receiver();
my $node = start_node(conf => <<"CONF");
max_prepared_transactions = $max_prepared
webhook_outbox.event_retention = @{[ fault_seed() % 2 ? 6 : 20 ]}s
webhook_outbox.attempt_retention = 1h
webhook_outbox.window_events = 100
webhook_outbox.poll_interval = 100ms
autovacuum_naptime = 1s
CONF

my %path = (
	ok => '/ok',
	flaky => '/fail/2/flaky',
	dead => '/status/500',
	slow => '/delay/5',
	paused => '/paused');
my %id = map {
	$_ => create_endpoint($node, $receiver, $_, $path{$_},
		retry_schedule => "'{50ms,0,200ms}'",
		max_in_flight => $_ eq 'slow' ? 1 : 8)
} sort keys %path;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE shop_order (n text);
CREATE FUNCTION publish_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', to_json(NEW.n));
  RETURN NULL;
END $$;
-- refused if it is under way by now, or gone, or somebody else is at it
CREATE FUNCTION try_to(call text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE call;
  RETURN true;
EXCEPTION WHEN object_not_in_prerequisite_state OR no_data_found OR undefined_object OR program_limit_exceeded
  OR lock_not_available OR serialization_failure THEN
  RETURN false;
END $$;
CREATE FUNCTION try_redeliver(id uuid, endpoint text) RETURNS boolean
RETURN try_to(format('SELECT webhook_outbox.redeliver(%L, %L)', id, endpoint));
CREATE CONSTRAINT TRIGGER publish AFTER INSERT ON shop_order DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION publish_order();
SQL

# A psql that stays, each query of which may take the whole time-out.
sub session
{
	my $session = $node->background_psql('postgres', @_);

	$session->set_query_timer_restart;
	return $session;
}

# An event is named by its payload.  What became of its transaction:
my %committed;    # name => 1, or 0: rolled back
my $n_names = 0;
sub name { return 'e' . ++$n_names; }

sub insert
{
	my ($name) = @_;
	my @ways = (
		"INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '\"$name\"')",
		"INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '\"$name\"') ON CONFLICT DO NOTHING",
		"INSERT INTO webhook_outbox.event (type, payload) SELECT 'order.created', to_json('$name'::text) FROM generate_series(1, 1)",
		"INSERT INTO webhook_outbox.event (type, operation_id, payload) VALUES ('order.created', '$name', '\"$name\"'), ('order.created', '$name', '\"$name\"')",
		"SELECT webhook_outbox.publish('order.created', '\"$name\"')",
		"INSERT INTO shop_order VALUES ('$name')",
		"MERGE INTO webhook_outbox.event t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT (type, payload) VALUES ('order.created', '\"$name\"')",
	);
	return $ways[ rand @ways ];
}

# Statements of a transaction, with savepoints; what is kept, and what is not.
sub statements
{
	my ($kept, $lost) = @_;
	my @sql;

	for (0 .. int rand 4)
	{
		my $name = name();
		my $how = int rand 4;

		if ($how == 0)
		{
			push @sql, 'SAVEPOINT s', insert($name), 'ROLLBACK TO s';
			push @$lost, $name;
		}
		elsif ($how == 1)
		{
			push @sql, 'SAVEPOINT s', insert($name), 'RELEASE s';
			push @$kept, $name;
		}
		elsif ($how == 2)
		{
			push @sql, "DO \$do\$ BEGIN "
			  . "INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '\"$name\"'); "
			  . "RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END \$do\$";
			push @$lost, $name;
		}
		else
		{
			push @sql, insert($name);
			push @$kept, $name;
		}
	}
	return @sql;
}

my @open;         # transactions in sessions: [session, kept, lost]
my @prepared;     # [gid, kept]
my @idle = map { session() } 1 .. 4;
my $n_prepared = 0;

sub end_open
{
	my ($session, $kept, $lost) = @{ splice @open, rand @open, 1 };
	my $how = rand;

	if ($how < 0.6)
	{
		$session->query_safe('COMMIT');
		$committed{$_} = 1 for @$kept;
	}
	elsif ($how < 0.8)
	{
		$session->query_safe('ROLLBACK');
		$committed{$_} = 0 for @$kept;
	}
	else
	{
		end_prepared() if @prepared == $max_prepared;
		my $gid = 'g' . ++$n_prepared;
		$session->query_safe("PREPARE TRANSACTION '$gid'");
		push @prepared, [ $gid, $kept ];
	}
	$committed{$_} = 0 for @$lost;
	push @idle, $session;
	return;
}

sub end_prepared
{
	my ($gid, $kept) = @{ splice @prepared, rand @prepared, 1 };
	my $is_kept = rand() < 0.6;

	sql($is_kept ? "COMMIT PREPARED '$gid'" : "ROLLBACK PREPARED '$gid'");
	$committed{$_} = $is_kept for @$kept;
	return;
}

# What was asked for last of "name endpoint", and how often it was sent again.
my (%last, %again);

my $control = session();
sub sql { return $control->query_safe($_[0]); }

# less than deadlock_timeout: who is in the way is here, and waits for this
my $settings = 'SET client_min_messages = error; SET lock_timeout = 100';
sql("$settings; CREATE TEMP TABLE c (id uuid, n text)");

my @endpoints = sort keys %path;

# What operators' transactions have asked for and not committed: "name endpoint" =>
# how many. What two ask for at once can come to either.
my (%held, %loose);

sub asked
{
	my ($kind, $e, $names, $actor) = @_;

	for my $pair (map { "$_ $e" } split ' ', $names // '')
	{
		$loose{$pair} = 1 if ($held{$pair} // 0) > ($actor && $actor->{asked}{$pair} ? 1 : 0);
		if ($actor)
		{
			$held{$pair}++ if !$actor->{asked}{$pair};
			$actor->{asked}{$pair} = $kind;
			$actor->{again}{$pair}++ if $kind eq 'send';
			next;
		}
		$last{$pair} = $kind;
		$again{$pair}++ if $kind eq 'send';
	}
	return;
}

sub cancel_some
{
	my ($run, $e) = @_;

	return $run->("WITH c AS MATERIALIZED (SELECT e.id, e.payload #>> '{}' AS n "
		  . 'FROM webhook_outbox.event e ORDER BY random() LIMIT 3) '
		  . "SELECT string_agg(n, ' ') FROM c "
		  . "WHERE webhook_outbox.cancel(id, '$e') > 0");
}

sub redeliver_some
{
	my ($run, $e) = @_;

	return $run->("WITH c AS MATERIALIZED (SELECT s.event_id, v.payload #>> '{}' AS n "
		  . 'FROM webhook_outbox.delivery_status s JOIN webhook_outbox.event v ON v.id = s.event_id '
		  . "WHERE s.endpoint_name = '$e' AND s.state IN ('cancelled', 'dead', 'delivered') ORDER BY random() LIMIT 2) "
		  . "SELECT string_agg(n, ' ') FROM c WHERE try_redeliver(event_id, '$e')");
}

sub try_to
{
	my ($run, $call) = @_;

	return $run->("SELECT try_to(\$call\$$call\$call\$)");
}

# Keys that the receiver takes, old ones too: what was signed with one may be under way.
my %keys = map { $_ => [ sql("SELECT secret FROM webhook_outbox.endpoint_secret WHERE endpoint_id = $id{$_}") ] }
  @endpoints;

sub rotate
{
	my ($run, $e) = @_;

	push @{ $keys{$e} }, $run->('SELECT webhook_outbox.generate_secret()');
	$receiver->secrets($path{$e}, @{ $keys{$e} });
	return try_to($run, "SELECT webhook_outbox.rotate_secret('$e', '0', '$keys{$e}[-1]')");
}

# ---- operators who keep their transactions open

my @actors = map { session(on_error_stop => 0) } 1 .. 3;
my @acting;       # { session, asked => { pair => kind }, again => { pair => times } }

$_->query_safe($settings) for @actors;

# A serializable transaction may fail at any statement, and at its end.
sub run_for
{
	my ($actor, $statement) = @_;
	my ($result, $is_failed) = $actor->{session}->query($statement);

	return $result if !$is_failed;
	my $error = $actor->{session}{stderr};
	$actor->{session}{stderr} = '';
	die $error if $error !~ /could not serialize access/;
	$actor->{is_failed} = 1;
	die "it cannot be serialized\n";
}

sub act
{
	my ($actor) = @_;

	return if $actor->{is_failed} || eval { act_once($actor); 1 };
	die $@ if !$actor->{is_failed};
	return;
}

sub act_once
{
	my ($actor) = @_;
	my $run = sub { run_for($actor, $_[0]) };
	my $e = $endpoints[ rand @endpoints ];
	my @ways = (
		sub { ('cancel', cancel_some($run, $e)) },
		sub { ('send', redeliver_some($run, $e)) },
		sub { ('send', redeliver_some($run, $e)) },
		sub { try_to($run, "SELECT webhook_outbox.redeliver_dead_letters('dead')"); return },
		sub { try_to($run, "SELECT webhook_outbox.redeliver_dead_letters('fleeting')"); return },
		sub { try_to($run, "SELECT webhook_outbox.discard_dead_letters('dead', since => now() - interval '2 s')"); return },
		sub { try_to($run, "SELECT webhook_outbox.retry_now('$e')"); return },
		sub { try_to($run, "SELECT webhook_outbox.pause_endpoint('paused')"); return },
		sub { try_to($run, "SELECT webhook_outbox.resume_endpoint('paused')"); return },
		sub { try_to($run, "UPDATE webhook_outbox.endpoint SET event_types = '{order.*,x$_[0]}' WHERE name = '$e'"); return },
		sub { rotate($run, $e); return },
	);
	my $way = $ways[ rand @ways ];

	if (rand() < 0.2)
	{
		$run->('SAVEPOINT half');
		$way->(1);
		$run->('ROLLBACK TO half');
		return;
	}
	my ($kind, $names) = $way->(2);
	asked($kind, $e, $names, $actor) if $kind;
	return;
}

sub end_act
{
	my $actor = splice @acting, rand @acting, 1;
	my $is_kept = rand() < 0.7;

	eval { run_for($actor, $is_kept ? 'COMMIT' : 'ROLLBACK'); 1 } or $actor->{is_failed} or die $@;
	$is_kept = 0 if $actor->{is_failed};
	for my $pair (keys %{ $actor->{asked} })
	{
		$held{$pair}--;
		$last{$pair} = $actor->{asked}{$pair} if $is_kept;
	}
	$again{$_} += $actor->{again}{$_} for $is_kept ? keys %{ $actor->{again} // {} } : ();
	push @actors, $actor->{session};
	return;
}

# ---- an endpoint that comes and goes; nothing ever arrives there

my $fleeting;     # its number while it is there
my $dying;        # a statement that ends the transaction which deletes it, and its session
my @owed;         # "name number": a dead letter in the end
my $n_deleted = 0;

sub end_dying
{
	my ($session, $commit, $rollback) = @$dying;
	my $is_kept = rand() < 0.8;

	$session->query_safe($is_kept ? $commit : $rollback);
	undef $fleeting if $is_kept;
	push @idle, $session if $session != $control;
	undef $dying;
	return;
}

sub begin_dying
{
	my $delete = q(DELETE FROM webhook_outbox.endpoint WHERE name = 'fleeting');
	my $session = $idle[0] ? shift @idle : return;
	my $how = int rand 3;
	my $gid = 'd' . ++$n_deleted;

	if (try_to(sub { $session->query_safe($_[0]) },
			'SELECT FROM webhook_outbox.endpoint WHERE name = $$fleeting$$ FOR UPDATE NOWAIT') ne 't')
	{
		push @idle, $session;
		return;
	}
	$session->query_safe($how == 1 ? 'BEGIN; SET CONSTRAINTS ALL IMMEDIATE' : 'BEGIN');
	$session->query_safe($delete);
	$dying = [ $session, 'COMMIT', 'ROLLBACK' ];
	if ($how == 2)
	{
		$session->query_safe("PREPARE TRANSACTION '$gid'");
		push @idle, $session;
		$dying = [ $control, "COMMIT PREPARED '$gid'", "ROLLBACK PREPARED '$gid'" ];
	}
	return;
}
my %op = (
	begin => sub {
		return end_open() if !@idle;
		my $session = shift @idle;
		my (@kept, @lost);
		$session->query_safe(join '; ', 'BEGIN',
			(rand() < 0.3 ? 'SET LOCAL synchronous_commit = off' : ()),
			statements(\@kept, \@lost));
		push @open, [ $session, \@kept, \@lost ];
	},
	end => sub { end_open() if @open },
	prepared => sub { end_prepared() if @prepared },
	burst => sub {
		my @names = map { name() } 1 .. 1 + rand 60;
		sql('INSERT INTO webhook_outbox.event (type, payload) '
			  . "SELECT 'order.created', to_json(n) FROM unnest('{"
			  . join(',', @names) . "}'::text[]) n");
		$committed{$_} = 1 for @names;
		push @owed, map { "$_ $fleeting" } $fleeting ? @names : ();
	},
	pause => sub { try_to(\&sql, "SELECT webhook_outbox.pause_endpoint('paused')") },
	resume => sub { try_to(\&sql, "SELECT webhook_outbox.resume_endpoint('paused')") },
	touch => sub {
		my $e = $endpoints[ rand @endpoints ];
		try_to(\&sql, 'UPDATE webhook_outbox.endpoint SET max_in_flight = '
			  . int(1 + rand 8) . " WHERE name = '$e'");
	},
	rotate => sub { rotate(\&sql, $endpoints[ rand @endpoints ]) },
	act => sub {
		return end_act() if !@actors;
		my $actor = { session => shift @actors };
		my @levels = ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');

		$actor->{session}->query_safe("BEGIN ISOLATION LEVEL $levels[rand @levels]");
		push @acting, $actor;
		act($actor) for 0 .. rand 3;
	},
	act_more => sub { act($acting[ rand @acting ]) if @acting },
	end_act => sub { end_act() if @acting },
	fleeting => sub {
		return end_dying() if $dying;
		return begin_dying() if $fleeting;
		$fleeting = create_endpoint($node, $receiver, 'fleeting', '/status/500/fleeting',
			retry_schedule => "'{50ms}'");
	},
	cancel => sub {
		my $e = $endpoints[ rand @endpoints ];
		asked('cancel', $e, cancel_some(\&sql, $e));
	},
	redeliver => sub {
		my $e = $endpoints[ rand @endpoints ];
		asked('send', $e, redeliver_some(\&sql, $e));
	},
	both => sub {
		my $e = $endpoints[ rand @endpoints ];
		my $n = sql("BEGIN; TRUNCATE c; "
			  . "INSERT INTO c SELECT s.event_id, v.payload #>> '{}' "
			  . "FROM webhook_outbox.delivery_status s JOIN webhook_outbox.event v ON v.id = s.event_id "
			  . "WHERE s.endpoint_name = '$e' AND s.state = 'retrying' ORDER BY random() LIMIT 2; "
			  . "DO \$\$ BEGIN PERFORM webhook_outbox.cancel(id, '$e') FROM c; PERFORM webhook_outbox.redeliver(id, '$e') FROM c; "
			  . "EXCEPTION WHEN lock_not_available THEN DELETE FROM c; END \$\$; "
			  . "COMMIT; SELECT string_agg(n, ' ') FROM c");
		asked('send', $e, $n);
	},
	redeliver_all => sub {
		my $e = rand() < 0.5 ? 'dead' : 'flaky';
		try_to(\&sql, "SELECT webhook_outbox.redeliver_dead_letters('$e')");
	},
	replay => sub {
		my $e = $endpoints[ rand @endpoints ];
		my $n = sql("BEGIN; SELECT try_to(\$\$SELECT webhook_outbox.replay('$e', now() - interval '300 ms')\$\$); "
			  . "SELECT string_agg(v.payload #>> '{}', ' ') FROM webhook_outbox.command c "
			  . "JOIN webhook_outbox.event v ON v.id = c.event_id JOIN webhook_outbox.endpoint p ON p.endpoint_id = c.endpoint_id "
			  . "WHERE p.name = '$e' AND c.origin = 'replay' AND c.created_at >= now(); COMMIT");
		asked('send', $e, $n =~ s/^[tf]\n?//r);
	},
	retry_now => sub {
		my $e = $endpoints[ rand @endpoints ];
		sql("SELECT webhook_outbox.retry_now('$e')");
	},
	vacuum => sub {
		my @t = qw(cursor delivery command);
		sql('VACUUM (SKIP_LOCKED' . (rand() < 0.5 ? ', FULL' : '') . ') webhook_outbox.' . $t[ rand @t ]);
	},
	reload => sub {
		my @s = ('window_events = ' . int(100 + rand 200),
			'max_in_flight = ' . int(1 + rand(10)**2),
			'senders = ' . int(1 + rand 2), 'enabled = off', 'enabled = on', 'enabled = on');
		sql("ALTER SYSTEM SET webhook_outbox." . $s[ rand @s ] . '; SELECT pg_reload_conf()');
	},
	terminate => sub {
		sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'webhook_outbox dispatcher'");
	},
);
my %weight = (begin => 12, end => 12, prepared => 2, burst => 3, pause => 1, resume => 1, touch => 1,
	cancel => 5, redeliver => 4, both => 3, redeliver_all => 1, retry_now => 1, replay => 1, vacuum => 1, reload => 1,
	rotate => 0.5, act => 4, act_more => 4, end_act => 3, fleeting => 3,
	terminate => 0.3);
my @bag = map { ($_) x (10 * $weight{$_}) } sort keys %weight;

my $seed = fault_seed();
srand($seed);
my $end = time + fault_size(120, 8, 'SECONDS');
my $n_ops = 0;
my %done;
while (time < $end)
{
	my $which = $bag[ rand @bag ];
	$op{$which}->();
	$done{$which}++;
	$n_ops++;
}
end_open() while @open;
end_prepared() while @prepared;
end_act() while @acting;
end_dying() if $dying;
sql('ALTER SYSTEM RESET ALL'); sql('SELECT pg_reload_conf()');
sql("SELECT webhook_outbox.resume_endpoint('paused')");
$_->quit for @idle, @actors, $control;
note("seed $seed: $n_ops operations (" . join(', ', map { "$_ $done{$_}" } sort keys %done) . '), '
	  . keys(%committed) . ' events');
wait_for_sql(
	$node, q(SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)
	  AND NOT EXISTS (SELECT FROM webhook_outbox.delivery_status WHERE state IN ('pending', 'retrying'))),
	'all is settled in the end');

my %requests;     # "name endpoint" => [all, accepted]
for my $e (@endpoints)
{
	for my $r ($receiver->requests($path{$e}))
	{
		my ($name) = $r->{body} =~ /"(e\d+)"/ or next;
		$requests{"$name $e"}[0]++;
		$requests{"$name $e"}[1]++ if $r->{status} == 200;
	}
}
my (@phantom, @lost, @wrong, @twice);
for my $name (sort keys %committed)
{
	for my $e (@endpoints)
	{
		my ($all, $accepted) = map { $_ // 0 } @{ $requests{"$name $e"} // [] }[ 0, 1 ];
		my $cancelled = $loose{"$name $e"} || ($last{"$name $e"} // '') eq 'cancel';

		if (!$committed{$name}) { push @phantom, "$name $e" if $all; next; }
		push @lost, "$name $e" if !$cancelled && ($e eq 'dead' ? !$all : !$accepted);
		push @twice, "$name $e ($accepted)" if $accepted > 1 + ($again{"$name $e"} // 0);
	}
}
is("@phantom", '', 'what was rolled back is never sent');
is("@lost", '', 'what was committed is sent');
is("@twice", '', 'once, and once more each time it was asked for');

# What no command has cancelled, or was sent again since, is not cancelled.
@wrong = grep { !$loose{$_} && ($last{$_} // '') ne 'cancel' } split /\n/, sql_value(
	$node, q(SELECT format('%s %s', e.payload #>> '{}', s.endpoint_name)
	FROM webhook_outbox.delivery_status s JOIN webhook_outbox.event e ON e.id = s.event_id
	WHERE s.state = 'cancelled'));
is("@wrong", '', 'nothing is cancelled but by the last command about it');

my %dead = map { $_ => 1 } split /\n/, sql_value($node, q(
	SELECT format('%s %s', e.payload #>> '{}', d.endpoint_id)
	FROM webhook_outbox.dead_letter d JOIN webhook_outbox.event e ON e.id = d.event_id));
@lost = grep { !$dead{$_} } @owed;
note(@owed . " deliveries owed to endpoints that came, and $n_deleted of them went");
is("@lost", '', 'what was owed to an endpoint when it was deleted is a dead letter');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.endpoint_change'), '0', 'no change of one is left');

finish($node, $receiver);

# While one of its tables carries a trigger, a rule, a policy or whatever else
# of somebody else's, the dispatcher touches none: nothing of it ever runs as
# the owner of the extension.  Deliveries go on when it is gone, none lost.
# Plain SQL cannot show it: it is about when a process sees what others do.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.poll_interval = 100ms\n");
my $well = create_endpoint($node, $receiver, 'well', '/delay/2');
create_endpoint($node, $receiver, 'down', '/status/503',
	retry_schedule => "'{100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms}'");
my $n = 0;

# What is planted notes as whom it runs; the checks are that it never did.
# Publishers are not asked: what runs with their own writes is their affair.
$node->safe_psql(
	'postgres', q(
	CREATE ROLE mallory;
	GRANT USAGE ON SCHEMA webhook_outbox TO mallory;
	CREATE SCHEMA lair AUTHORIZATION mallory;
	CREATE SEQUENCE lair.calls;
	CREATE FUNCTION lair.note() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
	  IF current_setting('application_name') ~ '^webhook_outbox' THEN
	    PERFORM nextval('lair.calls');
	  END IF;
	END $$;
	CREATE FUNCTION lair.trap() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN PERFORM lair.note(); RETURN NEW; END $$;
	CREATE FUNCTION lair.holds(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN PERFORM lair.note(); RETURN true; END $$;
	CREATE FUNCTION lair.value() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN PERFORM lair.note(); RETURN 'x'; END $$;
	CREATE TABLE lair.known (status smallint PRIMARY KEY);
	INSERT INTO lair.known VALUES (503);
	CREATE DOMAIN lair.name AS text CHECK (lair.holds(VALUE));
	GRANT ALL ON ALL TABLES IN SCHEMA lair TO PUBLIC;
	GRANT ALL ON SEQUENCE lair.calls TO PUBLIC;
	GRANT USAGE ON SCHEMA lair TO PUBLIC));

sub make_busy
{
	publish_many($node, 'order.created', 50);
	$n += 50;
	return;
}

my $refuses = q(SELECT state ~ '^not sending: .*table webhook_outbox\..* has'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher');

# Plants something while deliveries are under way; undoes it by the remedy that
# the view names, unless another is given.
sub plant
{
	my ($what, $sql, $problem, $undo) = @_;

	make_busy();
	my $log_start = -s $node->logfile;
	$node->safe_psql('postgres', $sql);
	make_busy();
	wait_for_sql($node, $refuses, "$what is seen");
	my ($found, $remedy) = split /\|/, sql_value($node,
		'SELECT problem, remedy FROM webhook_outbox.foreign_object LIMIT 1');
	like($found, $problem, "the view names $what");
	is( sql_value($node,
			q(SELECT last_error FROM webhook_outbox.worker_status
			WHERE process = 'dispatcher')),
		$found, 'so does worker_status');
	my @told = slurp_file($node->logfile, $log_start) =~
	  /LOG: .* has stopped sending: [^:]*: \Q$found\E/g;
	is(scalar @told, 1, 'so does the log, once');
	my ($rc, $out, $err) =
	  $node->psql('postgres', 'SELECT webhook_outbox.maintain()');
	like($err, qr/ERROR:  \Q$found\E/, 'maintain() refuses too');
	$node->safe_psql('postgres', $undo // $remedy);
	is( sql_value($node, 'SELECT count(*) FROM webhook_outbox.foreign_object'),
		'0', 'the remedy works');
	$receiver->wait_for('/delay/2', $n, "deliveries go on without $what");
	is(sql_value($node, 'SELECT is_called FROM lair.calls'),
		'f', "$what has never run in a worker");
	return;
}

$node->safe_psql('postgres',
	'GRANT TRIGGER ON ALL TABLES IN SCHEMA webhook_outbox TO mallory');
my $trap = 'SET ROLE mallory; CREATE TRIGGER trap %s ON webhook_outbox.%s '
  . 'FOR EACH %s EXECUTE FUNCTION lair.trap()';
plant(
	'a trigger on attempt',
	sprintf($trap, 'BEFORE INSERT', 'attempt', 'ROW'),
	qr/^table webhook_outbox.attempt has a trigger "trap" that is not/);
plant(
	'a trigger on delivery',
	sprintf($trap, 'AFTER INSERT OR UPDATE OR DELETE', 'delivery', 'STATEMENT'),
	qr/^table webhook_outbox.delivery has a trigger "trap"/);
plant(
	'a trigger on a leaf of event',
	sprintf($trap, 'BEFORE TRUNCATE', 'event_0', 'STATEMENT'),
	qr/^table webhook_outbox.event_0 has a trigger "trap"/);
plant(
	'a trigger that calls a function of the extension',
	'CREATE TRIGGER trap AFTER UPDATE ON webhook_outbox.attempt '
	  . 'EXECUTE FUNCTION webhook_outbox.claim_after_write()',
	qr/^table webhook_outbox.attempt has a trigger "trap"/);
plant(
	'a trigger of the extension that calls another function',
	'CREATE OR REPLACE TRIGGER claim_after_write AFTER UPDATE ON '
	  . 'webhook_outbox.claim EXECUTE FUNCTION lair.trap()',
	qr/trigger "claim_after_write" .*: it uses function lair.trap\(\)/,
	'CREATE OR REPLACE TRIGGER claim_after_write AFTER INSERT OR UPDATE OR '
	  . 'DELETE ON webhook_outbox.claim '
	  . 'EXECUTE FUNCTION webhook_outbox.claim_after_write(); '
	  . 'ALTER TABLE webhook_outbox.claim ENABLE ALWAYS TRIGGER claim_after_write; '
	  . 'ALTER TRIGGER claim_after_write ON webhook_outbox.claim '
	  . 'DEPENDS ON EXTENSION webhook_outbox');
plant(
	'a rule',
	'CREATE RULE trap AS ON INSERT TO webhook_outbox.attempt_0 '
	  . 'DO ALSO SELECT lair.note()',
	qr/^table webhook_outbox.attempt_0 has a rule "trap"/);
plant(
	'a policy',
	'CREATE POLICY trap ON webhook_outbox.delivery USING (lair.holds(state)); '
	  . 'ALTER TABLE webhook_outbox.delivery ENABLE ROW LEVEL SECURITY, '
	  . 'FORCE ROW LEVEL SECURITY',
	qr/^table webhook_outbox.delivery has a policy "trap"/,
	'DROP POLICY trap ON webhook_outbox.delivery; ALTER TABLE '
	  . 'webhook_outbox.delivery DISABLE ROW LEVEL SECURITY, '
	  . 'NO FORCE ROW LEVEL SECURITY');
plant(
	'row level security',
	'ALTER TABLE webhook_outbox.event ENABLE ROW LEVEL SECURITY',
	qr/^table webhook_outbox.event has row level security$/);
plant(
	'a child table',
	'CREATE TABLE lair.child () INHERITS (webhook_outbox.delivery)',
	qr/^table webhook_outbox.delivery has a child table "child"/);
plant(
	'a constraint',
	'ALTER TABLE webhook_outbox.attempt ADD CONSTRAINT trap '
	  . 'CHECK (lair.holds(outcome))',
	qr/constraint "trap" .*: it uses function lair.holds\(anyelement\)/);
plant(
	'a foreign key',
	'ALTER TABLE webhook_outbox.dead_letter ADD CONSTRAINT trap '
	  . 'FOREIGN KEY (last_status) REFERENCES lair.known',
	qr/constraint "trap" .*: it uses table lair.known/);
$node->safe_psql('postgres',
	'GRANT REFERENCES ON webhook_outbox.delivery TO mallory');
plant(
	'a foreign key of another table, whose triggers run with ours',
	'SET ROLE mallory; CREATE TABLE lair.mine (endpoint_id bigint, event_id uuid, '
	  . 'CONSTRAINT trap FOREIGN KEY (endpoint_id, event_id) '
	  . 'REFERENCES webhook_outbox.delivery ON DELETE CASCADE)',
	qr/^table webhook_outbox.delivery has a foreign key "trap" .*: rows of table lair.mine point to it/);
plant(
	'a default',
	'ALTER TABLE webhook_outbox.delivery ALTER first_attempt_at '
	  . 'SET DEFAULT lair.value()::timestamptz',
	qr/default "first_attempt_at" .*: it uses function lair.value\(\)/);
plant(
	'an index',
	'CREATE INDEX CONCURRENTLY trap ON webhook_outbox.delivery (lair.holds(state))',
	qr/an index "trap" .*: it uses function lair.holds/);
plant(
	'a column of a domain',
	'ALTER TABLE webhook_outbox.attempt ADD note lair.name',
	qr/^table webhook_outbox.attempt has a column type/,
	'ALTER TABLE webhook_outbox.attempt DROP note');
plant(
	'a missing leaf',
	'ALTER TABLE webhook_outbox.attempt DETACH PARTITION webhook_outbox.attempt_5',
	qr/^table webhook_outbox.attempt_5 has left its ring/);

# What worker_status shows of a long text does not end inside a character.
$node->safe_psql('postgres',
	q(CREATE DATABASE names ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0));
$node->safe_psql('names', 'CREATE EXTENSION webhook_outbox');
for my $start ('', 'x')
{
	my $name = $start . "\xc3\xa9" x 31;

	$node->safe_psql(
		'names', qq(SET client_encoding = 'UTF8';
		CREATE FUNCTION public."$name"(text) RETURNS boolean IMMUTABLE
		LANGUAGE sql AS 'SELECT true';
		ALTER TABLE webhook_outbox.dead_letter
		ADD CONSTRAINT c CHECK (public."$name"(reason))));
	wait_for_sql(
		$node, q(SELECT state LIKE 'not sending: table%'
		AND convert_from(convert_to(state, 'UTF8'), 'UTF8') = state
		FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = 'names'),
		'a name of many bytes is cut off between two characters', 'names');
	$node->safe_psql(
		'names', qq(SET client_encoding = 'UTF8';
		ALTER TABLE webhook_outbox.dead_letter DROP CONSTRAINT c;
		DROP FUNCTION public."$name"(text)));
	$node->poll_query_until(
		'names', q(SELECT state = 'idle' FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = 'names'))
	  or die 'the dispatcher does not go on';
}
$node->safe_psql('postgres', 'DROP DATABASE names WITH (FORCE)');

# It does not start on such a table either, and neither does maintenance.
my $pid = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres',
	sprintf($trap, 'BEFORE INSERT', 'attempt', 'ROW')
	  . "; RESET ROLE; SELECT pg_terminate_backend($pid)");
isnt(worker_pid($node, 'dispatcher', $pid), $pid, 'a new dispatcher');
make_busy();
wait_for_sql($node, $refuses, 'does not start where it finds a trigger');
$node->restart;
wait_for_sql($node, $refuses, 'nor after a restart of the server');
$pid = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', 'DROP TRIGGER trap ON webhook_outbox.attempt');
$receiver->wait_for('/delay/2', $n, 'once it is gone, deliveries go on');
is(worker_pid($node, 'dispatcher'), $pid, 'in the same process');

# An index of one's own, for one's own queries, is nobody's trap.
$node->safe_psql('postgres',
	'CREATE INDEX mine ON webhook_outbox.event (lower(type))');
make_busy();
$receiver->wait_for('/delay/2', $n, 'a plain index is no reason to stop');

# Nor is a table that points to endpoints.
$node->safe_psql('postgres', 'CREATE TABLE lair.owner (endpoint_id bigint '
	  . 'REFERENCES webhook_outbox.endpoint ON DELETE CASCADE)');
make_busy();
$receiver->wait_for('/delay/2', $n, 'nor is a table that points to endpoints');

# Nor is a column of a plain type; the dispatcher leaves it null, unless it is
# generated.  Endpoints need not have anything there.
$node->safe_psql(
	'postgres', q(
	ALTER TABLE webhook_outbox.attempt ADD note text DEFAULT 'x',
	  ADD twice integer NOT NULL GENERATED ALWAYS AS (number * 2) STORED;
	ALTER TABLE webhook_outbox.endpoint ADD team text,
	  ADD upper_name text GENERATED ALWAYS AS (upper(name)) STORED));
create_endpoint($node, $receiver, 'new', '/ok', event_types => "'{none}'");
make_busy();
$receiver->wait_for('/delay/2', $n, 'nor is a plain column');
all_delivered($node, 'what was sent is recorded');
is( sql_value($node,
		'SELECT count(*) > 0 FROM webhook_outbox.attempt WHERE note IS NULL'),
	't', 'and says nothing in the new column');
is( sql_value($node,
		'SELECT count(*) FROM webhook_outbox.attempt WHERE twice <> number * 2'),
	0, 'a generated column is generated');
is( sql_value($node,
		q(SELECT upper_name FROM webhook_outbox.endpoint WHERE name = 'new')),
	'NEW', 'that of an endpoint as well');

is(sql_value($node, 'SELECT is_called FROM lair.calls'),
	'f', 'nothing that was planted has run in a worker');
is($receiver->stats('/delay/2')->{accepted}, $n, 'no event was lost');
is($receiver->stats('/delay/2')->{duplicates}, 0, 'or sent twice');

# The trap works: as whoever publishes it runs.
$node->safe_psql(
	'postgres', q(
	CREATE TRIGGER trap BEFORE INSERT ON webhook_outbox.event
	FOR EACH ROW EXECUTE FUNCTION lair.trap();
	SET application_name = 'webhook_outbox, or so it says';
	INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '1')));
is(sql_value($node, 'SELECT is_called FROM lair.calls'),
	't', 'though it can be told when it does');

finish($node, $receiver);

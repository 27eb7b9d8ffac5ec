# An event is owed to the endpoints as they were when it was committed, however
# late it is read, and also when it is read again after a crash.
# Plain SQL cannot show it: the dispatcher has to look after the fact.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.enabled = off\nmax_prepared_transactions = 2\n");

# Which types a path got, each once, in no order.
sub types_at
{
	my ($path) = @_;
	my %type = map { $_->{body} =~ /"event_type": ?"([\w.]+)/; $1 => 1 }
	  $receiver->requests($path);

	return join ' ', sort keys %type;
}

sub change
{
	my ($name, $set) = @_;

	$node->safe_psql('postgres', "UPDATE webhook_outbox.endpoint SET $set WHERE name = '$name'");
	return;
}

my $forgotten = 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change';

# Nothing is read meanwhile.
create_endpoint($node, $receiver, 'witness', '/ok/witness');
create_endpoint($node, $receiver, $_, "/ok/$_", event_types => "'{a}'") for qw(narrowed widened moved);
publish($node, 'a');
change('narrowed', "event_types = '{none}'");
change('widened', "event_types = '{*}'");
change('moved', "tenant = 'elsewhere'");
create_endpoint($node, $receiver, 'later', '/ok/later');
publish($node, 'b');
change('narrowed', "event_types = '{c}'");
publish($node, 'c');
change('narrowed', "event_types = '{none}', enabled = false");
change('narrowed', 'enabled = true');
# in one transaction with an event, the change counts
$node->safe_psql('postgres', q(BEGIN;
	INSERT INTO webhook_outbox.event (type, payload) VALUES ('d', '1');
	UPDATE webhook_outbox.endpoint SET event_types = '{d}' WHERE name = 'narrowed';
	COMMIT));
# so it does where others end meanwhile, which that transaction's snapshots show
my $both = $node->background_psql('postgres');
$both->query_safe('BEGIN');
$both->query_safe(q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('d', '2')));
publish($node, 'f');
$both->query_safe(q(UPDATE webhook_outbox.endpoint SET event_types = '{d,f}' WHERE name = 'narrowed'));
publish($node, 'g');
$both->query_safe('COMMIT');
$both->quit;
# a change that is open when an event commits, and commits after it
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN');
$open->query_safe(q(UPDATE webhook_outbox.endpoint SET event_types = '{none}' WHERE name = 'narrowed'));
$open->query_safe(sprintf q(SELECT webhook_outbox.create_endpoint('open', '%s')), $receiver->url('/ok/open'));
publish($node, 'd');
$open->query_safe('COMMIT');
# and an event that is open when a change commits
$open->query_safe('BEGIN');
$open->query_safe(q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('e', '1')));
change('narrowed', "event_types = '{e}'");
create_endpoint($node, $receiver, 'last', '/ok/last');
$open->query_safe('COMMIT');
# a change that is prepared when events commit; another one that has checked its constraints
create_endpoint($node, $receiver, $_, "/ok/$_", event_types => "'{h}'") for qw(prepared immediate);
$node->safe_psql('postgres', q(BEGIN;
	UPDATE webhook_outbox.endpoint SET event_types = '{i}' WHERE name = 'prepared';
	PREPARE TRANSACTION 'change'));
$open->query_safe('BEGIN');
$open->query_safe('SET CONSTRAINTS ALL IMMEDIATE');
$open->query_safe(q(UPDATE webhook_outbox.endpoint SET event_types = '{i}' WHERE name = 'immediate'));
publish($node, 'h');
$open->query_safe('COMMIT');
$node->safe_psql('postgres', q(COMMIT PREPARED 'change'));
publish($node, 'i');
switch_delivery($node, 'on');
$receiver->wait_for('/ok/witness', 11, 'the endpoint that asked for all gets all');
all_delivered($node, 'all is recorded');
is(types_at('/ok/narrowed'), 'a c d e', 'what an endpoint had asked for is owed to it');
is($receiver->stats('/ok/narrowed')->{requests}, 6, 'each event once');
is(types_at('/ok/widened'), 'a b c d e f g h i', 'one that asks for more gets what comes from then on');
is(types_at('/ok/moved'), 'a', 'so it is with the tenant');
is(types_at('/ok/later'), 'b c d e f g h i', 'one that is made later gets none from before');
is(types_at('/ok/open'), 'e h i', 'whose making is open does neither');
is(types_at('/ok/last'), 'e h i', 'one that was there when an event was committed gets it');
is(types_at("/ok/$_"), 'h i', "one whose change was $_ asks for both") for qw(prepared immediate);
wait_for_sql($node, $forgotten, 'no change is left to be dealt with');

# A crash: what was read is read again.
create_endpoint($node, $receiver, 'held', '/hold', event_types => "'{a}'", timeout => "'60 s'");
publish($node, 'a');
$receiver->wait_for_requests('/hold', 1, 'a request is under way');
change('held', "event_types = '{b}'");
create_endpoint($node, $receiver, 'new', '/ok/new');
publish($node, 'b');
$receiver->wait_for('/ok/new', 1, 'and what has changed since counts');
is(sql_value($node, $forgotten), 'f', 'what was asked for before is not forgotten meanwhile');
$node->stop('immediate');
$node->start;
$receiver->wait_for_requests('/hold', 3, 'after the crash both are sent');
$receiver->script('/hold', { status => 200 });
$receiver->release('/hold', 10);
all_delivered($node, 'and recorded');
is(types_at('/hold'), 'a b', 'though one of them is asked for no more');
is(types_at('/ok/new'), 'b', 'and nothing from before goes to the new endpoint');
wait_for_sql($node, $forgotten, 'no change is left to be dealt with');

# What is remembered of a change goes when that is dealt with.
sub kept_by_changes
{
	my $from = -s $node->logfile;
	my ($kept) = (0);

	$node->safe_psql('postgres', join ';', map {
		"UPDATE webhook_outbox.endpoint SET event_types = ARRAY(SELECT format('t%s.$_', n) "
		  . "FROM generate_series(1, 1000) n) WHERE name = 'new'"
	} 1 .. 50);
	wait_for_sql($node, $forgotten, 'fifty changes are dealt with');
	$node->safe_psql('postgres', sprintf 'SELECT pg_log_backend_memory_contexts(%d)',
		worker_pid($node, 'dispatcher'));
	wait_until(
		sub {
			($kept) = slurp_file($node->logfile, $from) =~ /webhook_outbox endpoints: .* (\d+) used\n/;
			return $kept;
		},
		'the dispatcher says what memory it has');
	return $kept;
}
my $kept = kept_by_changes();
cmp_ok(kept_by_changes() - $kept, '<', 100_000, 'fifty more leave nothing behind');

finish($node, $receiver);

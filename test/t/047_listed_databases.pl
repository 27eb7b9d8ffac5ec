# A reload of webhook_outbox.databases stops the dispatchers of databases that
# are not in the list any more and starts those that are; worker_status tells
# which ones should run.
# Plain SQL cannot show it: processes come and go, and a receiver sees it.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $dispatchers = q(SELECT string_agg(datname, ' ' ORDER BY datname)
	FROM pg_stat_activity WHERE backend_type = 'webhook_outbox dispatcher');
my $expected = q(SELECT string_agg(database, ' ' ORDER BY database)
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher' AND expected);

my %path = (first => '/first', 'Second Shop' => '/second');
my %n = map { $_ => 0 } keys %path;

for my $name (sort keys %path)
{
	$node->safe_psql('postgres', qq(CREATE DATABASE "$name"));
	$node->safe_psql($name, 'CREATE EXTENSION webhook_outbox');
	create_endpoint($node, $receiver, 'well', $path{$name}, dbname => $name);
}

sub list
{
	my ($list, $names) = @_;

	$node->append_conf('postgresql.conf',
		"webhook_outbox.databases = '$list'");
	$node->reload;
	wait_for_sql($node, "SELECT ($dispatchers) = '$names'",
		"'$list': the dispatchers of $names run");
	return wait_for_sql($node, "SELECT ($expected) = '$names'",
		'and worker_status expects them');
}

sub delivers
{
	my ($dbname) = @_;

	publish($node, 'order.created', '{}', $dbname);
	return $receiver->wait_for($path{$dbname}, ++$n{$dbname},
		"$dbname delivers");
}

wait_for_sql($node, "SELECT ($dispatchers) = 'Second Shop first postgres'",
	'without a list all run');
delivers($_) for 'first', 'Second Shop';

list('"Second Shop", postgres', 'Second Shop postgres');
my $unlisted = publish($node, 'order.created', '{}', 'first');
like(
	sql_value(
		$node, "SELECT webhook_outbox.explain_event('$unlisted')", 'first'),
	qr/^Nothing is sent now: this database is not in webhook_outbox.databases/m,
	'explain_event says so in a database that is not in the list');
delivers('Second Shop');
is($receiver->stats('/first')->{requests}, $n{first},
	'from others nothing is sent');
is( sql_value(
		$node, q(SELECT string_agg(state, ' ')
		FROM webhook_outbox.delivery_status
		WHERE state <> 'delivered'), 'first'),
	'pending', 'their events wait');

list('FIRST', 'first');
$receiver->wait_for('/first', ++$n{first}, 'listed, it sends what waited');
delivers('first');

list('', 'Second Shop first postgres');
delivers($_) for 'first', 'Second Shop';
is($receiver->stats($path{$_})->{duplicates}, 0, "$_: nothing was sent twice")
  for sort keys %path;

# Entries of databases that are dropped are given back: with a list too, and
# however often that happens.
$node->append_conf('postgresql.conf', "webhook_outbox.max_databases = 2\n"
	  . "webhook_outbox.databases = 'postgres, short_lived'");
$node->restart;
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'CREATE DATABASE short_lived');
	$node->safe_psql('short_lived', 'CREATE EXTENSION webhook_outbox');
	wait_for_sql($node, "SELECT ($dispatchers) = 'postgres short_lived'",
		"round $round: a new database of that name has its dispatcher");
	$node->safe_psql('postgres', 'DROP DATABASE short_lived');
}

# One database too many is told why nothing is sent from it.
$node->append_conf('postgresql.conf', "webhook_outbox.databases = ''");
$node->reload;
wait_for_sql($node, q(SELECT count(*) = 2 FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND is_running), 'there is room for two');
my %has_room = map { $_ => 1 } split /\n/, $node->safe_psql('postgres',
	q(SELECT database FROM webhook_outbox.worker_status WHERE process = 'dispatcher'));
my ($left_out) = grep { !$has_room{$_} } 'first', 'Second Shop';
is( sql_value($node, q(SELECT string_agg(last_error, '; ')
		FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = current_database()
		AND expected AND NOT is_running), $left_out),
	'there is no room for this database: raise webhook_outbox.max_databases,'
	  . ' or name in webhook_outbox.databases those that deliver',
	'worker_status of another one says why it has no dispatcher');
my $stuck = publish($node, 'order.created', '{}', $left_out);
like(
	sql_value(
		$node, "SELECT webhook_outbox.explain_event('$stuck')", $left_out),
	qr/^Nothing is sent now: .*raise webhook_outbox[.]max_databases/m,
	'and so does explain_event');

# Nor does a template have one, once the server was restarted.
$node->append_conf('postgresql.conf', 'webhook_outbox.max_databases = 16');
$node->safe_psql('postgres', 'ALTER DATABASE first IS_TEMPLATE true');
$node->restart;
wait_for_sql($node, q(SELECT is_running FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = 'Second Shop'), 'others have theirs', 'Second Shop');
my $in_template = publish($node, 'order.created', '{}', 'first');
$n{first}++;
like(
	sql_value(
		$node, "SELECT webhook_outbox.explain_event('$in_template')", 'first'),
	qr/^Nothing is sent now: .*template.*IS_TEMPLATE false/m,
	'of a template explain_event says that it is one');
$node->safe_psql('postgres', 'ALTER DATABASE first IS_TEMPLATE false');
$receiver->wait_for('/first', $n{first}, 'when it is none any more, what waited is sent');

finish($node, $receiver);

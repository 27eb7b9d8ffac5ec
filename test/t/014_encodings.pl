# No text stops deliveries, in a database of whatever encoding: what means
# nothing in UTF-8 is refused when it is published, and where such a row is
# there all the same, out of a dump, the dispatcher goes on.
# Plain SQL cannot show it: the dispatcher converts.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();

# A character that has an equivalent, its UTF-8, and bytes that have none.
my %encoding = (
	EUC_JP => { good => '\xc6fc', utf8 => 'e697a5', bad => '\xa9a1' },
	WIN1252 => { good => '\xe4', utf8 => 'c3a4', bad => '\x81' },
	SQL_ASCII => { good => '\xc3a4', utf8 => 'c3a4', bad => '\xe4' });

sub text_of
{
	my ($encoding, $bytes) = @_;

	return "convert_from('$bytes', '$encoding')";
}

for my $encoding (sort keys %encoding)
{
	my $db = lc $encoding;
	my $good = text_of($encoding, $encoding{$encoding}{good});
	my $bad = text_of($encoding, $encoding{$encoding}{bad});
	my %refused = (
		payload => "('t', json_build_object('a', $bad), NULL, NULL)",
		tenant => "('t', '{}', 'a' || $bad, NULL)",
		source => "('t', '{}', NULL, 'a' || $bad)");
	my $id = '01900000-0000-7000-8000-000000000001';
	my @bad = unpack('(A2)*', substr($encoding{$encoding}{bad}, 2));

	$node->safe_psql('postgres',
		"CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'"
	);
	$node->safe_psql($db, 'CREATE EXTENSION webhook_outbox');
	create_endpoint($node, $receiver, 'all', "/ok/$db", dbname => $db);
	$node->safe_psql(
		$db, qq(INSERT INTO webhook_outbox.event (type, payload, tenant, source)
		VALUES ('good', json_build_object('a', $good), $good, $good)));
	for my $column (sort keys %refused)
	{
		my ($rc, $out, $error) = $node->psql($db,
			'INSERT INTO webhook_outbox.event (type, payload, tenant, source) '
			  . "VALUES $refused{$column}");

		like($error, qr/ERROR:  $column of the event has bytes that mean/,
			"$encoding: a $column that cannot be sent is refused");
	}
	isnt($node->psql($db,
			"UPDATE webhook_outbox.endpoint SET tenant = $bad"), 0,
		"$encoding: no endpoint can have such a tenant");

	# as a dump brings it back: it is sent when it is replayed
	$node->safe_psql(
		$db, qq(
		INSERT INTO webhook_outbox.event
		  (id, xid, created_at, type, payload, tenant, source)
		VALUES ('$id', '1', now(), 'bad', json_build_object('a', $bad), $bad,
		        $bad);
		SELECT webhook_outbox.replay('all', '-infinity', event_types => '{bad}')));
	publish($node, 'after', '{}', $db);
	all_delivered($node, "$encoding: all of it is delivered", $db);

	my %text;
	for my $request ($receiver->requests("/ok/$db"))
	{
		my ($type, $text) =
		  $request->{body} =~ /"event_type":"(\w+)".*"data":\{(?:"a" : "(.*)")?/;

		utf8::encode($text) if defined $text;
		$text{$type} = $text // '';
	}
	is(unpack('H*', $text{good}), $encoding{$encoding}{utf8},
		"$encoding: bodies are in UTF-8");
	is($text{bad}, join('', map { '%' . uc } @bad),
		"$encoding: what has no equivalent there is percent-encoded");
	ok(exists $text{after}, "$encoding: what comes after it is delivered");

	publish($node, 'escaped', '{"\\u65e5": 1}', $db);
	wait_for_sql($node, q(SELECT error IS NULL FROM webhook_outbox.maintain('samples')),
		"$encoding: a key that is escaped, and no character here, stops no maintenance", $db);

	# for clients that read in UTF-8
	create_endpoint($node, $receiver, 'odd', join('', "/$db/status/500/bytes/6f6464", @bad),
		dbname => $db, retry_schedule => "'{1h}'");
	publish($node, 'odd', '{}', $db);
	wait_for_sql($node, q(SELECT count(*) > 0 FROM webhook_outbox.attempt WHERE response IS NOT NULL),
		"$encoding: a receiver answers with bytes that mean nothing", $db);
	is( sql_value(
			$node, q(SET client_encoding = 'UTF8'; SELECT DISTINCT response FROM webhook_outbox.attempt
			WHERE response IS NOT NULL), $db),
		join('', 'odd', map { "\\x$_" } @bad), "$encoding: they are shown as such");
	like(sql_value($node, 'SELECT webhook_outbox.console()', $db),
		qr/<html/, "$encoding: there is a console");
}

# An error of one database is read in another.  The trigger's name is not
# valid in UTF-8.
$node->safe_psql('win1252', q(
	SET client_encoding = WIN1252;
	DO $do$ BEGIN
	  EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON webhook_outbox.delivery '
	    'EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	    convert_from('\xe4', 'WIN1252'));
	END $do$));
publish($node, 'noticed', '{}', 'win1252');
wait_for_sql(
	$node, q(
	SELECT convert_to(last_error, 'UTF8') IS NOT NULL AND last_error LIKE '%\\xe4%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = 'win1252'),
	'an error in another encoding is shown as a text that is valid here');

finish($node, $receiver);

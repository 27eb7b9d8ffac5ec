# With webhook_outbox.secret_key_file secrets and headers are nowhere in plain:
# in no file of the server, in no log, in no text of a statement. Keys can be
# changed; while one is missing nothing is sent, and nothing is lost.
# Plain SQL cannot show it: the files and the log are searched, and a receiver
# checks signatures and headers of real requests.
use strict;
use warnings FATAL => 'all';
use File::Find;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $key_file = "$folder/keys";
my %key = map { ($_ => "$_:" . encode_base64(random_bytes(32), '')) }
  qw(first second);
my $settings = "webhook_outbox.secret_key_file = '$key_file'";
my $receiver = start_receiver();
my $node = start_node(
	conf => <<'CONF');
log_statement = all
log_min_duration_statement = 0
shared_preload_libraries = 'webhook_outbox, pg_stat_statements'
pg_stat_statements.track = all
log_error_verbosity = verbose
log_min_messages = debug1
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
auto_explain.log_analyze = on
CONF

sub random_bytes
{
	return join '', map { chr int rand 256 } 1 .. $_[0];
}

sub write_keys
{
	my (@names) = @_;

	open my $out, '>', $key_file or die "$key_file: $!";
	print $out "# newest first\n\n", map { "$key{$_}\n" } @names;
	close $out;
	return chmod 0600, $key_file;
}

# The files of the server, its log with them, that have this text in them.
sub files_with
{
	my ($server, $text) = @_;
	my @found;

	$server->safe_psql('postgres', 'CHECKPOINT');
	find(
		{   no_chdir => 1,
			wanted => sub {
				return if !-f;
				# a file may go away between finding and reading it
				open my $in, '<:raw', $_ or return;
				local $/;
				push @found, $_ if index(<$in> // '', $text) >= 0;
				close $in;
			} },
		$server->data_dir,
		$server->logfile);
	return "@found";
}

# The value of a header that the requests of a path had, one each.
sub header_of
{
	my ($path, $name) = @_;

	return map { $_->{headers}{$name} // 'none' } $receiver->requests($path);
}

# Waits until the worker says this, in the log since the place given.
sub wait_for_log
{
	my ($server, $pattern, $from, $claim) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until(
		sub { substr(slurp_file($server->logfile), $from) =~ $pattern }, $claim);
}

# Runs a query whose parameters are in no statement: they are bound, and the
# session says that bound ones are not logged, nor explained.
sub run_with_parameters
{
	my ($server, $query, @parameters) = @_;
	my $script = "$folder/script";

	append_to_file($script, $query =~ s/\$(\d)/:p$1/gr . ";\n");
	local $ENV{PGOPTIONS} =
	  '-c log_parameter_max_length=0 -c auto_explain.log_min_duration=-1';
	$server->command_ok(
		[ qw(pgbench --no-vacuum --transactions=1 --protocol=extended -f),
			$script, (map { "-Dp$_=$parameters[ $_ - 1 ]" } 1 .. @parameters),
			'postgres' ],
		"runs with parameters: $query");
	return unlink $script;
}

# All texts of statements that the server shows.
sub statements
{
	my ($server) = @_;

	return sql_value(
		$server, q(
		SELECT string_agg(query, ' ') FROM (
		  SELECT query FROM pg_stat_statements
		  UNION ALL SELECT query FROM pg_stat_activity) q));
}

# No file and no statement has any of these texts in it.
sub nowhere
{
	my ($server, %text) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $statements = statements($server);
	for my $what (sort keys %text)
	{
		is(files_with($server, $text{$what}), '', "$what is in no file");
		ok(index($statements, $text{$what}) < 0,
			"$what is in no statement that the server shows");
	}
	return;
}

# What the dispatcher says of itself.
sub state
{
	my ($server) = @_;

	return sql_value(
		$server, q(SELECT state || ': ' || coalesce(last_error, '')
		FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = current_database()));
}

sub log_size { return -s $_[0]->logfile; }

sub reload_and_wait
{
	my ($server, $pattern, $claim) = @_;
	my $from = log_size($server);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$server->reload;
	return wait_for_log($server, $pattern, $from, $claim);
}

sub refused
{
	my ($server, $sql, $pattern, $claim) = @_;
	my ($rc, $out, $err) = $server->psql('postgres', $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like($err, $pattern, $claim);
}

# From nothing set to a file that can be used.
create_endpoint($node, $receiver, 'early', '/early',
	headers => q('{"Authorization": "Bearer from-before"}'));
my $early = sql_value($node, 'SELECT secret FROM webhook_outbox.endpoint_secret');
isnt(files_with($node, $early), '', 'without a key file a secret is in plain');

my $refused =
  "SELECT webhook_outbox.create_endpoint('late', 'https://example.com/')";
my %problem = (
	'missing' => [ sub { unlink $key_file }, qr/No such file or directory/ ],
	'readable for others' =>
	  [ sub { write_keys('first'); chmod 0640, $key_file }, qr/others may read/ ],
	'empty' => [ sub { write_keys() }, qr/there is no key in it/ ],
	'not a file' => [
		sub { unlink $key_file; mkdir $key_file, 0700 },
		qr/it is not a regular file/ ],
	'damaged' => [
		sub {
			rmdir $key_file;
			write_keys('first', 'first');
		},
		qr/line 4 names a key that another line has named/ ]);
$node->append_conf('postgresql.conf', $settings);
$node->reload;
wait_for_sql(
	$node,
	qq(SELECT setting = '$key_file' FROM pg_settings
	WHERE name = 'webhook_outbox.secret_key_file'),
	'the setting is taken over');
for my $what ('missing', 'readable for others', 'empty', 'not a file', 'damaged')
{
	$problem{$what}[0]->();
	refused($node, $refused,
		qr/ERROR:.*secret_key_file cannot be used: .*$problem{$what}[1].*\nHINT/,
		"a key file that is $what is refused when it is needed");
}
unlike(slurp_file($node->logfile), qr/\Q@{[ substr $key{first}, 6 ]}\E/,
	'and no key is in the log');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.endpoint'),
	'1', 'no endpoint was made then');
$node->safe_psql('postgres', 'CREATE ROLE visitor');
refused(
	$node,
	'SET ROLE visitor; SHOW webhook_outbox.secret_key_file',
	qr/ERROR/, 'not everybody sees where the file is');

# What was there is encrypted when asked for.
write_keys('first');
my $id = publish($node, 'order.created');
$receiver->wait_for('/early', 1, 'what is in plain still works');
is(sql_value($node, 'SELECT webhook_outbox.reencrypt_secrets()'),
	'2', 'a secret and headers are encrypted');
is(sql_value($node, 'SELECT webhook_outbox.reencrypt_secrets()'),
	'0', 'once');
publish($node, 'order.created');
$receiver->wait_for('/early', 2, 'what was encrypted later is decrypted');
is_deeply([ header_of('/early', 'authorization') ],
	[ ('Bearer from-before') x 2 ], 'headers too');

# What is new is never in plain: receivers get it, and no file has it.
my $only_users = q(event_types => '{user.*}');
my ($first) = new_endpoint('new', '/new', '');
my $rotated =
  sql_value($node, q(SELECT webhook_outbox.rotate_secret('new', '0')));
my ($ed25519, $public_key) =
  new_endpoint('ed25519', '/ed25519', ", kind => 'ed25519'");
$receiver->secrets('/new', $rotated);
publish($node, 'user.created');
$receiver->wait_for('/new', 1, 'an event is signed with a new secret');
$receiver->wait_for('/ed25519', 1, 'and with a new pair of keys');
like((header_of('/ed25519', 'webhook-signature'))[0],
	qr/^v1a,/, 'which signs another way');
is( sql_value(
		$node,
		q(SELECT public_key FROM webhook_outbox.endpoint_secret
		WHERE public_key IS NOT NULL)),
	$public_key,
	'the public key is there to be read');

sub new_endpoint
{
	my ($name, $path, $more) = @_;
	my ($secret, $public) = split /\|/, $node->safe_psql('postgres',
		"SELECT secret, webhook_outbox.public_key(secret)"
		  . " FROM webhook_outbox.create_endpoint('$name', '"
		  . $receiver->url($path)
		  . "', $only_users$more)");

	# the receiver knows no Ed25519
	$receiver->secrets($path, $secret) if $secret =~ /^whsec_/;
	return ($secret, $public);
}

# So is what somebody brings as a parameter.
my $own = 'whsec_' . encode_base64(random_bytes(32), '');
my $token = unpack 'H*', random_bytes(16);
my $other_token = unpack 'H*', random_bytes(16);
run_with_parameters($node,
	q(SELECT webhook_outbox.rotate_secret('new', '0', secret => $1)), $own);
run_with_parameters($node, q(SELECT webhook_outbox.set_headers('new', $1)),
	qq({"Authorization": "Bearer $token"}));
run_with_parameters(
	$node,
	q(SELECT webhook_outbox.create_endpoint('third', 'https://example.com/',
	  event_types => '{nothing}', headers => $1, secret => $2)) =~ s/\s+/ /gr,
	qq({"X-Key": "$other_token"}), $own);
$receiver->secrets('/new', $own);
publish($node, 'user.created');
$receiver->wait_for('/new', 2, 'an event is signed with an own secret');
is_deeply([ header_of('/new', 'authorization') ],
	[ 'none', "Bearer $token" ], 'and has the headers');
is( sql_value(
		$node, q(SELECT r.headers ->> 'Authorization'
		FROM webhook_outbox.event e, webhook_outbox.render(e.id, 'new') r
		WHERE e.type = 'user.created' LIMIT 1)),
	"Bearer $token",
	'render shows the owner what is sent');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
like(statements($node), qr/set_headers/, 'statements are kept');
nowhere(
	$node,
	'a secret' => substr($first, 6),
	'a secret from a rotation' => substr($rotated, 6),
	'an own secret' => substr($own, 6),
	'a private key' => substr($ed25519, 5, 40),
	'a header' => $token,
	'a header of a new endpoint' => $other_token,
	'the key' => substr($key{first}, 6));

# Keys are changed: the new one goes first, the old one goes when all is
# encrypted with the new one.
write_keys('second', 'first');
publish($node, 'user.created');
$receiver->wait_for('/new', 3, 'the old key still opens what it has sealed');
is(sql_value($node, 'SELECT webhook_outbox.reencrypt_secrets()'),
	'7', 'all secrets and headers are encrypted with the new key');
write_keys('second');
is( sql_value(
		$node, q(SELECT string_agg(DISTINCT split_part(s, ':', 3), ' ') FROM (
		SELECT secret AS s FROM webhook_outbox.endpoint_secret
		UNION ALL
		SELECT headers #>> '{}' FROM webhook_outbox.endpoint_header) x)),
	'second',
	'and with no other');
$node->restart;
publish($node, 'user.created');
$receiver->wait_for('/new', 4, 'the old key is needed no more');

# A statement reads the file once, however many endpoints it asks for.
my $session = $node->background_psql('postgres');
$session->query_safe(
	'BEGIN; DECLARE status CURSOR FOR SELECT state FROM webhook_outbox.endpoint_status');
is($session->query_safe('FETCH FROM status') =~ s/\s//gr, 'idle', 'the status of one endpoint is read');
unlink $key_file;
unlike($session->query_safe('FETCH ALL FROM status'),
	qr/held/, 'the file is not needed again for the others');
like($session->query_safe('SELECT state FROM webhook_outbox.endpoint_status'),
	qr/held/, 'but for the next statement');
$session->query_safe('COMMIT');
$session->quit;
write_keys('second');

# While a key is missing nothing is sent, and nothing is lost.
my $pid = worker_pid($node, 'dispatcher');
write_keys('first');
reload_and_wait(
	$node,
	qr/nothing is sent to endpoint "early" and 3 more: its \w+ (is|are) encrypted with key "second", which is not in webhook_outbox.secret_key_file\n.*HINT/,
	'that a key is missing is told in the log, with a hint');
my $waits = publish($node, 'user.created');
wait_for_sql($node, "SELECT count(*) = 3 FROM webhook_outbox.delivery
	WHERE event_id = '$waits' AND state = 'parked' AND attempts = 0",
	'what is published waits, without an attempt');
wait_for_sql(
	$node, q(SELECT state LIKE '%secrets do not open: see last_error'
	AND last_error LIKE '%encrypted with key "second"%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database()),
	'worker_status says so');
like(
	sql_value($node, "SELECT webhook_outbox.explain_event('$waits')"),
	qr/pending.*\n +Nothing is sent to the endpoint: its secret is encrypted with key "second", which is not in/,
	'so does explain_event');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.endpoint_status
		WHERE state = 'held' AND last_error LIKE '%encrypted with key "second"%')),
	4, 'and so does endpoint_status, of each endpoint');
refused(
	$node, "SELECT * FROM webhook_outbox.render('$waits', 'new')",
	qr/ERROR: .*encrypted with key "second".*\n.*HINT: .*rotate_secret/,
	'so does render');
refused($node, 'SELECT webhook_outbox.reencrypt_secrets()',
	qr/ERROR: +endpoint "\w+" cannot be encrypted anew: .*"second".*\n.*HINT/,
	'and nothing is encrypted anew');
my $same_name = $key{second};
$key{second} = 'second:' . encode_base64(random_bytes(32), '');
write_keys('second');
reload_and_wait($node, qr/(?:is|are) not what key "second" .* has encrypted here/,
	'another key of the same name is told apart');
unlink $key_file;
reload_and_wait(
	$node,
	qr/(?:is|are) encrypted, and webhook_outbox.secret_key_file cannot be used: No such file/,
	'a file that is gone is told too');
is(worker_pid($node, 'dispatcher'), $pid, 'the worker goes on all the while');
$node->restart;
wait_for_sql(
	$node, q(SELECT state LIKE 'idle%do not open%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database()),
	'it says the same after a restart');
is($receiver->stats('/new')->{requests}, 4, 'nothing was sent meanwhile');

my $dump = "$folder/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ],
	'a dump is made without the key');
$key{second} = $same_name;
write_keys('second');
reload_and_wait($node, qr/can open the secrets of all endpoints again/,
	'it goes on when the key is back');
$receiver->wait_for('/new', 5, 'what has waited is sent');
$receiver->wait_for('/ed25519', 5, 'to all');
is((header_of('/new', 'authorization'))[-1],
	"Bearer $token", 'with its headers');

# A secret works for its own endpoint only.
$node->safe_psql(
	'postgres', q(
	UPDATE webhook_outbox.endpoint_secret s SET endpoint_id = n.endpoint_id
	FROM webhook_outbox.endpoint n, webhook_outbox.endpoint o
	WHERE n.name = 'third' AND o.name = 'new'
	  AND s.endpoint_id = o.endpoint_id));
refused($node, "SELECT * FROM webhook_outbox.render('$waits', 'third')",
	qr/ERROR: .*was changed or moved/,
	'the secret of another endpoint does not open');

# A dump is as good as the key.
ok( index(slurp_file($dump), $_) < 0, 'nothing of it is in the dump')
  for map { substr $_, 6 } $rotated, $own, "Bearer $token";
my $other = start_node(name => 'other', extension => 0);
$other->safe_psql('postgres', 'CREATE ROLE visitor');
$other->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump,
		'postgres' ],
	'the dump can be loaded where there is no key');
$other->safe_psql('postgres', 'SELECT webhook_outbox.resume_delivery()');
wait_for_log($other, qr/nothing is sent to endpoint "early" and 3 more: .*secret_key_file cannot be used: it is not set/,
	0, 'there nothing is sent');
is($receiver->stats('/new')->{requests}, 5, 'indeed');
$other->append_conf('postgresql.conf', $settings);
reload_and_wait($other, qr/can open the secrets of all endpoints again/,
	'with the key it works');
$receiver->wait_for_requests('/new', 6,
	'what had not been sent when the dump was made is sent');
all_delivered($other, 'and nothing else is owed there');
$other->stop;

finish($node, $receiver);

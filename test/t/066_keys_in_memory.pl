# The keys of the key file do not stay in the memory of a worker, not even when
# an error comes while secrets are being opened; and what was to be opened then
# is opened later.
# Plain SQL cannot show it: the memory of the process is searched.
use strict;
use warnings FATAL => 'all';
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $key_file = "$folder/keys";
my $key = random_bytes(32);

sub random_bytes
{
	return join '', map { chr int rand 256 } 1 .. $_[0];
}

# Does the memory of a process hold these bytes? undef: it may not be read.
sub has_in_memory
{
	my ($pid, $bytes) = @_;

	no warnings qw(portable);    # addresses have 64 bits
	open my $mem, '<:raw', "/proc/$pid/mem" or return;
	# what is its own, and can be written
	for my $line (grep { / rw-p / } split /\n/, slurp_file("/proc/$pid/maps"))
	{
		my ($from, $to) = map { hex } $line =~ /^(\w+)-(\w+)/;

		sysseek $mem, $from, 0 or next;
		sysread $mem, my $text, $to - $from or next;
		return 1 if index($text, $bytes) >= 0;
	}
	return 0;
}

open my $out, '>', $key_file or die "$key_file: $!";
print $out 'only:', encode_base64($key, ''), "\n";
close $out;
chmod 0600, $key_file;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.secret_key_file = '$key_file'");
create_endpoint($node, $receiver, "small$_", "/small$_") for 1 .. 3;
# headers that a toast table holds
create_endpoint($node, $receiver, 'large', '/large', headers =>
	q((SELECT jsonb_build_object('X-Large', string_agg(md5(random()::text), ''))
	FROM generate_series(1, 200))));
publish($node, 'order.created');
$receiver->wait_for('/large', 1, 'encrypted headers and secrets are opened');

my $pid = worker_pid($node, 'dispatcher');
my $can_read = has_in_memory($pid, $key_file);
if (!defined $can_read)
{
	$node->stop;
	plan skip_all => 'the memory of another process may not be read here';
}
ok($can_read, 'what is in the memory of the dispatcher is found');
wait_until(sub { has_in_memory($pid, $key) == 0 },
	'the key is not there once the endpoints are loaded');

# Large headers cannot be had while an index of theirs is locked: after the small
# ones were opened.
my $index = sql_value($node, q(
	SELECT indexrelid::regclass FROM pg_index WHERE indrelid = (
	SELECT reltoastrelid FROM pg_class WHERE oid = 'webhook_outbox.endpoint_header'::regclass)));
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; REINDEX INDEX $index");
$node->reload;
wait_for_sql($node, q(SELECT state LIKE 'not sending: %lock%'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
	'an error comes while secrets are opened again');
# while it waits for the lock, for half of a second, it has the key
wait_until(sub { has_in_memory($pid, $key) }, 'while it tries again the key is in memory');
wait_until(sub { has_in_memory($pid, $key) == 0 },
	'after the error the key is gone from memory');
$session->query_safe('COMMIT');
$session->quit;
publish($node, 'order.created');
$receiver->wait_for("/$_", 2, "$_: delivery goes on") for qw(small1 small3 large);
wait_until(sub { has_in_memory($pid, $key) == 0 }, 'and the key is gone then');
is(worker_pid($node, 'dispatcher'), $pid, 'all in the same process');

finish($node, $receiver);

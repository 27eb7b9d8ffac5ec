# When the server gives out no more transaction numbers, to avoid wraparound,
# nothing can be recorded: then nothing is sent beyond what that showed, nothing
# is sent again and again, and worker_status says why.  Once the databases are
# vacuumed delivery goes on by itself.
# Plain SQL cannot show it: it takes two thousand million transactions, or
# pg_resetwal.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $n_events = 500;
my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/well', max_in_flight => 10);
switch_delivery($node, 'off');
publish_many($node, 'order.created', $n_events);
$node->stop;

# The limit is three million before the oldest number comes round again.
my ($control) = run_command([ 'pg_controldata', $node->data_dir ]);
my ($oldest) = $control =~ /oldestXID: +(\d+)/;
my $next = $oldest + 2**31 - 1 - 3_000_000 - 20;
append_to_file(sprintf('%s/pg_xact/%04X', $node->data_dir, $next / 2**20),
	"\0" x 2**18);
command_ok([ qw(pg_resetwal -x), $next, $node->data_dir ],
	'transaction numbers have nearly run out');
$node->start;
my $last = '';
for (1 .. 100)
{
	$last = ($node->psql('postgres', 'SELECT pg_current_xact_id()'))[2];
	last if $last =~ /ERROR/;
}
like($last, qr/not accepting commands/, 'there are none left');

$node->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
$node->reload;
wait_for_sql($node, q(SELECT state ~ ('^not sending: attempts cannot be '
	|| 'recorded: database is not accepting commands')
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
	'worker_status says what is in the way');
wait_for_sql($node, q(SELECT in_flight = 0 FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher'), 'nothing is under way');
my $n_sent = $receiver->n_requests;
cmp_ok($n_sent, '<', $n_events, 'not all was sent before that was known');
my $pid = worker_pid($node, 'dispatcher');
tick(250);    # it tries to record each second
is(worker_pid($node, 'dispatcher'), $pid, 'the dispatcher stays');
is($receiver->n_requests, $n_sent, 'nothing more is sent, and nothing again');

# what the hint of the error says; older servers want single-user mode
$node->stop;
for my $dbname (qw(template0 template1 postgres))
{
	my ($in, $out) = ('VACUUM (FREEZE)', '');

	IPC::Run::run([ qw(postgres --single -O -D), $node->data_dir, $dbname ],
		'<', \$in, '>&', \$out) or die $out;
}
$node->start;
$receiver->wait_for('/well', $n_events, 'vacuumed, it delivers everything');
all_delivered($node, 'and records it');
cmp_ok($receiver->stats('/well')->{duplicates},
	'<=', $n_sent, 'twice at most what could not be recorded');

finish($node, $receiver);

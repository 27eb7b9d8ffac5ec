# A server that was recovered to an earlier point in time sends nothing until
# resume_delivery(): it has forgotten what was delivered since.  A standby of it
# that is promoted holds back as well; one that is promoted after the call, and a
# server that was recovered to the end of its archive, go on by themselves.
# Plain SQL cannot show it: it takes four servers, an archive, and a receiver.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(allows_streaming => 1, has_archiving => 1);
my $is_held = q(SELECT state = 'not sending: this database is a copy, '
	|| 'recovered to an earlier time, see resume_delivery()'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher');

sub recover
{
	my ($name, $target) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);

	$new->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$new->append_conf('postgresql.conf', <<"CONF");
archive_mode = off
recovery_target_action = promote
$target
CONF
	$new->start;
	wait_for_sql($new, 'SELECT NOT pg_is_in_recovery()', "$name is recovered");
	return $new;
}

sub follow
{
	my ($name, $primary, $from) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	$standby->append_conf('postgresql.conf', "recovery_target_name = ''");
	$standby->start;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return $standby;
}

create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'late', '/late', enabled => 'false');
publish($node, 'order.created');
$receiver->wait_for('/well', 1, 'the source delivers');
$node->backup('base');
publish($node, 'order.created');
$receiver->wait_for('/well', 2, 'also what is newer than its backup');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'and records it');
$node->safe_psql('postgres', q(SELECT pg_create_restore_point('noon')));
$node->safe_psql('postgres',
	q(SELECT webhook_outbox.resume_endpoint('late')));
$receiver->wait_for('/late', 2, 'then what waited is delivered');
my $forgotten = publish($node, 'order.created');
$receiver->wait_for('/well', 3, 'and something that is published');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

my $noon = recover('noon', "recovery_target_name = 'noon'");
wait_for_sql($noon, $is_held, 'recovered to a point, it says so and waits');
like(
	slurp_file($noon->logfile),
	qr/recovered to a chosen point in time \(timeline 2\).*\n(?:.*\n)*?.*it is a copy\n.*HINT: .*resume_delivery/,
	'so does the log, with what to do');
my $own = publish($noon, 'order.created');
like(
	sql_value($noon, "SELECT webhook_outbox.explain_event('$own')"),
	qr/^Nothing is sent now: .*recovered to an earlier time, see resume_delivery/m,
	'and explain_event()');
$noon->safe_psql('postgres',
	q(SELECT webhook_outbox.resume_endpoint('late')));
my $heir = follow('heir', $noon);
$noon->restart;
wait_for_sql($noon, $is_held, 'a restart changes nothing');
$heir->promote;
wait_for_sql($heir, $is_held, 'nor is a standby of it freed by promotion');
$heir->stop;
is($receiver->n_requests, 6, 'nothing was sent');

is(sql_value($noon, 'SELECT webhook_outbox.resume_delivery()'),
	'0', 'it is told to deliver');
$receiver->wait_for_requests('/late', 6, 'and sends what it has not settled');
all_delivered($noon, 'all is recorded');
is_deeply(
	[ ($receiver->accepted_ids('/well'))[3] ],
	[$own], 'but to nobody again what it had settled');
is(sql_value($noon, "SELECT count(*) FROM webhook_outbox.event WHERE id = '$forgotten'"),
	'0', 'what was published after the point is gone');
$noon->restart;
publish($noon, 'order.created');
$receiver->wait_for_requests('/well', 5, 'after a restart it still delivers');
$heir = follow('next_heir', $noon);
$noon->stop;
$heir->promote;
publish($heir, 'order.created');
$receiver->wait_for_requests('/well', 6,
	'and so does its standby, once it is promoted');
$heir->stop;

my $end = recover('end', '');
publish($end, 'order.created');
$receiver->wait_for_requests('/well', 7,
	'recovered to the end of the archive, a server goes on');

finish($end, $receiver);

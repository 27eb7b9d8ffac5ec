# A cluster that pg_upgrade made sends nothing until resume_delivery() is called
# in it; then it goes on where the old one was.  The old one is of an older
# PostgreSQL, where there is one (WO_OLD_SERVER).
# Plain SQL cannot show it: it takes two clusters.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
# PostgreSQL 18 has checksums unless told otherwise, and both must agree.
my @option = (extra => ['--data-checksums']);
my $old = start_node(name => 'old', install_path => $ENV{WO_OLD_SERVER}, @option);
create_endpoint($old, $receiver, 'well', '/well');
create_endpoint($old, $receiver, 'down', '/down',
	retry_schedule => "'{1h}'");
$receiver->script('/down', { status => 503 });
my $delivered = publish($old, 'order.created');
$receiver->wait_for('/well', 1, 'the old cluster delivers');
wait_for_sql($old, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'and records it');
$old->append_conf('postgresql.conf', 'webhook_outbox.enabled = off');
$old->restart;
my $waiting = publish($old, 'order.paid');
$old->stop;

my $new = start_node(name => 'new', start => 0, @option);
my ($old_bin, $bin) = map { $_->config_data('--bindir') } $old, $new;
note('from ' . $old->config_data('--version') . ' to ' . $new->config_data('--version'));
chdir $PostgreSQL::Test::Utils::tmp_check
  or die "$PostgreSQL::Test::Utils::tmp_check: $!";
command_ok(
	[   'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old_bin, '-B', $bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade succeeds');
$new->start;
wait_for_sql($new, $IS_HELD, 'the new cluster holds');
my $later = publish($new, 'user.created');
is( sql_value(
		$new, q(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE state = 'pending')),
	'4', 'what waited still does');
is($receiver->stats('/well')->{requests}, 1, 'and is not sent');

is(sql_value($new, 'SELECT webhook_outbox.resume_delivery()'),
	'0', 'told to deliver, no restored delivery had not begun');
$receiver->wait_for('/well', 3, 'it does');
is_deeply([ sort $receiver->accepted_ids('/well') ],
	[ $delivered, $waiting, $later ],
	'from where the old one was');
wait_for_sql(
	$new, q(SELECT count(*) = 3 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'down' AND state = 'retrying'),
	'retries wait as they did');
is($receiver->stats('/well')->{duplicates}, 0, 'nothing was sent twice');

finish($new, $receiver);

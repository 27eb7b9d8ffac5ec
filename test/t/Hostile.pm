# Hostile.pm - what the tests of misbehaving receivers share.
#
#   my $hostile = start_hostile('plain', 'silent');
#   my $url = $hostile->url('plain', '/body/endless');
#   expect_attempts($node, 'name of endpoint' => [ 'outcome', status, qr/text/ ]);
#
# hostile.pl says what kinds there are, and what a path does.

package Hostile;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Path ();
use File::Temp ();
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

our @EXPORT = qw(enter_network start_hostile start_tls_flood add_hostile wait_for_attempts expect_attempts
  sender_pid sender_status);

# Run the test in a network of its own, whose names dns.pl knows; to be called
# from BEGIN, before PostgreSQL::Test::Utils takes the output.  Skips the test
# where that is not permitted.
sub enter_network
{
	return if $^C || $ENV{WO_NETWORK}++;
	my $error = qx(unshare -rnm unshare --user --map-user=1 true 2>&1);

	plan skip_all => "no network of its own is to be had: $error" if $?;
	my $dir = File::Temp::tempdir();
	system 'unshare', '-rnm', $^X, "$WebhookOutbox::HERE/dns.pl", $dir, $<,
	  $( + 0, $^X, (map { "-I$_" } @INC), $0;
	my $status = $?;
	File::Path::rmtree($dir);
	# the END blocks of a test are not for this
	POSIX::_exit($status & 127 ? 1 : $status >> 8);
}

sub start_hostile
{
	my (@kinds) = @_;

	return start_receivers([ $^X, "$WebhookOutbox::HERE/hostile.pl" ], @kinds);
}

# Receivers that go on about TLS, as tls_flood.c says; their URLs are https.
sub start_tls_flood
{
	my ($cert, $key, @kinds) = @_;
	my $program = PostgreSQL::Test::Utils::tempdir() . '/tls_flood';

	system('gcc', '-o', $program, "$WebhookOutbox::HERE/tls_flood.c", '-lssl',
		'-lcrypto') == 0 or BAIL_OUT('no tls_flood');
	return start_receivers([ $program, $cert, $key ], @kinds);
}

sub start_receivers
{
	my ($command, @kinds) = @_;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start([ @$command, @kinds ], '<', \$in, '>', \$out);

	$run->pump until $out =~ /listening on (.*)\n/;
	my @ports = split / /, $1;
	my %port;
	@port{@kinds} = @ports;
	return bless { run => $run, port => \%port, in => \$in }, 'Hostile';
}

sub port { return $_[0]{port}{ $_[1] }; }

# Where a kind listens; a path, and another host that leads there.
sub url
{
	my ($self, $kind, $path, $host) = @_;
	my $scheme = $kind =~ /^tls/ ? 'https' : 'http';

	return sprintf '%s://%s:%d%s', $scheme, $host // '127.0.0.1',
	  $self->port($kind), $path // '/';
}

# An endpoint that is tried once, with options as create_endpoint's.  Its
# timeout is ample: a busy machine must not turn other outcomes into timeouts.
sub add_hostile
{
	my ($node, $name, $url, %option) = @_;
	my $dbname = delete $option{dbname} // 'postgres';

	%option =
	  (retry_schedule => "'{1h}'", timeout => "'30 s'", %option);
	$node->safe_psql($dbname,
		"SELECT webhook_outbox.create_endpoint('$name', '$url'"
		  . join('', map { ", $_ => $option{$_}" } sort keys %option)
		  . ')');
	return;
}

# A check that passes once every endpoint has had an attempt.
sub wait_for_attempts
{
	my ($node, $dbname) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for_sql(
		$node, q(
		SELECT count(*) = 0 FROM webhook_outbox.endpoint e
		WHERE NOT EXISTS (SELECT FROM webhook_outbox.attempt a
		  WHERE a.endpoint_id = e.endpoint_id)),
		'every endpoint got its attempt', $dbname);
}

# Checks of the only attempt of each endpoint: outcome, status ('': none) and
# text (regular expressions), and that it was over when it had to be.
sub expect_attempts
{
	my ($node, %expect) = @_;
	my %got = map { my ($name, @rest) = split /\|/, $_, 4; $name => \@rest }
	  split /\n/, sql_value(
		$node, q(
		SELECT name, outcome, http_status, error
		FROM webhook_outbox.attempt
		  JOIN webhook_outbox.endpoint USING (endpoint_id)));

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $name (sort keys %expect)
	{
		my ($outcome, $status, $text) = @{ $expect{$name} };
		my ($is_outcome, $is_status, $is_text) = @{ $got{$name} // [] };

		subtest "$name is $outcome" => sub {
			like($is_outcome, qr/^(?:$outcome)$/, 'the outcome');
			like($is_status, qr/^(?:$status)$/, 'the status');
			like($is_text, qr/^$text$/, 'the text');
		};
	}
	all_in_time($node);
	return;
}

# The process id of the only sender.
sub sender_pid
{
	return sql_value($_[0], q(SELECT pid FROM webhook_outbox.worker_status
		WHERE process = 'sender'));
}

# A number of its /proc/PID/status, e.g. VmHWM (kB) or Threads.
sub sender_status
{
	my ($node, $field) = @_;
	my $file = '/proc/' . sender_pid($node) . '/status';

	open my $fh, '<', $file or die "$file: $!";
	my ($value) = join('', <$fh>) =~ /^$field:\s+(\d+)/m
	  or die "$file: no $field";
	return $value;
}

1;

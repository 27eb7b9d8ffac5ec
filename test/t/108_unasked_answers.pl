# What a receiver sends on a kept connection before it is asked is no answer to
# the next request: an event is not taken for delivered because the answer to
# another one came twice.
# Plain SQL cannot show it: it takes a receiver that says too much.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

use IO::Handle;
use IO::Socket::IP;
use POSIX ();

my $N_READ = 1024;    # bytes of an answer that a sender reads at once

# When the second answer to a first request comes: with the first one, but not
# by the same read, or when that one has been read.
my %delay_s = (at_once => 0, late => 0.2);

# The answer to the first request: 200, twice.
sub answer_twice
{
	my ($fh, $delay_s) = @_;
	my $head = "HTTP/1.1 200 OK\r\nContent-Length: %3d\r\n\r\n";
	my $length = $N_READ - length sprintf $head, 0;
	my $first = sprintf($head, $length) . 'x' x $length;
	my $second = sprintf($head, 6) . 'second';

	return syswrite $fh, $first . $second if !$delay_s;
	syswrite $fh, $first;
	select undef, undef, undef, $delay_s;
	return syswrite $fh, $second;
}

# Reads one request and returns its path; undef: the sender has hung up.
sub read_request
{
	my ($fh) = @_;
	my $in = '';

	while (1)
	{
		return $1
		  if $in =~ m{^POST /(\w+)(?=.*^Content-Length: (\d+)).*?\r\n\r\n(.*)}ms
		  && length $3 >= $2;
		sysread $fh, $in, 65536, length $in or return;
	}
	return;
}

# Serves one connection. The files that tell how it goes: PATH when there was
# a request, PATH.end when the connection on which it came has ended. At /busy
# the first request on each connection is answered twice, and busy.again says
# that there was another one.
sub serve
{
	my ($fh, $dir) = @_;
	my ($path, $last);

	while (defined($path = read_request($fh)))
	{
		my $is_again = $path eq 'busy' && ($last // '') eq 'busy';
		append_to_file("$dir/busy.again", '') if $is_again;
		$last = $path;
		if ($path eq 'busy' ? $is_again : -e "$dir/$path")
		{
			syswrite $fh, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
			next;
		}
		append_to_file("$dir/$path", '');
		answer_twice($fh, $delay_s{$path} // 0);
	}
	append_to_file("$dir/$last.end", '') if defined $last;
	return;
}

my $dir = PostgreSQL::Test::Utils::tempdir();
my $listener = IO::Socket::IP->new(LocalAddr => '127.0.0.1', Listen => 16)
  or die "cannot listen: $@";
my $port = $listener->sockport;
my $pid = fork // die "fork: $!";
if (!$pid)
{
	@SIG{qw(CHLD PIPE)} = qw(IGNORE IGNORE);
	while (my $fh = $listener->accept)
	{
		next if fork;
		alarm 300;
		serve($fh, $dir);
		POSIX::_exit(0);
	}
	POSIX::_exit(1);
}

my $node = start_node();

sub attempts
{
	return sql_value(
		$node, qq(
		SELECT string_agg(concat_ws(' ', outcome, http_status), ', '
		  ORDER BY started_at)
		FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint
		USING (endpoint_id) WHERE name = '$_[0]'));
}

for my $path (sort keys %delay_s)
{
	$node->safe_psql('postgres',
		"SELECT webhook_outbox.create_endpoint('$path', 'http://127.0.0.1:$port/$path', "
		  . "retry_schedule => '{1h}', event_types => '{$path}')");
	publish($node, $path);
	wait_until(sub { attempts($path) eq 'delivered 200' },
		"$path: an event is delivered");
	wait_until(sub { -e "$dir/$path.end" },
		'its connection ends, for more came than was asked for');
	publish($node, $path);
	wait_until(sub { attempts($path) =~ /,/ }, 'another event is sent');
	is( attempts($path),
		'delivered 200, http_error 500',
		'and becomes what the receiver says to that one');
}

# To an endpoint that is quick the next request starts as soon as one has ended,
# before anybody could wait for what else may come.
$node->safe_psql('postgres',
	"SELECT webhook_outbox.create_endpoint('busy', 'http://127.0.0.1:$port/busy', "
	  . "retry_schedule => '{1h}', event_types => '{busy}', max_in_flight => 16)");
for my $n (1, 50)
{
	publish_many($node, 'busy', $n);
	wait_for_sql($node, q(SELECT count(DISTINCT event_id) = (SELECT count(*)
		FROM webhook_outbox.event WHERE type = 'busy')
		FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint
		USING (endpoint_id) WHERE name = 'busy'), "busy: $n events are sent");
}
ok(!-e "$dir/busy.again", 'none where something else had come');

kill 'TERM', $pid;
waitpid $pid, 0;
finish($node);

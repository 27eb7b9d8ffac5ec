# producer.pl - one connection that publishes, for make fault.
#
#   producer.pl NAME SEED EVENTS SECONDS FILE CONNINFO [ENOUGH]
#
# Publishes so many events that are meant to stay, in transactions of 1 to 200,
# over about so many seconds; and on at that rate until the file ENOUGH is there. One transaction in eight rolls back, some roll back
# to a savepoint, some stay open for a while; each has synchronous_commit on or
# off. FILE gets, one a line, as words between tabs:
#
#   plan  TRANSACTION  on|off  commit|rollback  KEYS  KEYS-UNDONE
#   done  TRANSACTION  commit|rollback|unknown
#
# The plan is written before the first statement is sent, the end after the server
# has answered. A connection that breaks leaves the outcome unknown, and the next
# transaction gets a new one, to the server that the file CONNINFO names then. The
# key of an event is in its payload.

use strict;
use warnings FATAL => 'all';

use IO::Handle;
use IPC::Open2;
use Time::HiRes qw(time usleep);

my ($name, $seed, $n_events, $seconds, $file, $conninfo, $enough) = @ARGV;
my ($from, $to, $pid);
my $n_keys = 0;
my $tick_us = 100_000;    # between attempts to connect

srand $seed;
$SIG{PIPE} = 'IGNORE';
open my $log, '>', $file or die "$file: $!\n";
$log->autoflush(1);

sub note
{
	print $log join("\t", @_), "\n";
	return;
}

sub one_in
{
	return rand($_[0]) < 1;
}

sub pick
{
	return $_[ rand @_ ];
}

# Where the server is now: the file CONNINFO says so, and may be replaced.
sub where
{
	open my $fh, '<', $conninfo or die "$conninfo: $!\n";
	return scalar <$fh>;
}

# A connection, once the server takes one.
sub connect_server
{
	while (1)
	{
		$pid = open2($from, $to, 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', where());
		print $to "SELECT 'connected';\n";
		$to->flush;
		return if (<$from> // '') eq "connected\n";
		disconnect();
		usleep($tick_us);
	}
	return;
}

sub disconnect
{
	close $to;
	close $from;
	waitpid $pid, 0;
	undef $pid;
	return;
}

# Runs statements; false when the connection broke.
sub run
{
	my ($sql) = @_;
	my $answer;

	print $to "$sql\nSELECT 'answered';\n";
	$to->flush or return 0;
	while (defined($answer = <$from>))
	{
		return 1 if $answer eq "answered\n";
	}
	return 0;
}

sub insert
{
	my (@keys) = @_;

	return 'INSERT INTO webhook_outbox.event (type, payload) VALUES '
	  . join(', ', map { sprintf q(('order.%s', '{"key":"%s","pad":"%s"}')),
			/7$/ ? 'doomed' : /[0-4]$/ ? 'created' : 'paid', $_, 'x' x rand 300 } @keys) . ';';
}

sub new_keys
{
	my ($n) = @_;

	return map { $name . '-' . ++$n_keys } 1 .. $n;
}

# One transaction; returns how many events were to stay.
sub transact
{
	my ($number) = @_;
	my $sync = pick('on', 'off');
	my $end = one_in(8) ? 'rollback' : 'commit';
	my @kept = new_keys(one_in(20) ? 200 : one_in(4) ? 5 + int rand 35 : 1 + int rand 4);
	my @undone = one_in(4) ? new_keys(1 + int rand 5) : ();
	my @inner = one_in(6) ? splice(@kept, 0, @kept / 2) : ();
	my @script = ("BEGIN; SET LOCAL synchronous_commit = $sync;");

	note('plan', $number, $sync, $end, join(',', @kept, @inner), join(',', @undone));
	push @script, 'SAVEPOINT a;', insert(@undone), 'ROLLBACK TO a;' if @undone;
	push @script, insert(@kept) if @kept;
	push @script, 'SAVEPOINT b;', insert(@inner), 'RELEASE b;' if @inner;
	push @script, sprintf 'SELECT pg_sleep(%f) \g /dev/null', rand 0.5 if one_in(10);
	connect_server() if !$pid;
	if (run(join "\n", @script, uc($end) . ';'))
	{
		note('done', $number, $end);
	}
	else
	{
		note('done', $number, 'unknown');
		disconnect();
	}
	return $end eq 'commit' ? @kept + @inner : 0;
}

my $began = time;
my $n_done = 0;

for (my $number = 1; $n_done < $n_events || ($enough && !-e $enough); $number++)
{
	$n_done += transact($number);
	my $ahead = $began + $seconds * $n_done / $n_events - time;
	usleep($ahead * 1e6) if $ahead > 0;
}
disconnect() if $pid;

#!/usr/bin/perl
#
# receiver.pl - a scripted HTTP/1.1 receiver for tests, demo and benchmarks.
#
#   receiver.pl [--address A] [--port N] [--log FILE] [--with-stdin]
#
# Prints "listening on PORT" when it is ready. With --with-stdin it exits when
# its standard input ends, so that it never outlives a test that died.
#
# How a path answers is in the path itself, as words with arguments:
#   /ok  /status/503  /fail/2 (the first 2 requests of each webhook-id get
#   500)  /delay/250 (ms)  /retry-after/2  /gone  /redirect  /header/NAME/VALUE
#   /big/1000000 (bytes of body)  /bytes/00ff (body in hex)  /close
#   /keep/1 (answers 1 request on a connection, and drops it at the next)
#   /drop (closes)  /reset (RST)  /halfclose (ends within the body)
#   /malformed (no HTTP)  /hang (never answers)  /hold (answers when released)
#   /drip (a byte now and then)  /endless (a body, or with /endless/headers
#   or /endless/continue a head, without end)
# Words combine (/fail/2/delay/50); unknown words are names (/billing/ok).
# POST /_script {"path": "/x", "rule": {"status": 503}} overrides a path, with
# the keys of %rule below, until {"rule": null}.
#
# Other control requests, all answered with JSON:
#   POST /_secrets {"path": "/x", "secrets": ["whsec_..."]}  checks signatures
#   POST /_release {"path": "/x", "count": 1}  answers held requests
#   GET /_stats   per path: requests, ids, accepted, duplicates (requests for
#                 an id that had been accepted), bad_signatures, in_flight,
#                 max_in_flight, first_at, last_at
#   GET /_ids?/x  ids accepted with a 2xx, in order, one a line
#
# The log has one JSON object a line and request, written before the answer
# is, so what a server calls delivered is there: n, at (microseconds), method,
# path, id, status (0: none), signature (valid, invalid, missing, unchecked),
# valid_keys (which of the secrets), conn, in_flight, headers, md5 (of the
# body), body (up to 100,000 bytes).
#
# Why not a ready-made server: Debian's plain Perl has none that can cut,
# stall and malform answers. One process and one loop: 5,000 requests/s.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(hmac_sha256_base64);
use Errno qw(EAGAIN EINTR);
use Getopt::Long;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use Socket qw(SOL_SOCKET SO_LINGER IPPROTO_TCP TCP_NODELAY SOMAXCONN);
use Time::HiRes qw(time);

my @args = @ARGV;
my %arg = (address => '127.0.0.1', port => 0);
GetOptions(\%arg, 'address=s', 'port=i', 'log=s', 'with-stdin')
  or die "usage: $0 [--address A] [--port N] [--log FILE] [--with-stdin]\n";

# A connection is a descriptor, and Perl cannot raise their limit itself.
if (!$ENV{WO_RECEIVER_LIMITED})
{
	$ENV{WO_RECEIVER_LIMITED} = 1;
	exec 'sh', '-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', $^X, $0,
	  @args
	  or die "sh: $!\n";
}
$SIG{PIPE} = 'IGNORE';

my %rule_of;     # path => rule; from the path itself, or from /_script
my %keys_of;     # path => [ decoded secret, ... ]
my %stats;       # path => what /_stats shows, and state of its ids
my %conn;        # fd => connection
my @timers;      # [ when, connection, its generation, code ]
my %held;        # path => [ [ connection, generation, answer ], ... ]
my $n_requests = 0;
my $n_conns = 0;
my ($log, $log_buffer) = (undef, '');
my ($readers, $writers) = ('', '');

my %reason = (200 => 'OK', 410 => 'Gone', 500 => 'Internal Server Error',
	503 => 'Service Unavailable');

# words of a path that take no argument, and what they do to a rule
my %word = (
	ok => sub { },
	gone => sub { $_[0]{status} = 410 },
	redirect => sub {
		$_[0]{status} = 302;
		$_[0]{headers}{Location} = '/redirected';
	},
	close => sub { $_[0]{close} = 1 },
	map { my $act = $_; $act => sub { $_[0]{act} = $act } }
	  qw(drop reset halfclose malformed hang hold drip endless));

# words that take the next segments
my %word_arg = (
	status => sub { $_[0]{status} = shift @{ $_[1] } },
	fail => sub { $_[0]{fail} = shift @{ $_[1] } },
	delay => sub { $_[0]{delay} = shift @{ $_[1] } },
	'retry-after' =>
	  sub { $_[0]{headers}{'Retry-After'} = shift @{ $_[1] } },
	big => sub { $_[0]{size} = shift @{ $_[1] } },
	bytes => sub { $_[0]{body} = pack 'H*', shift @{ $_[1] } },
	keep => sub { $_[0]{keep} = shift @{ $_[1] } },
	header => sub {
		my $name = shift @{ $_[1] };
		$_[0]{headers}{$name} = shift @{ $_[1] };
	},
	headers => sub { $_[0]{endless} = 'headers' },
	continue => sub { $_[0]{endless} = 'continue' });

sub rule_from_path
{
	my ($path) = @_;
	my %rule;
	my @words = grep { $_ ne '' } split '/', $path =~ s/\?.*//r;

	while (defined(my $w = shift @words))
	{
		if ($word{$w}) { $word{$w}->(\%rule); }
		elsif ($word_arg{$w}) { $word_arg{$w}->(\%rule, \@words); }
	}
	return \%rule;
}

sub json_string
{
	my ($bytes) = @_;

	# bytes that are no text are written as the characters of Latin-1
	$bytes =~ s/([\x80-\xff])/chr(0xc0 | ord($1) >> 6) . chr(0x80 | ord($1) & 0x3f)/ge
	  if $bytes =~ /[\x80-\xff]/ && !utf8::decode(my $copy = $bytes);
	$bytes =~ s/(["\\])/\\$1/g;
	$bytes =~ s/([\x00-\x1f\x7f])/sprintf '\u%04x', ord $1/ge
	  if $bytes =~ /[\x00-\x1f\x7f]/;
	return qq("$bytes");
}

# Which of the path's keys signed this request, and what that amounts to.
sub check_signature
{
	my ($path, $header, $body) = @_;
	my $keys = $keys_of{$path} or return ('unchecked');
	my $sent = $header->{'webhook-signature'};

	return ('missing') if !defined $sent;
	my $at = $header->{'webhook-timestamp'} // 0;
	my $signed = join '.', $header->{'webhook-id'} // '', $at, $body;
	my %is_sent = map { $_ => 1 } split ' ', $sent;
	my @valid = grep {
		$is_sent{ 'v1,' . hmac_sha256_base64($signed, $keys->[$_]) . '=' }
	} 0 .. $#$keys;

	return ('invalid') if !@valid || abs(time - $at) > 300;
	return ('valid', @valid);
}

# ---- connections

sub set_bit { vec($_[0], $_[1], 1) = 1; return; }
sub clear_bit { vec($_[0], $_[1], 1) = 0; return; }

sub close_conn
{
	my ($c) = @_;

	return if !$conn{ $c->{fd} } || $conn{ $c->{fd} } != $c;
	clear_bit($readers, $c->{fd});
	clear_bit($writers, $c->{fd});
	delete $conn{ $c->{fd} };
	$c->{generation}++;
	end_request($c);
	close $c->{fh};
	return;
}

sub accept_all
{
	my ($listener) = @_;

	while (my $fh = $listener->accept)
	{
		my $fd = fileno $fh;
		$fh->blocking(0);
		setsockopt $fh, IPPROTO_TCP, TCP_NODELAY, 1;
		$conn{$fd} = {
			fh => $fh,
			fd => $fd,
			number => ++$n_conns,
			in => '',
			out => '',
			generation => 0,
			stats => undef };
		set_bit($readers, $fd);
	}
	return;
}

sub flush_out
{
	my ($c) = @_;

	while ($c->{out} ne '')
	{
		my $n = syswrite $c->{fh}, $c->{out};
		if (!defined $n)
		{
			next if $! == EINTR;
			return close_conn($c) if $! != EAGAIN;
			set_bit($writers, $c->{fd});
			return;
		}
		substr $c->{out}, 0, $n, '';
	}
	# an endless answer takes a turn of the loop for each piece
	return $c->{out} = $c->{more}->() if $c->{more};
	clear_bit($writers, $c->{fd});
	close_conn($c) if $c->{close_after};
	return;
}

sub write_out
{
	my ($c, $bytes) = @_;

	$c->{out} .= $bytes;
	return flush_out($c);
}

sub read_in
{
	my ($c) = @_;
	my $n = sysread $c->{fh}, $c->{in}, 262144, length $c->{in};

	if (!defined $n)
	{
		return if $! == EAGAIN || $! == EINTR;
		return close_conn($c);
	}
	return close_conn($c) if $n == 0;
	# one request at a time: what is behind it waits for the answer
	read_request($c) if !$c->{is_busy};
	return;
}

sub read_request
{
	my ($c) = @_;
	my $end = index $c->{in}, "\r\n\r\n";

	if ($c->{in} !~ /^[A-Z]/)
	{
		# not HTTP, TLS for example: as any server, say so and close
		$c->{close_after} = 1;
		return write_out($c, "HTTP/1.1 400 Bad Request\r\n\r\n");
	}
	return if $end < 0;
	if (!$c->{head})
	{
		my ($line, @lines) = split /\r\n/, substr $c->{in}, 0, $end;
		my ($method, $target) = $line =~ /^(\S+) (\S+) HTTP\/1\.[01]$/
		  or return close_conn($c);
		my %header;
		for (@lines)
		{
			my ($name, $value) = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/ or next;
			$name = lc $name;
			$header{$name} =
			  exists $header{$name} ? "$header{$name}, $value" : $value;
		}
		$c->{head} = [ $method, $target, \%header ];
		write_out($c, "HTTP/1.1 100 Continue\r\n\r\n")
		  if ($header{expect} // '') =~ /100-continue/i;
	}
	my $length = $c->{head}[2]{'content-length'} // 0;

	return if length($c->{in}) < $end + 4 + $length;
	my $body = substr $c->{in}, $end + 4, $length;
	substr $c->{in}, 0, $end + 4 + $length, '';
	my ($method, $target, $header) = @{ delete $c->{head} };

	return control($c, $method, $target, $body) if $target =~ m{^/_};
	return event($c, $method, $target, $header, $body);
}

# ---- what arrives

sub event
{
	my ($c, $method, $path, $header, $body) = @_;
	my $rule = $rule_of{$path} //= rule_from_path($path);
	my $s = $stats{$path} //= { requests => 0, ids => 0, accepted => 0,
		duplicates => 0, bad_signatures => 0, in_flight => 0,
		max_in_flight => 0, first_at => undef, seen => {}, order => [] };
	my $id = $header->{'webhook-id'} // '';
	my $at = int(time * 1e6);
	my ($signature, @valid) = check_signature($path, $header, $body);
	my $seen = $s->{seen}{$id} //= { requests => 0, accepted => 0 };

	$s->{requests}++;
	$s->{ids}++ if $seen->{requests}++ == 0;
	$s->{duplicates}++ if $seen->{accepted};
	$s->{bad_signatures}++ if $signature =~ /invalid|missing/;
	$s->{first_at} //= $at;
	$s->{last_at} = $at;
	$s->{in_flight}++;
	$s->{max_in_flight} = $s->{in_flight}
	  if $s->{in_flight} > $s->{max_in_flight};
	$c->{is_busy} = 1;
	$c->{stats} = $s;

	# whoever sent this could not know yet that the connection is to end
	$rule = { act => 'drop' }
	  if ++$c->{n_requests} > ($rule->{keep} // $c->{n_requests});
	my $status = status_of($rule, $s, $seen);
	if ($status >= 200 && $status < 300)
	{
		push @{ $s->{order} }, $id if !$seen->{accepted};
		$s->{accepted}++ if !$seen->{accepted};
		$seen->{accepted} = 1;
	}
	$n_requests++;
	if ($arg{log})
	{
		my $head = join ',', map {
			json_string($_) . ':' . json_string($header->{$_})
		} sort keys %$header;
		$log_buffer .=
			qq({"n":$n_requests,"at":$at,"method":"$method","path":)
		  . json_string($path)
		  . ',"id":' . json_string($id)
		  . qq(,"status":$status,"signature":"$signature","valid_keys":[)
		  . join(',', @valid)
		  . qq(],"conn":$c->{number},"in_flight":$s->{in_flight})
		  . qq(,"headers":{$head},"md5":") . md5_hex($body) . '","body":'
		  . json_string(substr $body, 0, 100_000) . "}\n";
	}
	return answer($c, $path, $rule, $status);
}

# The status that will be answered, 0 when there is none.
sub status_of
{
	my ($rule, $s, $seen) = @_;

	return 500 if $rule->{fail} && $seen->{requests} <= $rule->{fail};
	return shift @{ $rule->{statuses} }
	  if $rule->{statuses} && @{ $rule->{statuses} };
	return 0 if ($rule->{act} // 'hold') ne 'hold';
	return $rule->{status} // 200;
}

sub answer
{
	my ($c, $path, $rule, $status) = @_;
	my $generation = $c->{generation};
	my $body = $rule->{body} // '';

	$body = 'x' x $rule->{size} if $rule->{size};
	my %header = ('Content-Type' => 'text/plain',
		%{ $rule->{headers} // {} }, 'Content-Length' => length $body);
	$header{Connection} = 'close' if $rule->{close};
	my $text = sprintf "HTTP/1.1 %d %s\r\n%s\r\n%s", $status || 200,
	  $reason{$status} // 'Status',
	  join('', map { "$_: $header{$_}\r\n" } sort keys %header), $body;
	my $act = $rule->{act} // 'send';
	my $code = sub { perform($c, $act, $rule, $text) };

	$act = 'send' if $status;
	if ($status && ($rule->{act} // '') eq 'hold')
	{
		push @{ $held{$path} }, [ $c, $generation, $code ];
	}
	elsif ($rule->{delay})
	{
		push @timers,
		  [ time + $rule->{delay} / 1000, $c, $generation, $code ];
	}
	else
	{
		push @timers, [ 0, $c, $generation, $code ];
	}
	return;
}

my %endless = (
	body => [ "HTTP/1.1 200 OK\r\n\r\n", 'x' x 65536 ],
	headers => [ "HTTP/1.1 200 OK\r\n", 'X-More: ' . 'x' x 1000 . "\r\n" ],
	continue => [ '', "HTTP/1.1 100 Continue\r\n\r\n" x 100 ]);

my %perform = (
	send => sub {
		my ($c, $rule, $text) = @_;
		end_request($c);
		$c->{close_after} = $rule->{close};
		write_out($c, $text);
	},
	drop => sub { close_conn($_[0]) },
	reset => sub {
		setsockopt $_[0]{fh}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
		close_conn($_[0]);
	},
	halfclose => sub {
		my ($c) = @_;
		$c->{close_after} = 1;
		write_out($c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	},
	malformed => sub {
		my ($c, $rule) = @_;
		$c->{close_after} = 1;
		write_out($c, $rule->{body} // "this is \0 not \xff HTTP\r\n\r\n");
	},
	hang => sub { },
	drip => sub {
		my ($c) = @_;
		write_out($c, 'HTTP/1.1 200 OK' . "\r\nX: ") if !$c->{is_dripping}++;
		write_out($c, 'x');
		push @timers,
		  [ time + 0.05, $c, $c->{generation}, sub { perform($c, 'drip') } ];
	},
	endless => sub {
		my ($c, $rule) = @_;
		my ($first, $chunk) = @{ $endless{ $rule->{endless} // 'body' } };
		$c->{more} = sub { $chunk };
		set_bit($writers, $c->{fd});
		write_out($c, $first . $chunk);
	});

sub perform
{
	my ($c, $act, @rest) = @_;

	$perform{$act}->($c, @rest);
	return;
}

sub end_request
{
	my ($c) = @_;

	$c->{stats}{in_flight}-- if $c->{stats};
	$c->{stats} = undef;
	$c->{is_busy} = 0;
	return;
}

# ---- control

my %control = (
	'POST /_script' => sub {
		my ($in) = @_;
		if ($in->{rule}) { $rule_of{ $in->{path} } = $in->{rule}; }
		else { delete $rule_of{ $in->{path} }; }
		return {};
	},
	'POST /_secrets' => sub {
		my ($in) = @_;
		$keys_of{ $in->{path} } =
		  [ map { decode_base64(s/^whsec_//r) } @{ $in->{secrets} } ];
		return {};
	},
	'POST /_release' => sub {
		my ($in) = @_;
		my $waiting = $held{ $in->{path} } // [];
		my @now = splice @$waiting, 0, $in->{count} // scalar @$waiting;
		push @timers, map { [ 0, @$_ ] } @now;
		return { released => scalar @now };
	},
	'GET /_stats' => sub {
		my %out;
		for my $path (keys %stats)
		{
			my %s = %{ $stats{$path} };
			delete @s{qw(seen order)};
			$out{$path} = \%s;
		}
		return \%out;
	});

sub control
{
	my ($c, $method, $target, $body) = @_;
	my $code = $control{"$method $target"};
	my $text;

	if ($target =~ /^\/_ids\?(.*)/)
	{
		my $s = $stats{$1};
		$text = join '', map { "$_\n" } @{ $s ? $s->{order} : [] };
	}
	elsif ($code)
	{
		$text = encode_json($code->($body ne '' ? decode_json($body) : {}));
	}
	my $status = defined $text ? '200 OK' : '404 Not Found';
	$text //= '';
	flush_log();
	write_out($c,
		"HTTP/1.1 $status\r\nContent-Length: " . length($text)
		  . "\r\nConnection: close\r\n\r\n$text");
	$c->{close_after} = 1;
	flush_out($c) if $conn{ $c->{fd} };
	return;
}

# ---- the loop

sub flush_log
{
	return if $log_buffer eq '';
	syswrite $log, $log_buffer;
	$log_buffer = '';
	return;
}

sub run_timers
{
	my $now = time;
	my @due = grep { $_->[0] <= $now } @timers or return;

	@timers = grep { $_->[0] > $now } @timers;
	for (@due)
	{
		my (undef, $c, $generation, $code) = @$_;
		next if $c->{generation} != $generation;
		$code->();
		# the next request may have come behind this one already
		read_request($c) if !$c->{is_busy} && $c->{in} ne '';
	}
	return;
}

sub seconds_to_timer
{
	my $first;

	for (@timers)
	{
		$first = $_->[0] if !defined $first || $_->[0] < $first;
	}
	return undef if !defined $first;
	my $left = $first - time;
	return $left > 0 ? $left : 0;
}

my $listener = IO::Socket::INET->new(
	LocalAddr => $arg{address},
	LocalPort => $arg{port},
	Listen => SOMAXCONN,
	ReuseAddr => 1) or die "cannot listen on port $arg{port}: $!\n";
$listener->blocking(0);
my $listen_fd = fileno $listener;
if ($arg{log})
{
	open $log, '>>', $arg{log} or die "cannot write $arg{log}: $!\n";
}
set_bit($readers, $listen_fd);
set_bit($readers, 0) if $arg{'with-stdin'};
$| = 1;
print 'listening on ', $listener->sockport, "\n";

while (1)
{
	my $n = select my $r = $readers, my $w = $writers, undef,
	  seconds_to_timer();

	if ($n > 0)
	{
		my $ready = unpack 'b*', $r;
		for (my $fd = index $ready, '1'; $fd >= 0;
			$fd = index $ready, '1', $fd + 1)
		{
			if ($conn{$fd}) { read_in($conn{$fd}); }
			elsif ($fd == $listen_fd) { accept_all($listener); }
			elsif ($fd == 0) { exit 0 if !sysread STDIN, my $x, 1; }
		}
		$ready = unpack 'b*', $w;
		for (my $fd = index $ready, '1'; $fd >= 0;
			$fd = index $ready, '1', $fd + 1)
		{
			flush_out($conn{$fd}) if $conn{$fd};
		}
	}
	# the log first: an answer is proof that the request is in it
	flush_log();
	run_timers();
}

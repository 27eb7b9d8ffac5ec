#!/usr/bin/perl
#
# hostile.pl - receivers that break the rules on purpose, for tests.
#
#   hostile.pl KIND...
#
# Listens on a port of its own for each KIND, prints "listening on PORT..." in
# their order, and ends when its standard input does. KIND is
#   plain                     HTTP, as the request's path says
#   tls:CERT:KEY[:VERSION]    the same over TLS; VERSION as IO::Socket::SSL's
#   silent                    accepts, and never says a word
#   rst                       accepts, and resets at once
#   full                      never accepts: a connection hangs half open, as
#                             with a host behind a firewall that drops packets
# with @ADDRESS or @ADDRESS:PORT behind it (default 127.0.0.1, any port).
#
# What a path does is in %answer below. receiver.pl is for receivers that obey
# HTTP, mostly; this one writes raw bytes, a process for each connection, so
# that each misdeed reads as what it is.

use strict;
use warnings FATAL => 'all';

use Compress::Zlib qw(memGzip);
use IO::Handle;
use IO::Socket::IP;
use Socket qw(SOL_SOCKET SO_LINGER);

my $OK = "HTTP/1.1 200 OK\r\n";
my $LIFE_S = 300;    # no connection lives longer, come what may

# Writes all of it; the process is done when nobody wants it.
sub out
{
	my ($fh, $bytes) = @_;

	while ($bytes ne '')
	{
		my $n = syswrite $fh, $bytes, 16384;
		exit 0 if !$n;
		substr $bytes, 0, $n, '';
	}
	return;
}

# What a slow receiver does between two bytes.
sub pause { return select undef, undef, undef, $_[0]; }

# Does a thing until the peer is tired of it, which out notices.
sub forever
{
	my ($fh, $code) = @_;

	while (1) { $code->($fh); }
	return;
}

# Says nothing until the peer hangs up.
sub stay
{
	my ($fh) = @_;
	my $x;

	1 while sysread $fh, $x, 65536;
	return;
}

sub drip
{
	my ($fh) = @_;

	return forever($fh, sub { out($_[0], 'x'); pause(1); });
}

sub reset_by
{
	my ($fh) = @_;

	setsockopt $fh, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
	close $fh;
	return;
}

sub body
{
	my ($body, @header) = @_;

	return join "\r\n", @header, 'Content-Length: ' . length $body, '', $body;
}

my $zeros = memGzip("\0" x 20_000_000);
my $every_byte = join '', map { chr } 0 .. 255;

my %answer = (
	'/ok' => sub { out($_[0], $OK . body('fine', 'Connection: close')) },
	'/body/10-gb' => sub {
		out($_[0], $OK . "Content-Length: 10737418240\r\n\r\n");
		forever($_[0], sub { out($_[0], 'x' x 65536) });
	},
	'/body/endless' => sub {
		out($_[0], "$OK\r\n");
		forever($_[0], sub { out($_[0], 'x' x 65536) });
	},
	'/body/endless-500' => sub {
		out($_[0], "HTTP/1.1 500 No\r\n\r\n");
		forever($_[0], sub { out($_[0], 'x' x 65536) });
	},
	'/body/drip' => sub {
		out($_[0], $OK . "Content-Length: 1000\r\n\r\n");
		drip($_[0]);
	},
	'/body/cut' => sub { out($_[0], $OK . "Content-Length: 100\r\n\r\nhalf") },
	'/body/reset' => sub {
		out($_[0], $OK . "Content-Length: 100\r\n\r\nhalf");
		pause(0.1);
		reset_by($_[0]);
	},
	'/body/every-byte' => sub {
		out($_[0], "HTTP/1.1 500 No\r\n" . body($every_byte));
	},
	'/body/utf-8' => sub {
		out($_[0], "HTTP/1.1 500 No\r\n" . body("\xc3\xbc\xc2\x9b\xe2\x82\xac"));
	},
	'/body/negative' =>
	  sub { out($_[0], $OK . "Content-Length: -5\r\n\r\nhello") },
	'/gzip/content' =>
	  sub { out($_[0], $OK . body($zeros, 'Content-Encoding: gzip')) },
	'/gzip/transfer' => sub {
		out($_[0], $OK . "Transfer-Encoding: gzip\r\n\r\n$zeros");
	},
	'/gzip/chunked' => sub {
		out($_[0], $OK . "Transfer-Encoding: gzip, chunked\r\n\r\n");
		out($_[0], sprintf "%x\r\n%s\r\n0\r\n\r\n", length $zeros, $zeros);
	},
	'/chunk/endless' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n");
		forever($_[0], sub { out($_[0], "1\r\nx\r\n" x 10_000) });
	},
	'/chunk/huge' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n");
		out($_[0], ('f' x 40) . "\r\nx");
		stay($_[0]);
	},
	'/chunk/malformed' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n");
		stay($_[0]);
	},
	'/chunk/extension' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n1;");
		forever($_[0], sub { out($_[0], 'x' x 16384) });
	},
	'/chunk/trailers' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n0\r\n");
		forever($_[0], sub { out($_[0], "X-More: x\r\n" x 1000) });
	},
	# trailers that look like what only a head may say
	'/chunk/trailer-retry-after' => sub {
		out($_[0], "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n"
			  . "2\r\nno\r\n0\r\nRetry-After: 86400\r\n\r\n");
	},
	'/chunk/trailer-status-line' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n"
			  . "4\r\nfine\r\n0\r\nHTTP/1.1 500: No\r\nHTTP/x: 1\r\n\r\n");
	},
	'/chunk/trailer-coding' => sub {
		out($_[0], $OK . "Transfer-Encoding: chunked\r\n\r\n"
			  . "4\r\nfine\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n");
	},
	'/head/100000-lines' => sub {
		out($_[0], $OK . ("X-More: x\r\n" x 100_000) . body('fine'));
	},
	'/head/100-kb' => sub {
		out($_[0], $OK . (('X-More: ' . 'x' x 1000 . "\r\n") x 100) . body(''));
	},
	'/head/1-mb-line' => sub {
		out($_[0], $OK . 'X-More: ' . ('x' x 1_000_000) . "\r\n" . body(''));
	},
	'/head/drip' => sub { out($_[0], $OK . 'X-More: '); drip($_[0]) },
	'/head/status-line-drip' => sub { out($_[0], 'HTTP/1.1 2'); drip($_[0]) },
	'/head/cut' => sub { out($_[0], $OK . "Content-Le") },
	'/head/nul' =>
	  sub { out($_[0], $OK . "X-Nul: a\0b\r\n" . body('fine')) },
	'/head/no-colon' =>
	  sub { out($_[0], $OK . "no colon here\r\n" . body('fine')) },
	'/head/only-lf' =>
	  sub { out($_[0], "HTTP/1.1 200 OK\nContent-Length: 4\n\nfine") },
	'/no-status-line' => sub { out($_[0], "{\"ok\": true}\n") },
	'/http-0.9' => sub { out($_[0], '<html>') },
	'/http-7' => sub { out($_[0], "HTTP/7.3 200 OK\r\n" . body('')) },
	'/1xx/flood' => sub {
		forever($_[0], sub { out($_[0], "HTTP/1.1 100 Continue\r\n\r\n" x 100) });
	},
	'/1xx/drip' => sub {
		forever($_[0], sub { out($_[0], "HTTP/1.1 102 Wait\r\n\r\n"); pause(1); });
	},
	'/1xx/some' => sub {
		out($_[0],
			("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" x 3)
			  . $OK . body('fine'));
	},
	'/1xx/cut' => sub {
		out($_[0], "HTTP/1.1 103 Early Hints\r\n\r\n$OK" . 'Content-Le');
	},
	'/1xx/retry-after' => sub {
		out($_[0], "HTTP/1.1 103 Early Hints\r\nRetry-After: 86400\r\n\r\n"
			  . "HTTP/1.1 503 No\r\n" . body('no'));
	},
	# libcurl takes the second for status 200, and shows it to nobody
	'/1xx/nul' => sub {
		out($_[0], "HTTP/1.1 103 Early Hints\r\nRetry-After: 86400\r\n\r\n"
			  . "HTTP/x\0 500 No\r\n" . body('odd'));
	},
	'/1xx/switch' => sub {
		out($_[0], "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nx");
	},
	'/close' => sub { },
	'/reset' => sub { reset_by($_[0]) },
	'/hang' => sub { stay($_[0]) },
	'/two-answers' => sub {
		out($_[0], ($OK . body('fine')) . "HTTP/1.1 500 No\r\n" . body('no'));
		stay($_[0]);
	});

# What a path may end with: a number that is the status, as it is, of HTTP/2 too.
sub answer_for
{
	my ($path) = @_;

	return $answer{$path} if $answer{$path};
	my ($version, $status) = $path =~ m{^/status(-2)?/(\d+)$}
	  or die "no behaviour $path\n";
	$version = $version ? '2' : '1.1';
	return sub { out($_[0], "HTTP/$version $status Odd\r\n" . body('odd')) };
}

# Reads one request and misbehaves.
sub serve_http
{
	my ($fh) = @_;
	my $in = '';

	while ($in !~ /\r\n\r\n/)
	{
		sysread $fh, $in, 65536, length $in or exit 0;
		# a TLS handshake: as any server, say so and close
		return out($fh, "HTTP/1.1 400 Bad Request\r\n\r\n")
		  if $in =~ /^\x16/;
	}
	my ($path) = $in =~ /^POST (\S+)/ or die "no request: $in\n";
	my ($length) = $in =~ /^Content-Length: (\d+)/mi;
	my $end = index($in, "\r\n\r\n") + 4 + ($length // 0);
	while (length $in < $end)
	{
		sysread $fh, $in, 65536, length $in or exit 0;
	}
	return answer_for($path)->($fh);
}

sub serve_tls
{
	my ($fh, $cert, $key, $version) = @_;
	my $tls = start_tls($fh, $cert, $key,
		$version
		? (SSL_version => $version, SSL_cipher_list => 'ALL:@SECLEVEL=0')
		: ()) or return;

	return serve_http($tls);
}

sub start_tls
{
	my ($fh, $cert, $key, @more) = @_;

	return IO::Socket::SSL->start_SSL($fh, SSL_server => 1,
		SSL_cert_file => $cert, SSL_key_file => $key, @more);
}

my %serve = (
	plain => \&serve_http,
	tls => \&serve_tls,
	silent => \&stay);

# ---- listening

# Keeps the queue of connections full, so that further ones get no answer.
sub fill
{
	my ($listener) = @_;
	my @queued;

	for (1 .. 4)
	{
		push @queued,
		  IO::Socket::IP->new(PeerAddr => $listener->sockhost,
			PeerPort => $listener->sockport, Blocking => 0);
	}
	return \@queued;
}

# in every child it would take longer than a hasty client waits
require IO::Socket::SSL if grep { /^tls/ } @ARGV;

my (@ports, @children);
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';
for (@ARGV)
{
	my ($kind, $address, $port) = /^([^@]+)@?(\[[^]]+\]|[^:]*):?(\d*)$/;
	my ($name, @option) = split /:/, $kind;
	my $listener = IO::Socket::IP->new(
		LocalAddr => $address =~ tr/[]//dr || '127.0.0.1',
		LocalPort => $port || 0,
		Listen => $name eq 'full' ? 1 : 1024,
		ReuseAddr => 1) or die "cannot listen for $_: $@\n";

	push @ports, $listener->sockport;
	my $pid = fork // die "fork: $!\n";
	if ($pid)
	{
		push @children, $pid;
		next;
	}
	close STDIN;
	setpgrp 0, 0;
	my $queued = $name eq 'full' ? fill($listener) : undef;
	pause(60) while $queued;
	while (1)
	{
		my $fh = $listener->accept or die "accept: $!\n";
		if ($name eq 'rst')
		{
			reset_by($fh);
			next;
		}
		my $child = fork // die "fork: $!\n";
		if ($child)
		{
			# it lives until the child is done with it
			close $fh;
			next;
		}
		close $listener;
		alarm $LIFE_S;
		$serve{$name}->($fh, @option);
		exit 0;
	}
}

STDOUT->autoflush(1);
print "listening on @ports\n";
1 while sysread STDIN, my $x, 1;
kill 'TERM', map { -$_ } @children;

# The examples of docs/verify accept what is sent and refuse what was changed.
# Plain SQL cannot show it: each example runs in its own language, on requests
# that the receiver has logged.
use strict;
use warnings FATAL => 'all';
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $examples = "$WebhookOutbox::HERE/../../docs/verify";

# Each reads cases from standard input, [{secret, headers, body, now}, ...],
# and prints a line per case: "ok ID" or "refused WHY".
my $node_driver = <<'JS';
const { verify } = require(process.argv[1]);
for (const c of JSON.parse(require('fs').readFileSync(0))) {
  Date.now = () => c.now * 1000;
  try {
    console.log('ok ' + verify(c.secret, c.headers, Buffer.from(c.body)));
  } catch (error) {
    console.log('refused ' + error.message);
  }
}
JS
my %runner = (
	'verify.py' => [ 'python3', '-I', '-B', '-c', <<'PYTHON' ],
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("example", sys.argv[1])
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
for c in json.load(sys.stdin):
    try:
        print("ok", example.verify(c["secret"], c["headers"],
                                   c["body"].encode(), c["now"]))
    except ValueError as error:
        print("refused", error)
PYTHON
	'verify.js' => [ 'node', '-e', $node_driver ],
	'standardwebhooks.js' => [ 'node', '-e', $node_driver ],
	'Verify.pm' => [ $^X, '-MJSON::PP', '-e', <<'PERL' ]);
require shift;
for my $c (@{ decode_json(do { local $/; <STDIN> }) })
{
	my $body = $c->{body};
	utf8::encode($body);
	my $id = eval { Verify::verify($c->{secret}, $c->{headers}, $body, $c->{now}) };
	print defined $id ? "ok $id\n" : "refused $@";
}
PERL

# What a command prints on standard output; undef when it cannot run or fails.
sub output_of
{
	my ($in, @command) = @_;
	my ($out, $err) = ('', '');

	return $out if eval { IPC::Run::run(\@command, \$in, \$out, \$err) };
	note($err || $@);
	return;
}

my $receiver = start_receiver();
my $node = start_node();
my ($old, $new, $stranger) =
  map { sql_value($node, 'SELECT webhook_outbox.generate_secret()') } 1 .. 3;
create_endpoint($node, $receiver, 'shop', '/shop', secret => "'$old'");
publish($node, 'order.created',
	'{"order_id": 42,  "customer": "Zo\u00eb \"Z\" ' . "\x{c3}\x{ab}" . '"}');
$receiver->wait_for('/shop', 1, 'a request was signed by one key');
$receiver->secrets('/shop', $old, $new);
sql_value($node,
	"SELECT webhook_outbox.rotate_secret('shop', secret => '$new')");
publish($node, 'order.paid', '{"order_id": 42}');
$receiver->wait_for('/shop', 2, 'and one by two');

my ($one, $two) = $receiver->requests('/shop');

# A case: a request, with what of it is changed.
sub case
{
	my ($request, $secret, %change) = @_;
	my %headers = (%{ $request->{headers} }, %{ $change{headers} // {} });
	my $at = "$headers{'webhook-timestamp'}";    # a copy: adding makes a number

	return {
		secret => $secret,
		headers => \%headers,
		body => $change{body} // $request->{body},
		now => $at + ($change{late} // 0)
	};
}

my $later = "$one->{headers}{'webhook-timestamp'}" + 1;
my @cases = (
	[ 'ok', 'a request as it came', case($one, $old) ],
	[ 'ok', 'one signed by two keys, with the old', case($two, $old) ],
	[ 'ok', 'one signed by two keys, with the new', case($two, $new) ],
	[ 'ok', 'one that is four minutes old', case($one, $old, late => 240) ],
	[ 'refused', 'a wrong key', case($one, $stranger) ],
	[
		'refused', 'a changed body',
		case($one, $old, body => $one->{body} =~ s/42/43/r)
	],
	[
		'refused', 'another id',
		case($one, $old, headers => { 'webhook-id' => $two->{id} })
	],
	[
		'refused', 'another time',
		case($one, $old, headers => { 'webhook-timestamp' => "$later" })
	],
	[
		'refused', 'an empty signature',
		case($one, $old, headers => { 'webhook-signature' => '' })
	],
	[
		'refused',
		'another version of signature',
		case($one, $old,
			headers => {
				'webhook-signature' =>
				  $one->{headers}{'webhook-signature'} =~ s/^v1,/v2,/r
			})
	],
	[ 'refused', 'one that is six minutes old', case($one, $old, late => 360) ],
	[ 'refused', 'one from the future', case($one, $old, late => -360) ]);
my $cases = JSON::PP->new->utf8->encode([ map { $_->[2] } @cases ]);

for my $name (sort keys %runner)
{
  SKIP:
	{
		my ($program, @arguments) = @{ $runner{$name} };

		skip "there is no $program", scalar @cases
		  if !defined output_of('', $program, '--version');
		skip 'npm install standardwebhooks was not run', scalar @cases
		  if $name eq 'standardwebhooks.js'
		  && !defined output_of('', 'node', '-e', "require('standardwebhooks')");
		my @lines = split /\n/,
		  output_of($cases, $program, @arguments, "$examples/$name") // '';
		for my $i (0 .. $#cases)
		{
			my ($verdict, $what, $case) = @{ $cases[$i] };
			my $expected =
			  $verdict eq 'ok' ? qr/^ok $case->{headers}{'webhook-id'}$/
			  : qr/^refused \S/;

			like($lines[$i] // '(nothing)', $expected,
				"$name: $verdict: $what");
		}
	}
}

finish($node, $receiver);

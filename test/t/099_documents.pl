# Each SQL statement that the documents show means what exists: no table,
# column, function, role or setting has another name since, and none is
# mistyped. So does each call of a function that its comment shows.
# Plain SQL cannot show it: the statements are in the documents.
use strict;
use warnings FATAL => 'all';
use File::Find;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

# What a statement fails with that is stale or mistyped. Others depend on what
# is there: an endpoint, a file of keys, pg_cron.
my %stale = (
	'42601' => 'syntax error',
	'42703' => 'no such column',
	'42704' => 'no such object',
	'42702' => 'ambiguous column',
	'42804' => 'wrong type',
	'42883' => 'no such function',
	'42P01' => 'no such table',
	'42P02' => 'no such parameter',
	'22007' => 'bad time',
	'22023' => 'bad value',
	'22P02' => 'bad literal',
	'3F000' => 'no such schema');

my $root = "$WebhookOutbox::HERE/../..";
my @documents = ("$root/README.md");
find(
	{
		no_chdir => 1,
		wanted => sub { push @documents, $_ if /\.md\z/; },
	},
	"$root/docs");

my $node = start_node();
# What the documents take for granted.
$node->safe_psql('postgres', q(
	CREATE TABLE orders (order_id bigint, total numeric);
	CREATE ROLE support;
	CREATE ROLE clerk;
	CREATE SCHEMA cron;
	CREATE FUNCTION cron.schedule_in_database(
		text, text, text, text, text)
		RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
));

# A comment's example: the function's name, and arguments that are values.
$node->safe_psql('postgres', q(
	CREATE ROLE app;
	CREATE ROLE oncall;
	CREATE ROLE grafana;
	SELECT webhook_outbox.create_endpoint('billing', 'https://example.com/')));
my $comments = $node->safe_psql('postgres', q(
	SELECT p.proname, replace(obj_description(p.oid, 'pg_proc'), E'\n', ' ')
	FROM pg_proc p WHERE p.pronamespace = 'webhook_outbox'::regnamespace));
my @failed;
my $n_examples = 0;
for (split /\n/, $comments)
{
	my ($name, $comment) = split /\|/, $_, 2;
	while ($comment =~ /(?<!\w)\Q$name\E(\((?:[^()]|(?1))*\))/g)
	{
		my $call = "webhook_outbox.$name$1";
		next unless $call =~ /'|=>/;
		my ($code, undef, $error) = $node->psql('postgres', "SELECT * FROM $call");
		push @failed, "$call: $error" if $code != 0;
		$n_examples++;
	}
}
is(join("\n", @failed), '', "the $n_examples calls in comments of functions work");
cmp_ok($n_examples, '>=', 10, 'and there are some');

for my $document (sort @documents)
{
	my $text = slurp_file($document);
	my ($script, $n) = ('', 0);

	# a line of the script is the line of the document, as psql counts them
	while ($text =~ /\G(.*?)^ *```sql\n(.*?)^ *```/gmsc)
	{
		$script .= join('', map { "\n" } 1 .. ($1 =~ tr/\n//) + 1) . "$2";
		$n++;
	}
	next if $n == 0;
	# documents may use endpoints that another one deletes
	$node->safe_psql('postgres', q(
		SELECT webhook_outbox.create_endpoint(name, 'https://example.com/')
		FROM unnest('{first,billing,crm}'::text[]) name
		WHERE name NOT IN (SELECT name FROM webhook_outbox.endpoint)));
	my (undef, undef, $errors) = $node->psql('postgres', $script,
		on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	my @found = grep { /ERROR: +(\w{5})/ && $stale{$1} } split /\n/, $errors;

	$document =~ s/^.*\.\.\///;
	is(join("\n", @found), '', "the $n pieces of SQL in $document name what exists");
}

finish($node);
